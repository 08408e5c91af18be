"""A device for benchmarks on machines that others use: processor time of this process instead of wall time.

Wall time also counts what neighbours take. Caches and clocks are shared all the same, so the fastest of several blocks counts.
"""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from paretune.core.metrics import Direction, Metric
from paretune.core.protocols import Measurement
from paretune.hardware.measured.onnx_sessions import example_input, open_session, session_run

if TYPE_CHECKING:
    from torch import nn

BLOCKS = 12
BLOCK_S = 2e-3
"""Runs of a block together take about so long: the clock of processor time ticks in nanoseconds, reading it takes a microsecond."""


class CpuTime:
    """ONNX Runtime on one thread, timed by the processor time that it takes."""

    metrics = (Metric(name="latency_s", unit="s", direction=Direction.MIN, lower=0, description="processor time of one inference"),)

    def measure(self, network: "nn.Module", example_shape: tuple[int, ...]) -> Measurement:
        """The fastest of twelve blocks of runs."""
        from paretune.networks.onnx_conversion import to_onnx

        run = session_run(open_session(to_onnx(network, example_shape), threads=1), example_input(example_shape))
        run()
        begun_s = time.process_time()
        run()
        runs = max(1, min(200, round(BLOCK_S / max(time.process_time() - begun_s, 1e-6))))
        fastest_s = min(_block_s(run, runs) for _ in range(BLOCKS))
        return Measurement(values={"latency_s": fastest_s}, details={"runtime": "onnxruntime", "clock": "process_time", "threads": 1})


def _block_s(run: Callable[[], object], runs: int) -> float:
    begun_s = time.process_time()
    for _ in range(runs):
        run()
    return (time.process_time() - begun_s) / runs
