"""The machine that paretune runs on as a device: latency, energy and memory measured with ONNX Runtime or torch, on its CPU or GPU."""

from contextlib import AbstractContextManager
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any, Literal

from paretune.core.errors import BadInput, DeviceError
from paretune.core.metrics import Direction, Metric
from paretune.core.protocols import Measurement
from paretune.hardware.measured.drift import DriftLimits, DriftWatch
from paretune.hardware.measured.energy import EnergyCounter, measure_energy, open_counter
from paretune.hardware.measured.environment import host_fingerprint
from paretune.hardware.measured.option_limits import OptionChecks
from paretune.hardware.measured.plausibility import GENEROUS, Work, work_of
from paretune.hardware.measured.reference_network import REFERENCE_SHAPE, reference_network, reference_onnx
from paretune.hardware.measured.runtimes import PROCESSORS, RUNTIMES, Ready, Runtime, ready, ready_onnx
from paretune.hardware.measured.timing import Patience, TimingPlan, time_until_quiet

if TYPE_CHECKING:
    from torch import nn

LATENCY = Metric(name="latency_s", unit="s", direction=Direction.MIN, lower=1e-9, upper=1e6, description="median time of an inference")
ENERGY = Metric(name="energy_j", unit="j", direction=Direction.MIN, lower=0, description="energy of an inference, idle power included")
MEMORY = Metric(name="measured_memory_bytes", unit="bytes", direction=Direction.MIN, lower=0, description="peak memory of an inference")
PAUSE_S = 0.1
"""Before the first repetition: what disturbs a host is a neighbour, and soon gone, more often than heat."""


class Host:
    """Latency, and on request energy and peak memory, of one inference on this machine, median of repeated runs.

    Args:
        runtime: `onnxruntime` (an optimised graph, as deployed), `torch` (eager, as trained) or `torch_compiled`.
        processor: `cpu`, or `cuda` for the first GPU: ONNX Runtime's CUDA provider, or torch on CUDA.
        threads: threads of one inference; 1 is the quietest and leaves the other cores to training.
        warm_up_s: how long to run before measuring.
        max_s: how long one attempt may take beyond warm-up; it ends earlier where the median is sure enough.
        relative_interval: how sure: half the 95 % confidence interval of the median over the median.
        quiet_relative_iqr: attempts are repeated until two no noisier than this (interquartile range over median) agree within 5 %.
        max_relative_iqr: an attempt noisier than this does not count.
        max_attempts: attempts at most.
        energy: also measure `energy_j`: RAPL for the CPU, NVML for the GPU. Refused where this machine does not tell it.
        energy_s: how long to run for that.
        peak_memory: also measure `measured_memory_bytes`: what a fresh process needs (onnxruntime, cpu), or torch's allocator (cuda).
        profile: keep the latency of each layer in the details.
        peak_macs_per_s: MACs a second that this machine certainly does not exceed; None for a generous bound.
        peak_bytes_per_s: bytes a second that it certainly cannot read; None for a generous bound.
        peak_power_w: power that it certainly does not draw; None for a generous bound.
        reference: measure a fixed reference network before and after each network, and again where it drifts.
        quiet_drift: measure again where the reference differs from its baseline by more than this share.
        max_drift: refuse the measurement where it still differs by more than this after `max_repeats`; where it is lastingly faster the
            baseline was taken beside other work, and is taken anew.
        max_repeats: repetitions at most.
        baseline_s: latency of the reference on this machine in order; None measures it at the start.

    Raises:
        BadInput: an option cannot be used, or this machine cannot measure what is asked for.
    """

    metrics: tuple[Metric, ...] = (LATENCY,)

    def __init__(
        self,
        *,
        runtime: Literal["onnxruntime", "torch", "torch_compiled"] = "onnxruntime",
        processor: Literal["cpu", "cuda"] = "cpu",
        threads: int = 1,
        warm_up_s: float = 0.05,
        max_s: float = 0.2,
        relative_interval: float = 0.01,
        quiet_relative_iqr: float = 0.1,
        max_relative_iqr: float = 0.5,
        max_attempts: int = 5,
        energy: bool = False,
        energy_s: float = 1.0,
        peak_memory: bool = False,
        profile: bool = False,
        peak_macs_per_s: float | None = None,
        peak_bytes_per_s: float | None = None,
        peak_power_w: float | None = None,
        reference: bool = True,
        quiet_drift: float = 0.1,
        max_drift: float = 0.5,
        max_repeats: int = 2,
        baseline_s: float | None = None,
    ) -> None:
        checks = OptionChecks()
        checks.one_of("runtime", runtime, RUNTIMES)
        checks.one_of("processor", processor, PROCESSORS)
        checks.whole(1, {"threads": threads, "max_attempts": max_attempts})
        checks.whole(0, {"max_repeats": max_repeats})
        checks.positive({"warm_up_s": warm_up_s, "max_s": max_s, "relative_interval": relative_interval, "energy_s": energy_s})
        checks.positive({"quiet_relative_iqr": quiet_relative_iqr, "max_relative_iqr": max_relative_iqr})
        checks.positive({"quiet_drift": quiet_drift, "max_drift": max_drift, "baseline_s": baseline_s})
        bounds = {"peak_macs_per_s": peak_macs_per_s, "peak_bytes_per_s": peak_bytes_per_s, "peak_power_w": peak_power_w}
        checks.positive(bounds)
        checks.ordered("quiet_relative_iqr", quiet_relative_iqr, "max_relative_iqr", max_relative_iqr)
        checks.ordered("quiet_drift", quiet_drift, "max_drift", max_drift)
        self._runtime = Runtime(name=runtime, processor=processor, threads=threads)
        if peak_memory and (problem := self._runtime.memory_problem()):
            checks.add("peak_memory", problem)
        if profile and runtime == "torch_compiled":
            checks.add("profile", "the compiler makes one piece of all layers; take runtime: torch or onnxruntime")
        checks.done()
        self._runtime.check_available()
        # A GPU is timed run by run: of runs that queue up nobody would wait for the single one.
        block_s = TimingPlan().block_s if processor == "cpu" else 0.0
        self._plan = TimingPlan(warm_up_s=warm_up_s, block_s=block_s, max_s=max_s, relative_interval=relative_interval)
        self._patience = Patience(quiet_relative_iqr=quiet_relative_iqr, max_relative_iqr=max_relative_iqr, max_attempts=max_attempts)
        self._energy_s, self._peak_memory, self._profile = energy_s, peak_memory, profile
        self._counter = _counter(processor) if energy else None
        self._roofline = replace(GENEROUS[processor], **{name: value for name, value in bounds.items() if value is not None})
        self.metrics = (LATENCY, *([ENERGY] if energy else []), *([MEMORY] if peak_memory else []))
        limits = DriftLimits(
            quiet_drift=quiet_drift,
            max_drift=max_drift,
            max_repeats=max_repeats,
            pause_s=PAUSE_S,
            baseline_s=baseline_s,
            adopts_faster=True,
        )
        self._watch = DriftWatch(self._reference_s, limits) if reference else None

    def measure(self, network: "nn.Module", example_shape: tuple[int, ...]) -> Measurement:
        """Measure one inference in evaluation mode on an input of `example_shape`, batch first.

        Raises:
            UnstableMeasurement: even the quietest attempt was noisier than allowed, or the reference network drifts.
            DeviceError: the runtime cannot run the network, or a number is impossible.
        """
        try:
            work = work_of(network, example_shape)
            if self._watch is None:
                return self._measure(network, example_shape, work)
            found, check = self._watch.bracketed(lambda: self._measure(network, example_shape, work))
        except DeviceError:
            raise
        except Exception as error:  # user networks and runtimes raise what they like
            raise DeviceError(f"{self._runtime.name} cannot run the network on an input of shape {example_shape}: {error}") from error
        return replace(found, details={**found.details, "reference": check.as_json()})

    def _measure(self, network: "nn.Module", example_shape: tuple[int, ...], work: Work) -> Measurement:
        """One measurement of everything asked for."""
        with ready(network, example_shape, self._runtime) as subject:
            timing, num_attempts = time_until_quiet(subject.run, self._plan, self._patience, clock=subject.clock)
            self._roofline.check_latency(timing.median_s, work)
            values, more = self._others(subject, timing.median_s)
        details = {
            "source": "measured",
            "runtime": self._runtime.name,
            "processor": self._runtime.processor,
            "threads": self._runtime.threads,
            "example_shape": list(example_shape),
            "macs": work.macs,
            "attempts": num_attempts,
            **asdict(timing),
            **more,
            "environment": host_fingerprint(),
        }
        return Measurement(values={"latency_s": timing.median_s, **values}, details=details)

    def _others(self, subject: Ready, latency_s: float) -> tuple[dict[str, float], dict[str, Any]]:
        """What is measured besides the latency: values and details."""
        values: dict[str, float] = {}
        details: dict[str, Any] = {}
        if self._counter is not None:
            # A clock that waits for a GPU makes sure that the energy is that of work which has ended.
            energy = measure_energy(subject.run, self._counter, window_s=self._energy_s / 5, clock=subject.clock)
            self._roofline.check_energy(energy.energy_j, latency_s)
            values["energy_j"] = energy.energy_j
            details["energy_j"] = {**asdict(energy), "counter": self._counter.source}
        if self._peak_memory:
            values["measured_memory_bytes"] = float(subject.peak_bytes())
        if self._profile:
            details["layers"] = subject.layer_times()
        return values, details

    def _reference_s(self) -> float:
        """Latency of the reference network, which is so small that shorter attempts tell as much."""
        loaded: AbstractContextManager[Ready]
        if self._runtime.name == "onnxruntime":
            loaded = ready_onnx(reference_onnx(), REFERENCE_SHAPE, self._runtime)
        else:  # compiling takes seconds and changes nothing about heat and clocks, so the reference of compiled networks runs eagerly
            loaded = ready(reference_network(), REFERENCE_SHAPE, replace(self._runtime, name="torch"))
        with loaded as subject:
            plan = replace(self._plan, warm_up_s=min(self._plan.warm_up_s, 0.02), max_s=min(self._plan.max_s, 0.05))
            timing, _ = time_until_quiet(subject.run, plan, self._patience, clock=subject.clock)
        return timing.median_s


def _counter(processor: str) -> EnergyCounter:
    try:
        return open_counter(processor)
    except BadInput as error:
        raise BadInput(f"energy: {error}") from error
