"""A device at the end of a TCP connection: networks go there as ONNX, raw times of runs come back (docs/devices.md)."""

import ipaddress
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Literal

from paretune.core.errors import DeviceError
from paretune.core.metrics import Metric
from paretune.core.protocols import Measurement
from paretune.hardware.measured.drift import DriftLimits
from paretune.hardware.measured.host import LATENCY, MEMORY
from paretune.hardware.measured.option_limits import OptionChecks
from paretune.hardware.measured.plausibility import GENEROUS, work_of
from paretune.hardware.measured.reference_network import REFERENCE_SHAPE, reference_network, reference_onnx
from paretune.hardware.measured.remote.client import Answer, measure_on, split_address
from paretune.hardware.measured.remote.pool import DevicePool
from paretune.hardware.measured.remote.protocol import Order
from paretune.hardware.measured.runtimes import PROCESSORS
from paretune.hardware.measured.timing import Patience, TimingPlan, fastest_that_counts

if TYPE_CHECKING:
    from torch import nn

TOTAL_S = 240.0
"""Of one measurement over all devices and repetitions; below the time after which a study gives a device's process up."""
REFERENCE_TIMEOUT_S = 20.0
"""A device that needs longer for the small reference network hangs."""


class Remote:
    """Latency on devices that run `paretune device serve`, several of one type as one.

    Args:
        addresses: `HOST:PORT` of each device, or of the SSH tunnel to it.
        processor: of the device: `cpu`, or `cuda` where its ONNX Runtime has CUDA.
        threads: threads of one inference.
        warm_up_s: how long to run before measuring.
        max_s: how long one attempt may take beyond warm-up; it ends earlier where the median is sure enough.
        relative_interval: how sure: half the 95 % confidence interval of the median over the median.
        quiet_relative_iqr: attempts are repeated until two no noisier than this (interquartile range over median) agree within 5 %.
        max_relative_iqr: an attempt noisier than this does not count.
        max_attempts: attempts at most.
        peak_memory: also measure `measured_memory_bytes`, what the measuring process grows by.
        peak_macs_per_s: MACs a second that the device certainly does not exceed; None for a generous bound.
        peak_bytes_per_s: bytes a second that it certainly cannot read; None for a generous bound.
        max_drift: measure again where the reference network differs from its baseline by more than this share, then refuse.
        max_repeats: repetitions at most.
        baseline_s: latency of the reference on these devices in order, as `paretune device check` tells it; None measures it at the start.
        timeout_s: how long a device may take for a request.
        wait_s: how long to wait for a device to come back once none is left.
        allow_network: connect to addresses that are not of this machine; nothing is encrypted and nobody is asked for a password.

    Raises:
        BadInput: an option cannot be used.
    """

    def __init__(
        self,
        *,
        addresses: tuple[str, ...] = ("127.0.0.1:7763",),
        processor: Literal["cpu", "cuda"] = "cpu",
        threads: int = 1,
        warm_up_s: float = 0.05,
        max_s: float = 0.2,
        relative_interval: float = 0.01,
        quiet_relative_iqr: float = 0.1,
        max_relative_iqr: float = 0.5,
        max_attempts: int = 5,
        peak_memory: bool = False,
        peak_macs_per_s: float | None = None,
        peak_bytes_per_s: float | None = None,
        max_drift: float = 0.05,
        max_repeats: int = 3,
        baseline_s: float | None = None,
        timeout_s: float = 60.0,
        wait_s: float = 60.0,
        allow_network: bool = False,
    ) -> None:
        checks = OptionChecks()
        checks.one_of("processor", processor, PROCESSORS)
        checks.whole(1, {"threads": threads, "max_attempts": max_attempts})
        checks.whole(0, {"max_repeats": max_repeats})
        checks.positive({"warm_up_s": warm_up_s, "max_s": max_s, "relative_interval": relative_interval, "timeout_s": timeout_s})
        checks.positive({"quiet_relative_iqr": quiet_relative_iqr, "max_relative_iqr": max_relative_iqr, "wait_s": wait_s})
        bounds = {"peak_macs_per_s": peak_macs_per_s, "peak_bytes_per_s": peak_bytes_per_s}
        checks.positive({**bounds, "max_drift": max_drift, "baseline_s": baseline_s})
        checks.ordered("quiet_relative_iqr", quiet_relative_iqr, "max_relative_iqr", max_relative_iqr)
        for address in addresses or ("",):
            if problem := _address_problem(address, allow_network):
                checks.add("addresses", problem)
        if len(set(addresses)) < len(addresses):
            checks.add("addresses", "names a device twice")
        if peak_memory and processor == "cuda":
            checks.add("peak_memory", "is measured on the cpu of a remote device; got cuda")
        checks.done()
        self.metrics: tuple[Metric, ...] = (LATENCY, MEMORY) if peak_memory else (LATENCY,)
        self._timing = TimingPlan(warm_up_s=warm_up_s, max_s=max_s, relative_interval=relative_interval)
        self._patience = Patience(quiet_relative_iqr=quiet_relative_iqr, max_relative_iqr=max_relative_iqr, max_attempts=max_attempts)
        self._processor, self._threads, self._peak_memory, self._timeout_s = processor, threads, peak_memory, timeout_s
        self._roofline = replace(GENEROUS[processor], **{name: value for name, value in bounds.items() if value is not None})
        self._pool = DevicePool(
            addresses,
            time_reference=self._reference_s,
            limits=DriftLimits(quiet_drift=max_drift, max_drift=max_drift, max_repeats=max_repeats, baseline_s=baseline_s),
            wait_s=wait_s,
            total_s=TOTAL_S,
        )

    def measure(self, network: "nn.Module", example_shape: tuple[int, ...]) -> Measurement:
        """Measure one inference in evaluation mode on an input of `example_shape`, batch first.

        Raises:
            DeviceError: no device gave a sound answer, or the network cannot run.
        """
        from paretune.networks.onnx_conversion import to_onnx  # torch takes a second to import; `paretune list` does without

        try:
            work, model = work_of(network, example_shape), to_onnx(network, example_shape)
        except Exception as error:  # user networks raise what they like
            raise DeviceError(f"the network cannot run on an input of shape {example_shape}: {error}") from error

        def on(address: str) -> tuple[Answer, float]:
            answer = measure_on(address, model, self.order(example_shape, self._timeout_s), timeout_s=self._timeout_s)
            latency_s = fastest_that_counts(answer.attempts, self._patience).median_s
            self._roofline.check_latency(latency_s, work)
            return answer, latency_s

        pooled = self._pool.measured(on)
        answer, latency_s = pooled.found
        details = {
            "source": "measured",
            "runtime": "onnxruntime",
            "processor": self._processor,
            "threads": self._threads,
            "example_shape": list(example_shape),
            "macs": work.macs,
            "device": pooled.address,
            "attempts": len(answer.attempts),
            **asdict(fastest_that_counts(answer.attempts, self._patience)),
            "reference": pooled.check.as_json(),
            "quarantined": dict(pooled.quarantined),
            "environment": dict(answer.device),
        }
        memory = {"measured_memory_bytes": float(answer.peak_memory_bytes)} if answer.peak_memory_bytes is not None else {}
        return Measurement(values={"latency_s": latency_s, **memory}, details=details)

    def order(self, example_shape: tuple[int, ...], timeout_s: float) -> Order:
        """What a device is asked for."""
        return Order(
            example_shape=tuple(example_shape),
            threads=self._threads,
            processor=self._processor,
            warm_up_s=self._timing.warm_up_s,
            block_s=self._timing.block_s,
            min_blocks=self._timing.min_blocks,
            max_s=self._timing.max_s,
            relative_interval=self._timing.relative_interval,
            quiet_relative_iqr=self._patience.quiet_relative_iqr,
            max_relative_iqr=self._patience.max_relative_iqr,
            max_attempts=self._patience.max_attempts,
            peak_memory=self._peak_memory,
            limit_s=0.9 * timeout_s,
        )

    def _reference_s(self, address: str) -> float:
        """Latency of the reference network on one device."""
        return fastest_that_counts(self.reference_answer(address).attempts, self._patience).median_s

    def reference_answer(self, address: str) -> Answer:
        """Have one device measure the reference network.

        Raises:
            DeviceError: it gives no sound answer.
        """
        timeout_s = min(self._timeout_s, REFERENCE_TIMEOUT_S)
        answer = measure_on(address, reference_onnx(), self.order(REFERENCE_SHAPE, timeout_s), timeout_s=timeout_s)
        work = work_of(reference_network(), REFERENCE_SHAPE)
        for attempt in answer.attempts:
            self._roofline.check_latency(attempt.median_s, work)
        return answer


def _address_problem(address: str, allow_network: bool) -> str:
    """What is wrong with an address; empty where nothing is."""
    try:
        host, _ = split_address(address)
    except ValueError as error:
        return str(error)
    try:
        alone = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        alone = False
    if alone or allow_network:
        return ""
    return (
        f"{address} is another machine, and the protocol has no encryption and no password. Use an SSH tunnel "
        f"(ssh -L 7763:127.0.0.1:7763 {host}) and 127.0.0.1:7763, or say allow_network: true (--allow-network)"
    )
