"""Runs on the board, which needs Python, NumPy and ONNX Runtime, but not paretune.

python3 on_board.py '{"shape": [1, 30, 1, 1], "threads": 1, "time_s": 0.2}' < network.onnx    prints the seconds of each run as JSON
"""

import json
import sys
import time

import numpy as np
from onnxruntime import InferenceSession, SessionOptions

plan = json.loads(sys.argv[1])
options = SessionOptions()
options.intra_op_num_threads = options.inter_op_num_threads = plan["threads"]
session = InferenceSession(sys.stdin.buffer.read(), options, providers=["CPUExecutionProvider"])
pixels = np.linspace(-1, 1, int(np.prod(plan["shape"])), dtype=np.float32).reshape(plan["shape"])
inputs = {session.get_inputs()[0].name: pixels}

seconds: list[float] = []
warm_s = time.perf_counter() + plan["time_s"]
while not seconds or time.perf_counter() < warm_s + plan["time_s"]:
    before = time.perf_counter()
    session.run(None, inputs)
    if before >= warm_s:
        seconds.append(time.perf_counter() - before)
print(json.dumps(seconds))
