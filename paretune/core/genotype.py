"""Decisions and genotypes: what a candidate architecture is, as an integer array and as named choices."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from paretune.core.canonical import canonical_json as canonical_json
from paretune.core.canonical import fingerprint as fingerprint
from paretune.core.errors import BadInput, did_you_mean

Choice: TypeAlias = int | float | str | bool
Genotypes: TypeAlias = NDArray[np.int16]
"""`(num_candidates, num_decisions)` choice indices; int16 keeps a million candidates of 30 decisions in 60 MB."""

GENE = np.int16


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """One thing to choose when an architecture is designed."""

    name: str
    """Dotted name, unique in its space, for example `stage2.kernel`."""
    choices: tuple[Choice, ...]
    """What may be chosen; a genotype holds the index."""
    ordinal: bool
    """Whether neighbouring choices are alike (widths), as opposed to mere names (operations)."""

    def __post_init__(self) -> None:
        if not self.choices:
            raise BadInput(f"{self.name}: needs at least one value")
        if len(self.choices) > np.iinfo(GENE).max:
            raise BadInput(f"{self.name}: {len(self.choices)} values; at most {np.iinfo(GENE).max} are possible")
        seen = set()
        for choice in self.choices:
            if isinstance(choice, float) and not math.isfinite(choice):
                raise BadInput(f"{self.name}: {choice} is no choice; choices must be finite")
            if (type(choice), choice) in seen:
                raise BadInput(f"{self.name}: {choice!r} is listed twice")
            seen.add((type(choice), choice))

    @property
    def is_numeric(self) -> bool:
        """Whether every choice is a number, so that it can be an axis of a plot."""
        return all(isinstance(choice, int | float) and not isinstance(choice, bool) for choice in self.choices)


def num_choices(decisions: Sequence[Decision]) -> NDArray[np.int64]:
    """`(num_decisions,)` number of choices of each decision."""
    return np.array([len(decision.choices) for decision in decisions], dtype=np.int64)


def as_genotypes(rows: Iterable[Sequence[int]] | NDArray[Any], num_decisions: int) -> Genotypes:
    """Rows as a `(num_candidates, num_decisions)` genotype array; no rows give shape `(0, num_decisions)`.

    Raises:
        ValueError: a row has another number of genes, or a gene is no small integer.
    """
    given = np.asarray(rows if isinstance(rows, np.ndarray) else list(rows))
    if given.size == 0:
        return np.zeros((0, num_decisions), dtype=GENE)
    if given.ndim != 2 or given.shape[1] != num_decisions:
        raise ValueError(f"genotypes must have {num_decisions} genes each (got shape {given.shape})")
    genotypes_ND: Genotypes = given.astype(GENE)
    if not np.array_equal(genotypes_ND, given):
        raise ValueError(f"genes must be integers that fit {np.dtype(GENE)}")
    return genotypes_ND


def named(decisions: Sequence[Decision], genotype: Sequence[int] | NDArray[Any]) -> dict[str, Choice]:
    """One genotype as people read it: `{"stage2.kernel": 5, ...}`, in the order of the decisions."""
    return {decision.name: decision.choices[int(gene)] for decision, gene in zip(decisions, genotype, strict=True)}


class NamedGenotype(Mapping[str, Choice]):
    """What `named` gives, worked out when it is read: a study keeps one of these for each of its candidates."""

    __slots__ = ("_decisions", "_genotype")

    def __init__(self, decisions: tuple[Decision, ...], genotype: tuple[int, ...]) -> None:
        self._decisions, self._genotype = decisions, genotype

    def __getitem__(self, name: str) -> Choice:
        for decision, gene in zip(self._decisions, self._genotype, strict=True):
            if decision.name == name:
                return decision.choices[gene]
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        return (decision.name for decision in self._decisions)

    def __len__(self) -> int:
        return len(self._decisions)

    def __repr__(self) -> str:
        return f"NamedGenotype({dict(self)})"


def from_named(decisions: Sequence[Decision], choices: Mapping[str, Choice]) -> tuple[int, ...]:
    """The genotype of named choices, the inverse of `named`.

    Raises:
        BadInput: a decision is missing or unknown, or a value is none of its choices.
    """
    names = [decision.name for decision in decisions]
    for name in choices:
        if name not in names:
            raise BadInput(f"unknown decision '{name}'.{did_you_mean(name, names)}")
    genes = []
    for decision in decisions:
        if decision.name not in choices:
            raise BadInput(f"decision '{decision.name}' is missing (one of {list(decision.choices)})")
        genes.append(index_of(decision, choices[decision.name]))
    return tuple(genes)


def index_of(decision: Decision, value: Choice) -> int:
    """Index of a choice; 1 and 1.0 are alike unless both are choices, True and 1 never are.

    Raises:
        BadInput: the decision has no such choice.
    """
    alike = [
        index for index, choice in enumerate(decision.choices) if choice == value and isinstance(choice, bool) == isinstance(value, bool)
    ]
    if not alike:
        near = did_you_mean(value, [choice for choice in decision.choices if isinstance(choice, str)]) if isinstance(value, str) else ""
        raise BadInput(f"{decision.name}: {value!r} is not one of {list(decision.choices)}.{near}".rstrip("."))
    return next((index for index in alike if type(decision.choices[index]) is type(value)), alike[0])


def row_keys(genotypes_ND: Genotypes) -> list[bytes]:
    """A hashable key for each row, equal exactly where the rows are equal."""
    contiguous = np.ascontiguousarray(genotypes_ND, dtype=GENE)
    content, width = contiguous.tobytes(), contiguous.itemsize * contiguous.shape[1]
    return [content[row * width : (row + 1) * width] for row in range(len(contiguous))]
