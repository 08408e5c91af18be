"""Options of accelerators that a user sets once or leaves to the search: their checks, their decisions, their values for each network."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paretune.core.costs import Designs
from paretune.core.errors import BadInput, did_you_mean
from paretune.core.genotype import Choice, Decision
from paretune.core.workload import Kind, WorkloadBatch

Floats = NDArray[np.float64]


def checked_count(name: str, value: int, *, minimum: int = 1) -> int:
    """A whole number of at least `minimum`."""
    if isinstance(value, bool) or not isinstance(value, int) or value < minimum:
        raise BadInput(f"{name}: must be a whole number of at least {minimum}; got {value!r}")
    return value


def checked_positive(name: str, value: float) -> float:
    """A finite number above 0."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not (math.isfinite(value) and value > 0):
        raise BadInput(f"{name}: must be a number above 0; got {value!r}")
    return float(value)


def searched_decisions(search: Sequence[str], choices: Mapping[str, tuple[Choice, ...]]) -> tuple[Decision, ...]:
    """The decisions of the options named in `search`, in the order of `choices`.

    Raises:
        BadInput: a name is none of an option that can be searched, or is listed twice.
    """
    for name in search:
        if name not in choices:
            raise BadInput(f"search: '{name}' cannot be searched.{did_you_mean(name, list(choices))} ({', '.join(choices)} can)")
    if len(set(search)) < len(search):
        raise BadInput(f"search: lists a name twice; got {tuple(search)}")
    return tuple(
        Decision(name=name, choices=values, ordinal=not any(isinstance(value, str | bool) for value in values))
        for name, values in choices.items()
        if name in search
    )


def design_values(fixed: Mapping[str, Choice], space: Sequence[Decision], designs: Designs) -> dict[str, NDArray[Any]]:
    """`(N,)` or `(1,)` values of every option: that of the design where it is searched, else the fixed one.

    Raises:
        BadInput: `designs` lacks a decision or has another one, or a number is not above 0.
    """
    wanted = {decision.name for decision in space}
    if set(designs) != wanted:
        raise BadInput(f"designs: must have {sorted(wanted) or 'no decisions'}; got {sorted(designs)}")
    for name, values in designs.items():
        if values.dtype.kind in "iuf" and not np.all(values > 0):
            raise BadInput(f"{name}: must be above 0; got {values.min()}")
    return {name: np.asarray(designs[name]) if name in designs else np.array([value]) for name, value in fixed.items()}


def per_layer(values: NDArray[Any], workloads: WorkloadBatch) -> Floats:
    """Each network's value for each of its layers, `(L,)`; `(1,)` where all networks share it."""
    numbers = values.astype(np.float64)
    return numbers if len(numbers) == 1 else np.repeat(numbers, np.diff(workloads.offsets))


def refuse_unknown_kinds(model: str, workloads: WorkloadBatch, known: Sequence[Kind]) -> None:
    """Refuse networks with a layer of another kind.

    Raises:
        BadInput: naming the first such layer and the kinds known.
    """
    strange_L = ~np.isin(workloads.kind, known)
    if strange_L.any():
        raise BadInput(
            f"{model}: knows no cost of {layer_title(workloads, int(strange_L.argmax()))}; "
            f"it knows {', '.join(kind.name.lower() for kind in known)}"
        )


def layer_title(workloads: WorkloadBatch, layer: int) -> str:
    """A layer for messages: `depthwise layer 'stage1.block0.depthwise'`."""
    name = workloads.names[layer] if workloads.names else ""
    place = (
        f"'{name}'" if name else f"number {layer - int(workloads.offsets[np.searchsorted(workloads.offsets, layer, side='right') - 1]) + 1}"
    )
    return f"{Kind(int(workloads.kind[layer])).name.lower()} layer {place}"
