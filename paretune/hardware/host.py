"""The machine that paretune runs on as a device: latency measured with ONNX Runtime or torch."""

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Literal

from paretune.core.errors import BadInput, DeviceError
from paretune.core.metrics import Direction, Metric
from paretune.core.protocols import Measurement
from paretune.hardware.environment import host_fingerprint
from paretune.hardware.timing import Patience, TimingPlan, time_until_quiet

if TYPE_CHECKING:
    from torch import nn

RUNTIMES = ("onnxruntime", "torch")
PEAK_MACS_PER_S = 1e13
"""More than any CPU does: a latency that needs a higher rate was not measured on the whole network."""


class Host:
    """Latency of one inference on this machine's CPU, median of repeated runs.

    Args:
        runtime: `onnxruntime` (an optimised graph, as deployed) or `torch` (eager, as trained).
        threads: threads of one inference; 1 is the quietest and leaves the other cores to training.
        warm_up_s: how long to run before measuring.
        max_s: how long one attempt may take beyond warm-up; it ends earlier where the median is sure enough.
        relative_interval: how sure: half the 95 % confidence interval of the median over the median.
        quiet_relative_iqr: attempts are repeated until two no noisier than this (interquartile range over median) agree within 5 %.
        max_relative_iqr: an attempt noisier than this does not count.
        max_attempts: attempts at most.

    Raises:
        BadInput: an option cannot be used.
    """

    metrics = (
        Metric(name="latency_s", unit="s", direction=Direction.MIN, lower=1e-9, upper=1e6, description="median time of an inference"),
    )

    def __init__(
        self,
        *,
        runtime: Literal["onnxruntime", "torch"] = "onnxruntime",
        threads: int = 1,
        warm_up_s: float = 0.05,
        max_s: float = 0.2,
        relative_interval: float = 0.01,
        quiet_relative_iqr: float = 0.1,
        max_relative_iqr: float = 0.5,
        max_attempts: int = 5,
    ) -> None:
        if runtime not in RUNTIMES:
            raise BadInput(f"runtime: must be one of {', '.join(RUNTIMES)}; got {runtime!r}")
        for name, count, minimum in (("threads", threads, 1), ("max_attempts", max_attempts, 1)):
            if isinstance(count, bool) or not isinstance(count, int) or count < minimum:
                raise BadInput(f"{name}: must be a whole number of at least {minimum}; got {count!r}")
        limits = {
            "warm_up_s": warm_up_s,
            "max_s": max_s,
            "relative_interval": relative_interval,
            "quiet_relative_iqr": quiet_relative_iqr,
            "max_relative_iqr": max_relative_iqr,
        }
        for name, value in limits.items():
            if not (math.isfinite(value) and value > 0):
                raise BadInput(f"{name}: must be above 0; got {value!r}")
        if quiet_relative_iqr > max_relative_iqr:
            raise BadInput(f"quiet_relative_iqr: must be at most max_relative_iqr ({max_relative_iqr}); got {quiet_relative_iqr}")
        self._runtime, self._threads = runtime, threads
        self._plan = TimingPlan(warm_up_s=warm_up_s, max_s=max_s, relative_interval=relative_interval)
        self._patience = Patience(quiet_relative_iqr=quiet_relative_iqr, max_relative_iqr=max_relative_iqr, max_attempts=max_attempts)

    def measure(self, network: "nn.Module", example_shape: tuple[int, ...]) -> Measurement:
        """Measure one inference in evaluation mode on an input of `example_shape`, batch first.

        Raises:
            UnstableMeasurement: even the quietest attempt was noisier than allowed.
            DeviceError: the runtime cannot run the network, or the time is impossible.
        """
        from paretune.networks.counting import count_macs  # torch takes a second to import; `paretune list` does without

        open_runtime = _torch_run if self._runtime == "torch" else _onnxruntime_run
        try:
            macs = count_macs(network, example_shape)
            with open_runtime(network, example_shape, self._threads) as run:
                timing, num_attempts = time_until_quiet(run, self._plan, self._patience)
        except DeviceError:
            raise
        except Exception as error:  # user networks and runtimes raise what they like
            raise DeviceError(f"{self._runtime} cannot run the network on an input of shape {example_shape}: {error}") from error
        check_plausible(timing.median_s, macs=macs)
        details = {
            "source": "measured",
            "runtime": self._runtime,
            "threads": self._threads,
            "example_shape": list(example_shape),
            "macs": macs,
            "attempts": num_attempts,
            **asdict(timing),
            "environment": host_fingerprint(),
        }
        return Measurement(values={"latency_s": timing.median_s}, details=details)


def check_plausible(latency_s: float, *, macs: int) -> None:
    """Let no impossible time out.

    Raises:
        DeviceError: the time is not a positive number, or nothing can compute so fast.
    """
    if not (math.isfinite(latency_s) and latency_s > 0):
        raise DeviceError(f"the measured latency is {latency_s} s; expected a positive number")
    if macs / latency_s > PEAK_MACS_PER_S:
        raise DeviceError(
            f"the measured latency is {latency_s:.3g} s for {macs:,} MACs; no host computes {macs / latency_s:.3g} MACs a second"
        )


@contextmanager
def _onnxruntime_run(network: "nn.Module", example_shape: tuple[int, ...], threads: int) -> Iterator[Callable[[], object]]:
    from onnxruntime import ExecutionMode, InferenceSession, SessionOptions

    from paretune.networks.onnx_conversion import INPUT_NAME, to_onnx

    options = SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = threads
    options.execution_mode = ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = 3
    if threads == 1:
        # Spinning threads would take cores from the trainings that run beside the measurement.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = InferenceSession(to_onnx(network, example_shape), sess_options=options, providers=["CPUExecutionProvider"])
    inputs: Mapping[str, Any] = {INPUT_NAME: _example(example_shape).numpy()}
    yield lambda: session.run(None, inputs)


@contextmanager
def _torch_run(network: "nn.Module", example_shape: tuple[int, ...], threads: int) -> Iterator[Callable[[], object]]:
    from torch import get_num_threads, set_num_threads

    from paretune.networks.evaluation import evaluating

    inputs, before = _example(example_shape), get_num_threads()
    set_num_threads(threads)
    try:
        with evaluating(network):
            yield lambda: network(inputs)
    finally:
        set_num_threads(before)


def _example(shape: tuple[int, ...]) -> Any:
    """One float32 input with a fixed content: sparse or denormal values would change the time."""
    from torch import Generator, randn

    return randn(shape, generator=Generator().manual_seed(0))
