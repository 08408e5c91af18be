"""Options of accelerators that a user sets once or leaves to the search: their checks, their decisions, their values for each network.

Legend: N networks, L layers of all networks together.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paretune.core.costs import Designs
from paretune.core.errors import BadInput, did_you_mean
from paretune.core.genotype import Choice, Decision
from paretune.core.option_checks import one_of
from paretune.core.workload import WorkloadBatch

Floats = NDArray[np.float64]


def searched(names: Sequence[str], known: Sequence[str]) -> tuple[str, ...]:
    """Names of options to be searched, in the order of `known`.

    Raises:
        BadInput: a name is none of an option that can be searched, or is listed twice.
    """
    for name in names:
        one_of("search", name, known)
    if len(set(names)) < len(names):
        raise BadInput(f"search: lists a name twice; got {tuple(names)}")
    return tuple(name for name in known if name in names)


def searched_decisions(search: Sequence[str], choices: Mapping[str, tuple[Choice, ...]]) -> tuple[Decision, ...]:
    """The decisions of the options named in `search`, in the order of `choices`.

    Raises:
        BadInput: a name is none of an option that can be searched, or is listed twice.
    """
    return tuple(
        Decision(name=name, choices=choices[name], ordinal=not any(isinstance(value, str | bool) for value in choices[name]))
        for name in searched(search, tuple(choices))
    )


def check_decisions(space: Sequence[Decision], designs: Designs) -> None:
    """Refuse designs that lack a decision or have another one.

    Raises:
        BadInput: with the decision and its choices.
    """
    names = [decision.name for decision in space]
    for name in designs:
        if name not in names:
            raise BadInput(f"unknown hardware decision '{name}'.{did_you_mean(name, names)}")
    for decision in space:
        if decision.name not in designs:
            raise BadInput(f"hardware decision '{decision.name}' is missing (one of {list(decision.choices)})")


def check_designs(space: Sequence[Decision], designs: Designs, num_networks: int | None = None) -> None:
    """Refuse designs that lack a decision, have another one, are none of the choices, or are not one for each network.

    Raises:
        BadInput: with the decision and its choices.
    """
    check_decisions(space, designs)
    for decision in space:
        name = decision.name
        values = np.asarray(designs[name])
        known = np.isin(values, np.array(decision.choices))
        if not known.all():
            raise BadInput(f"{name}: {values[~known][0]} is not one of {list(decision.choices)}")
        if num_networks is not None and len(values) not in (1, num_networks):
            raise BadInput(f"{name}: {len(values)} values for {num_networks} networks; give one, or one for each")


def design_values(fixed: Mapping[str, Choice], space: Sequence[Decision], designs: Designs) -> dict[str, NDArray[Any]]:
    """`(N,)` or `(1,)` values of every option: that of the design where it is searched, else the fixed one.

    Raises:
        BadInput: `designs` lacks a decision or has another one, or a number is not above 0.
    """
    check_decisions(space, designs)
    for name, values in designs.items():
        if values.dtype.kind in "iuf" and not np.all(values > 0):
            raise BadInput(f"{name}: must be above 0; got {values.min()}")
    return {name: np.asarray(designs[name]) if name in designs else np.array([value]) for name, value in fixed.items()}


def by_layer(values: NDArray[Any], workloads: WorkloadBatch) -> NDArray[Any]:
    """`(L,)` values of each network, or `(1,)` where all share one, for each of its layers."""
    return values if len(values) == 1 else np.repeat(values, np.diff(workloads.offsets))


def floats_by_layer(values: NDArray[Any], workloads: WorkloadBatch) -> Floats:
    """`by_layer` of numbers, as floats: products of many whole numbers overflow."""
    return by_layer(values.astype(np.float64), workloads)


def by_network(values: NDArray[Any], workloads: WorkloadBatch) -> Floats:
    """`(N,)` values from `(N,)` or `(1,)`."""
    return np.broadcast_to(np.asarray(values, dtype=np.float64), (len(workloads),)).copy()
