"""A measuring process of your own, without paretune: python own_device.py [PORT]. Change `time_model` to time networks on your device.

It prints its port; then `paretune device check 127.0.0.1:PORT` and a target `{kind: remote, addresses: ["127.0.0.1:PORT"]}` use it.
"""

import hashlib
import json
import socket
import struct
import sys
import time

import numpy as np
import onnxruntime

HEADER = struct.Struct(">4sII")
MAX_MODEL_BYTES = 64 * 2**20


def time_model(model: bytes, order: dict) -> tuple[list[float], int]:
    """Seconds of one run in each block, and the runs in a block. This is the part to change."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = order["threads"]
    options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    inputs = {session.get_inputs()[0].name: np.zeros(order["example_shape"], np.float32)}
    runs, end_s = 1, time.perf_counter() + order["warm_up_s"]
    while True:  # warm up, and find how many runs fill a block
        start_s = time.perf_counter()
        for _ in range(runs):
            session.run(None, inputs)
        block_s = time.perf_counter() - start_s
        if block_s < order["block_s"]:
            runs *= 2
        elif time.perf_counter() > end_s:
            break
    samples_s = []
    for _ in range(2 * order["min_blocks"]):
        start_s = time.perf_counter()
        for _ in range(runs):
            session.run(None, inputs)
        samples_s.append((time.perf_counter() - start_s) / runs)
    return samples_s, runs


def answer(request: dict, model: bytes) -> dict:
    """The reply to one request."""
    facts = {"host": socket.gethostname(), "clock": {"name": "perf_counter", "resolution_s": 1e-9}}
    reply = {"protocol": 1, "nonce": request["nonce"], "model_sha256": hashlib.sha256(model).hexdigest(), "device": facts}
    if request["request"] == "hello":
        return {**reply, "status": "ok"}
    start_s = time.perf_counter()
    if request["order"]["processor"] != "cpu":
        return {**reply, "status": "error", "cause": "request", "message": f"no {request['order']['processor']} here"}
    try:
        samples_s, runs = time_model(model, request["order"])
    except Exception as error:
        return {**reply, "status": "error", "cause": "model", "message": str(error)}
    low, median, high = np.percentile(samples_s, [25, 50, 75])
    attempt = {"samples_s": samples_s, "runs_per_block": runs, "median_s": float(median), "iqr_s": float(high - low)}
    return {**reply, "status": "ok", "attempts": [attempt], "peak_memory_bytes": None, "elapsed_s": time.perf_counter() - start_s}


def main() -> None:
    listener = socket.create_server(("127.0.0.1", int(sys.argv[1]) if len(sys.argv) > 1 else 0))
    print(listener.getsockname()[1], flush=True)
    while True:
        connection, _ = listener.accept()
        with connection, connection.makefile("rb") as stream:
            try:
                connection.settimeout(30)
                magic, json_bytes, model_bytes = HEADER.unpack(stream.read(HEADER.size))
                if magic != b"PTD1" or json_bytes > 2**16 or model_bytes > MAX_MODEL_BYTES:
                    continue
                reply = answer(json.loads(stream.read(json_bytes)), stream.read(model_bytes))
                text = json.dumps(reply, allow_nan=False).encode()
                connection.sendall(HEADER.pack(b"PTD1", len(text), 0) + text)
            except (OSError, ValueError, KeyError, struct.error) as error:
                print(f"a request was not answered: {error}", file=sys.stderr)


if __name__ == "__main__":
    main()
