"""A board at the end of a command: the network goes there as ONNX, the times of its runs come back as JSON."""

import json
import shlex
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from paretune.core.errors import BadInput, DeviceError, UnstableMeasurement
from paretune.core.metrics import Direction, Metric
from paretune.core.protocols import Measurement

if TYPE_CHECKING:
    from torch import nn

TIMEOUT_S = 60.0


class Board:
    """Latency on a board reached by ssh, or in a process of its own on this machine.

    Args:
        host: the board as ssh knows it, for example `pi@192.168.0.7`; empty for this machine.
        threads: threads of one inference.
        time_s: how long to measure, after as long a warm-up.
        max_relative_iqr: interquartile range over median beyond which a measurement does not count.
    """

    metrics = (Metric(name="latency_s", unit="s", direction=Direction.MIN, lower=1e-9, description="median time of an inference"),)

    def __init__(self, *, host: str = "", threads: int = 1, time_s: float = 0.2, max_relative_iqr: float = 0.5) -> None:
        if threads < 1:
            raise BadInput(f"threads: must be at least 1; got {threads}")
        self._host, self._threads, self._time_s, self._max_relative_iqr = host, threads, time_s, max_relative_iqr

    def measure(self, network: "nn.Module", example_shape: tuple[int, ...]) -> Measurement:
        """Median latency of one inference on an input of `example_shape`."""
        from paretune.networks.onnx_conversion import to_onnx  # imports torch, which takes a second; `paretune list` does without

        try:
            model = to_onnx(network, example_shape)
        except BadInput as error:
            raise DeviceError(str(error)) from error
        seconds = self._run(model, example_shape)
        low, median_s, high = (float(value) for value in np.percentile(seconds, [25, 50, 75]))
        if high - low > self._max_relative_iqr * median_s:
            raise UnstableMeasurement(f"interquartile range {high - low:.3g} s of a median of {median_s:.3g} s. Is the board busy?")
        details = {"source": "measured", "host": self._host, "threads": self._threads, "runs": len(seconds), "iqr_s": high - low}
        return Measurement(values={"latency_s": median_s}, details=details)

    def _run(self, model: bytes, example_shape: tuple[int, ...]) -> list[float]:
        plan = json.dumps({"shape": list(example_shape), "threads": self._threads, "time_s": self._time_s})
        script = ["-c", Path(__file__).with_name("on_board.py").read_text(), plan]
        command = (
            ["ssh", "-oBatchMode=yes", "--", self._host, shlex.join(["python3", *script])] if self._host else [sys.executable, *script]
        )
        try:
            ended = subprocess.run(command, input=model, capture_output=True, timeout=TIMEOUT_S, check=True)  # noqa: S603 - a fixed script
            return [float(value) for value in json.loads(ended.stdout)]
        except subprocess.CalledProcessError as error:
            raise DeviceError(f"the board ended with {error.returncode}: {error.stderr.decode(errors='replace')[-500:]}") from error
        except (subprocess.TimeoutExpired, OSError, ValueError) as error:
            raise DeviceError(f"the board gave no times: {error}") from error
