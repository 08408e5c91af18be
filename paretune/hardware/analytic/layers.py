"""What the analytic cost models share: checked options and designs, shapes of layers, and sums over networks.

Legend: N networks, L layers of all networks together.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paretune.core.costs import Designs
from paretune.core.errors import BadInput, did_you_mean
from paretune.core.genotype import Decision
from paretune.core.workload import Kind, WorkloadBatch

Floats = NDArray[np.float64]

UNWEIGHTED = (Kind.POOL, Kind.ACTIVATION, Kind.ADD)
"""Kinds that most papers leave out: they are fused into the layer before them, or small beside it."""


def positive(name: str, value: float) -> float:
    """A finite number above 0."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value <= 0:
        raise BadInput(f"{name}: must be a finite number above 0; got {value!r}")
    return float(value)


def not_negative(name: str, value: float) -> float:
    """A finite number of at least 0."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
        raise BadInput(f"{name}: must be a finite number of at least 0; got {value!r}")
    return float(value)


def share(name: str, value: float) -> float:
    """A number above 0 and at most 1."""
    if positive(name, value) > 1:
        raise BadInput(f"{name}: must be at most 1; got {value!r}")
    return float(value)


def whole(name: str, value: int, *, minimum: int = 1) -> int:
    """A whole number of at least `minimum`."""
    if isinstance(value, bool) or not isinstance(value, int) or value < minimum:
        raise BadInput(f"{name}: must be a whole number of at least {minimum}; got {value!r}")
    return value


def one_of(name: str, value: str, known: Sequence[str]) -> str:
    """One of the known words."""
    if value not in known:
        raise BadInput(f"{name}: must be one of {', '.join(known)}; got {value!r}.{did_you_mean(str(value), known)}")
    return value


def searched(names: Sequence[str], known: Sequence[str]) -> tuple[str, ...]:
    """Names of options to be searched, in the order of `known`."""
    for name in names:
        one_of("search", name, known)
    return tuple(name for name in known if name in names)


def check_designs(space: Sequence[Decision], designs: Designs, num_networks: int | None = None) -> None:
    """Refuse designs that lack a decision, have another one, are none of the choices, or are not one for each network.

    Raises:
        BadInput: with the decision and its choices.
    """
    decisions = {decision.name: decision for decision in space}
    for name in designs:
        if name not in decisions:
            raise BadInput(f"unknown hardware decision '{name}'.{did_you_mean(name, list(decisions))}")
    for name, decision in decisions.items():
        if name not in designs:
            raise BadInput(f"hardware decision '{name}' is missing (one of {list(decision.choices)})")
        values = np.asarray(designs[name])
        known = np.isin(values, np.array(decision.choices))
        if not known.all():
            raise BadInput(f"{name}: {values[~known][0]} is not one of {list(decision.choices)}")
        if num_networks is not None and len(values) not in (1, num_networks):
            raise BadInput(f"{name}: {len(values)} values for {num_networks} networks; give one, or one for each")


def by_layer(values: NDArray[Any], workloads: WorkloadBatch) -> NDArray[Any]:
    """`(L,)` values of each network, or `(1,)` where all share one, for each of its layers."""
    return values if len(values) == 1 else np.repeat(values, np.diff(workloads.offsets))


def by_network(values: NDArray[Any], workloads: WorkloadBatch) -> Floats:
    """`(N,)` values from `(N,)` or `(1,)`."""
    return np.broadcast_to(np.asarray(values, dtype=np.float64), (len(workloads),)).copy()


def check_kinds(model: str, workloads: WorkloadBatch, known: Sequence[Kind]) -> None:
    """Refuse layers of a kind that a model does not know.

    Raises:
        BadInput: naming the first such layer and the kinds known.
    """
    strange_L = ~np.isin(workloads.kind, known)
    if strange_L.any():
        index = int(np.argmax(strange_L))
        name = workloads.names[index] if workloads.names and workloads.names[index] else str(index)
        kinds = ", ".join(kind.name.lower() for kind in known)
        raise BadInput(f"{model}: layer '{name}' is of kind {Kind(int(workloads.kind[index])).name.lower()}; this model knows {kinds}")


def total(values_L: NDArray[np.floating], workloads: WorkloadBatch) -> Floats:
    """`(N,)` sum of a quantity over the layers of each network."""
    return np.asarray(np.add.reduceat(values_L, workloads.offsets[:-1]), dtype=np.float64)


def kernel_rows(workloads: WorkloadBatch) -> Floats:
    """`(L,)` height of each kernel: 1 for a kernel over sequences, which keeps one row of its square (`taps == kernel`)."""
    in_one_row_L = (workloads.taps == workloads.kernel) & (workloads.out_height == 1)
    return np.where(in_one_row_L, 1, workloads.kernel).astype(np.float64)


def kernel_taps(workloads: WorkloadBatch) -> Floats:
    """`(L,)` weights kept of each kernel."""
    return np.where(workloads.taps > 0, workloads.taps, workloads.kernel**2).astype(np.float64)


def padded_input_elements(workloads: WorkloadBatch) -> Floats:
    """`(L,)` elements of each layer's input with its padding; what the kernel touches, where the layer does not say its input's size."""
    rows_L = kernel_rows(workloads)
    padding_rows_L = np.where(rows_L == 1, 0, workloads.padding)
    touched_height_L = (workloads.out_height - 1) * workloads.stride + rows_L
    touched_width_L = (workloads.out_width - 1) * workloads.stride + workloads.kernel
    height_L = np.where(workloads.in_height > 0, workloads.in_height + 2 * padding_rows_L, touched_height_L)
    width_L = np.where(workloads.in_width > 0, workloads.in_width + 2 * workloads.padding, touched_width_L)
    return np.asarray(workloads.in_channels * height_L * width_L * workloads.batch, dtype=np.float64)
