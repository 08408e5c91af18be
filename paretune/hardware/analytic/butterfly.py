"""The adaptable butterfly accelerator: Fourier, butterfly, attention and linear layers of transformers.

Source: Fan et al., Adaptable Butterfly Accelerator for Attention-based NNs via Hardware and Algorithm Co-design, MICRO 2022.

Legend: N networks, L layers of all networks together.
"""

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from paretune.core.costs import Designs, Estimates, ResourceUse
from paretune.core.genotype import Decision
from paretune.core.metrics import Direction, Metric
from paretune.core.option_checks import one_of, positive, share, whole
from paretune.core.workload import Kind, WorkloadBatch
from paretune.hardware.analytic.butterfly_cycles import Engine, butterfly_layer, fft_pass, padded
from paretune.hardware.analytic.design_options import by_layer, by_network, check_designs, searched
from paretune.hardware.analytic.layers import UNWEIGHTED, Floats, check_kinds, total

KINDS = (Kind.FFT, Kind.BUTTERFLY, Kind.LINEAR, Kind.ATTENTION)
SEARCHABLE = ("engines", "units")
CHOICES = {"engines": (16, 32, 64, 128), "units": (4, 8, 16, 32)}
UNIT_MULTIPLIERS = 4
"""Of a butterfly unit: a 2x2 block of real numbers, or one complex product."""
LABELS = np.array(["fft", "butterfly", "dense", "free"])


class Butterfly:
    """Latency and energy of transformers on the adaptable butterfly accelerator.

    Dense linear layers and attention use the same multipliers, bounded by the input port; the paper's attention processors are left out,
    and so are pooling, activations, additions and layer norm.

    Args:
        engines: butterfly engines, each with a row of its own.
        units: butterfly units of an engine.
        search: what to search: `engines` (16 to 128), `units` (4 to 32).
        max_multipliers: of the device, a resource; a unit has 4.
        variant: `corrected`, or `fabnet2022` as the released simulator counts (see `butterfly_cycles`): one step of each pipeline is
            left out, both dimensions of a Fourier layer are transformed along channels.
        input_port_bits: a cycle from DRAM.
        coefficient_port_bits: a cycle from DRAM.
        output_port_bits: a cycle to DRAM.
        bits: of a number.
        clock_hz: of the accelerator.
        efficiency: share of cycles that do work.
        power_w: of the accelerator, whatever it runs.

    Raises:
        BadInput: an option cannot be used.
    """

    metrics = (
        Metric(name="latency_s", unit="s", direction=Direction.MIN, lower=0, free=True, description="cycles over clock and efficiency"),
        Metric(name="energy_j", unit="j", direction=Direction.MIN, lower=0, free=True, description="latency times the accelerator's power"),
        Metric(name="predictions_per_joule", unit="", direction=Direction.MAX, lower=0, free=True, description="inferences for a joule"),
    )

    def __init__(
        self,
        *,
        engines: int = 40,
        units: int = 4,
        search: tuple[Literal["engines", "units"], ...] = (),
        max_multipliers: int = 2048,
        variant: Literal["corrected", "fabnet2022"] = "corrected",
        input_port_bits: int = 2048,
        coefficient_port_bits: int = 256,
        output_port_bits: int = 2048,
        bits: int = 16,
        clock_hz: float = 200e6,
        efficiency: float = 0.85,
        power_w: float = 10.727,
    ) -> None:
        self._fixed = {"engines": whole("engines", engines), "units": whole("units", units)}
        self._decisions = tuple(Decision(name=name, choices=CHOICES[name], ordinal=True) for name in searched(search, SEARCHABLE))
        self._max_multipliers = whole("max_multipliers", max_multipliers)
        self._as_released = one_of("variant", variant, ("corrected", "fabnet2022")) == "fabnet2022"
        self._bits = whole("bits", bits)
        self._ports = (
            whole("input_port_bits", input_port_bits),
            whole("coefficient_port_bits", coefficient_port_bits),
            whole("output_port_bits", output_port_bits),
        )
        self._cycles_per_s = positive("clock_hz", clock_hz) * share("efficiency", efficiency)
        self._power_w = positive("power_w", power_w)

    def space(self) -> tuple[Decision, ...]:
        """`engines` and `units`, as far as they are searched."""
        return self._decisions

    def check(self, designs: Designs) -> Mapping[str, ResourceUse]:
        """Multipliers of all units."""
        check_designs(self._decisions, designs)
        used = UNIT_MULTIPLIERS * self._value(designs, "engines") * self._value(designs, "units")
        return {"multipliers": ResourceUse(used=used, available=float(self._max_multipliers))}

    def estimate(self, workloads: WorkloadBatch, designs: Designs) -> Mapping[str, Estimates]:
        """Latency, energy and efficiency; the label says what the engines work as: `fft`, `butterfly` or `dense`.

        Raises:
            BadInput: a layer of some network is a convolution, or a design is none of the space.
        """
        check_designs(self._decisions, designs, len(workloads))
        check_kinds("butterfly", workloads, (*KINDS, *UNWEIGHTED))
        engine = self._engine(workloads, designs)
        kind = workloads.kind
        cycles_L = np.select(
            [kind == Kind.FFT, kind == Kind.BUTTERFLY, np.isin(kind, (Kind.LINEAR, Kind.ATTENTION))],
            [self._fft(workloads, engine), self._butterfly(workloads, engine), self._dense(workloads, engine)],
            default=0.0,
        )
        codes_L = np.select([kind == Kind.FFT, kind == Kind.BUTTERFLY, cycles_L > 0], [0, 1, 2], default=3)
        latency_L = cycles_L / self._cycles_per_s
        latency_N = total(latency_L, workloads)
        energy_N = latency_N * self._power_w
        per_joule_N = np.divide(1.0, energy_N, out=np.zeros(len(workloads)), where=energy_N > 0)
        return {
            "latency_s": Estimates(values=latency_N, source="analytic", layers=latency_L, layer_bottlenecks=LABELS[codes_L]),
            "energy_j": Estimates(values=energy_N, source="analytic", layers=latency_L * self._power_w),
            "predictions_per_joule": Estimates(values=by_network(per_joule_N, workloads), source="analytic"),
        }

    def _value(self, designs: Designs, name: str) -> Floats:
        """`(N,)` or `(1,)` engines or units."""
        found: NDArray[Any] = np.asarray(designs[name]) if name in designs else np.array([self._fixed[name]])
        return found.astype(np.float64)

    def _engine(self, workloads: WorkloadBatch, designs: Designs) -> Engine:
        input_bits, coefficient_bits, output_bits = self._ports
        return Engine(
            engines=by_layer(self._value(designs, "engines"), workloads),
            units=by_layer(self._value(designs, "units"), workloads),
            bits=self._bits,
            input_port_bits=input_bits,
            coefficient_port_bits=coefficient_bits,
            output_port_bits=output_bits,
        )

    def _fft(self, workloads: WorkloadBatch, engine: Engine) -> Floats:
        """Along channels a row is a token; along tokens a row is a channel."""
        tokens_L = (workloads.out_height * workloads.out_width).astype(np.float64)
        channels_L = workloads.out_channels.astype(np.float64)
        along_channels: dict[str, Floats] = {"rows": tokens_L * workloads.batch, "length": padded(channels_L)}
        along_tokens = {"rows": channels_L * workloads.batch, "length": padded(tokens_L)}
        first_L = fft_pass(engine, complex_input=False, as_released=self._as_released, **along_channels)
        second = along_channels if self._as_released else along_tokens
        return first_L + fft_pass(engine, complex_input=True, as_released=self._as_released, **second)

    def _butterfly(self, workloads: WorkloadBatch, engine: Engine) -> Floats:
        return butterfly_layer(
            engine,
            rows=(workloads.out_height * workloads.out_width * workloads.batch).astype(np.float64),
            in_features=workloads.in_channels.astype(np.float64),
            out_features=workloads.out_channels.astype(np.float64),
            as_released=self._as_released,
        )

    def _dense(self, workloads: WorkloadBatch, engine: Engine) -> Floats:
        """All multipliers busy, or the input port: each input and weight once."""
        compute_L = workloads.macs_L / (UNIT_MULTIPLIERS * engine.engines * engine.units)
        words_L = workloads.input_elements_L + workloads.weights_L
        return np.maximum(np.ceil(compute_L), np.ceil(words_L * self._bits / engine.input_port_bits))
