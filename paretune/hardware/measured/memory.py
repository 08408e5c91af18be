"""Peak memory of an inference with ONNX Runtime on the CPU: how much a fresh process grows when it loads and runs the network.

Also a program, so that the process is fresh: python memory.py '{"shape": [1, 3, 32, 32], "threads": 1}' < model.onnx prints the bytes. As a
program it knows nothing of paretune.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

TIMEOUT_S = 120.0
STATUS = Path("/proc/self/status")
"""Where Linux tells the memory of a process."""


def memory_is_known(status: Path = STATUS) -> bool:
    """Whether the system tells the high-water mark of a process' memory."""
    try:
        return "VmHWM:" in status.read_text(encoding="ascii", errors="replace")
    except OSError:
        return False


def resident_bytes(field: str) -> int:
    """`VmRSS` (memory now) or `VmHWM` (its high-water mark) of this process."""
    for line in STATUS.read_text(encoding="ascii", errors="replace").splitlines():
        name, _, value = line.partition(":")
        if name == field:
            return 1024 * int(value.split()[0])  # the kernel's kB are KiB
    raise OSError(f"{STATUS} has no {field}")


def forget_high_water_mark() -> None:
    """Let the high-water mark of this process start anew at what it holds now. Source: proc_pid_clear_refs(5)."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def measured_memory_bytes(model: bytes, example_shape: tuple[int, ...], *, threads: int) -> int:
    """Peak memory that a fresh process needs for a network beyond NumPy and ONNX Runtime themselves.

    Weights, activations, the allocator's reserve, and the parts of the runtime that this network is the first to use.

    Raises:
        RuntimeError: the process did not give a number; with the last line it said.
    """
    plan = json.dumps({"shape": list(example_shape), "threads": threads})
    try:
        # -P: the folder of this file holds modules whose names other packages may import as their own.
        command = [sys.executable, "-P", str(Path(__file__).resolve()), plan]
        ended = subprocess.run(command, input=model, capture_output=True, timeout=TIMEOUT_S, check=True)  # noqa: S603 - our interpreter and file
        return int(ended.stdout)
    except subprocess.CalledProcessError as error:
        told = error.stderr.decode(errors="replace").strip().splitlines()
        raise RuntimeError(
            f"the process that measures memory ended with {error.returncode}: {told[-1] if told else 'no message'}"
        ) from error
    except subprocess.TimeoutExpired as error:
        raise RuntimeError(f"the process that measures memory did not end within {TIMEOUT_S:g} s") from error


def _grown_bytes(model: bytes, plan: dict[str, Any]) -> int:
    import numpy as np
    from onnxruntime import InferenceSession, SessionOptions

    example = np.zeros(plan["shape"], dtype=np.float32)
    options = SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = plan["threads"]
    options.log_severity_level = 3
    forget_high_water_mark()
    before_bytes = resident_bytes("VmRSS")
    session = InferenceSession(model, sess_options=options, providers=["CPUExecutionProvider"])
    for _ in range(3):  # the allocator settles after the first run
        session.run(None, {session.get_inputs()[0].name: example})
    return resident_bytes("VmHWM") - before_bytes


if __name__ == "__main__":
    sys.stdout.write(str(_grown_bytes(sys.stdin.buffer.read(), json.loads(sys.argv[1]))))
