"""A measuring process that misbehaves on order: python misbehaving_device.py ORDERS.json prints its port.

It speaks the protocol, makes up the times of a device whose true latency is known (`true_latency_s`), and does for each request what the
file says, which may be rewritten at any time; then its lists are begun anew:

    {"candidate": ["zero", "ok"], "reference": [], "factors": [1, 1, 2, 2], "factor": 1.0}

`candidate` and `reference` name a fault for each measurement of that kind, in order; `factors` slow the first measurements of either kind
down, `factor` all of them. After the end of a list everything is in order.
"""

import contextlib
import json
import math
import socket
import struct
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

from paretune.hardware.measured.remote.protocol import HEADER, MAGIC, Deadline, Frame, digest, receive_frame

REFERENCE_SHAPE = [1, 3, 32, 32]
BAD_VALUES: dict[str, Any] = {
    "zero": 0,
    "negative": -1e-3,
    "nan": math.nan,
    "inf": math.inf,
    "text": "3.2",
    "list": [1e-3],
    "null": None,
    "true": True,
    "tiny": 1e-12,
    "huge": 1e12,
}
FACTORS = {"milliseconds": 1e3, "microseconds": 1e6, "kiloseconds": 1e-3}
"""Faulty unit -> what the number is multiplied by."""


def true_latency_s(model: bytes, shape: list[int]) -> float:
    return 2.5e-4 if shape == REFERENCE_SHAPE else 3e-4 + 1e-8 * len(model)


class Orders:
    def __init__(self, path: Path) -> None:
        self.path, self.text, self.done = path, "", {"candidate": 0, "reference": 0, "factors": 0}
        self.lock = threading.Lock()
        self.orders: dict[str, Any] = {}

    def next(self, kind: str) -> tuple[str, float]:
        with self.lock:
            text = self.path.read_text()
            if text != self.text:
                self.text, self.orders, self.done = text, json.loads(text), dict.fromkeys(self.done, 0)
            return str(self._pop(kind, "ok")), float(self._pop("factors", 1.0)) * self.orders.get("factor", 1.0)

    def _pop(self, name: str, default: object) -> Any:
        found, number = self.orders.get(name, []), self.done[name]
        self.done[name] += 1
        return found[number] if number < len(found) else default


def attempt(order: dict[str, Any], latency_s: float, fault: str, rng: np.random.Generator) -> dict[str, Any]:
    """One attempt that really takes as long as it says, in right units."""
    runs = max(1, math.ceil(order["block_s"] / latency_s))
    samples_s = latency_s * (1 + 0.005 * rng.standard_normal(40))
    if fault == "outliers":
        samples_s[rng.permutation(40)[:8]] *= 10  # 20 %
    if fault == "two_speeds":  # the median with the slow ones is 10 % above that without them
        samples_s = latency_s * np.array([1.0] * 19 + [1.1] * 3 + [3.0] * 18)
    time.sleep(float(samples_s.sum()) * runs)
    samples = (samples_s * FACTORS.get(fault, 1.0)).tolist()
    median = float(np.median(samples))
    if fault in BAD_VALUES:
        samples, median = [BAD_VALUES[fault]] * 40, BAD_VALUES[fault]
    return {"samples_s": samples, "runs_per_block": runs, "median_s": median, "iqr_s": 1e-5}


def reply_to(frame: Frame, fault: str, factor: float, state: dict[str, Any]) -> bytes:
    body = frame.body
    nonce, sha256 = body["nonce"], digest(frame.model)
    if fault == "old":
        nonce = state.get("nonce", "0" * 32)
    if fault == "other_model":
        sha256 = digest(b"another network")
    state["nonce"] = body["nonce"]
    echo = {"protocol": 1, "nonce": nonce, "model_sha256": sha256}
    clock = {"name": "made up", "resolution_s": 1e-9}
    if fault == "refuse":
        return framed({**echo, "status": "error", "cause": "model", "message": "no kernel for this operator"})
    rng = np.random.default_rng(0)
    latency_s = factor * true_latency_s(frame.model, body["order"]["example_shape"])
    attempts = [attempt(body["order"], latency_s, fault, rng) for _ in range(min(2, body["order"]["max_attempts"]))]
    answer = {**echo, "status": "ok", "attempts": attempts, "elapsed_s": 0.1, "peak_memory_bytes": None, "device": {"clock": clock}}
    if fault == "wrong_median":
        attempts[0]["median_s"] *= 2
    if fault == "few_samples":
        attempts[0]["samples_s"] = attempts[0]["samples_s"][:3]
    text = framed(answer)
    if fault == "deep":
        return framed_text(b'{"a":' * 100_000 + b"1" + b"}" * 100_000)
    if fault == "twice":
        return framed_text(text[HEADER.size :].replace(b'"status"', b'"status":"ok","status"', 1))
    return text


def framed(body: dict[str, Any]) -> bytes:
    return framed_text(json.dumps(body).encode())  # NaN and Infinity as Python writes them


def framed_text(text: bytes) -> bytes:
    return HEADER.pack(MAGIC, len(text), 0) + text


def answer(connection: socket.socket, orders: Orders, state: dict[str, Any]) -> None:
    frame = receive_frame(connection, Deadline(10), max_json_bytes=2**16, max_model_bytes=2**28)
    kind = "reference" if frame.body.get("order", {}).get("example_shape") == REFERENCE_SHAPE else "candidate"
    fault, factor = orders.next(kind)
    if fault == "disconnect":
        return
    if fault == "hang":
        time.sleep(3600)
    if fault == "garbage":
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n{}")
        return
    if fault == "huge_length":
        connection.sendall(struct.pack(">4sII", MAGIC, 2**32 - 1, 2**32 - 1))
        time.sleep(3600)
    if fault in ("flood", "flood_inside"):
        if fault == "flood_inside":
            connection.sendall(struct.pack(">4sII", MAGIC, 2**20, 0))
        while True:
            connection.sendall(b" " * 2**20)
    text = reply_to(frame, fault, factor, state)
    if fault == "half":
        text = text[: len(text) // 2]
    if fault == "drip":
        for byte in text:
            connection.sendall(bytes([byte]))
            time.sleep(0.05)
    connection.sendall(text)


def main() -> None:
    orders, state = Orders(Path(sys.argv[1])), dict[str, Any]()
    listener = socket.create_server(("127.0.0.1", 0))
    print(listener.getsockname()[1], flush=True)

    def one(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):  # the client left
            answer(connection, orders, state)

    while True:
        threading.Thread(target=one, args=(listener.accept()[0],), daemon=True).start()


if __name__ == "__main__":
    main()
