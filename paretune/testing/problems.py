"""Problems with known fronts: search spaces without data or training, for contract checks, demonstrations and kill-and-resume tests.

Everything is deterministic, picklable and free of random numbers. `known_front_problem()` is the usual entry.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from paretune.core.errors import BadInput
from paretune.core.genotype import GENE, Decision, Genotypes, as_genotypes, num_choices
from paretune.core.metrics import Direction, Metric
from paretune.core.objectives import Constraint, Objective, Problem
from paretune.core.trial import Outcome, Trial
from paretune.core.workload import Kind, Layer, WorkloadBatch

if TYPE_CHECKING:
    from torch import nn

LARGEST_LISTED = 2**20
"""Genotypes up to which architectures are listed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Inactive:
    """A rule: one decision has no effect while an earlier one has one of some choices."""

    decision: int
    """Index of the decision without effect; its gene collapses to 0."""
    controller: int
    """Index of the earlier decision that switches it."""
    choices: tuple[int, ...]
    """Choice indices of the controller that switch it off."""


class TabulatedSpace:
    """A `SearchSpace` from a plain list of decisions, with optional rules; nothing in it needs torch until `build`.

    Args:
        decisions: what is to be chosen.
        name: for messages.
        inactive: which decisions collapse when.
        forbidden: combinations `((decision, choice), ...)` that describe no network.
        num_features: inputs of the built network, flattened.
        num_classes: outputs of the built network.

    Raises:
        BadInput: a rule looks forward, or the decisions in rules have more than 2**20 combinations, which would have to be counted.
    """

    def __init__(
        self,
        decisions: Sequence[Decision],
        *,
        name: str = "tabulated",
        inactive: Sequence[Inactive] = (),
        forbidden: Sequence[Sequence[tuple[int, int]]] = (),
        num_features: int = 64,
        num_classes: int = 10,
    ) -> None:
        if any(rule.controller >= rule.decision for rule in inactive):
            raise BadInput("inactive: a rule's controller must come before the decision it switches")
        self.name, self.decisions = name, tuple(decisions)
        self.num_features, self.num_classes = num_features, num_classes
        self._inactive = tuple(sorted(inactive, key=lambda rule: rule.decision))
        self._forbidden = tuple(tuple(pairs) for pairs in forbidden)
        self._choices_D = num_choices(self.decisions)
        self.size = self._count()

    def canonical(self, genotypes_ND: Genotypes) -> Genotypes:
        """`(N, D)` with the genes of inactive decisions 0."""
        canonical_ND = np.array(genotypes_ND, dtype=GENE)
        for rule in self._inactive:
            off_N = (canonical_ND[:, rule.controller, np.newaxis] == rule.choices).any(axis=1)
            canonical_ND[off_N, rule.decision] = 0
        return canonical_ND

    def valid(self, genotypes_ND: Genotypes) -> NDArray[np.bool_]:
        """`(N,)` mask of the genotypes that hold no forbidden combination."""
        valid_N = np.ones(len(genotypes_ND), dtype=np.bool_)
        if not self._forbidden:
            return valid_N
        canonical_ND = self.canonical(genotypes_ND)
        for pairs in self._forbidden:
            valid_N &= ~np.all([canonical_ND[:, decision] == choice for decision, choice in pairs], axis=0)
        return valid_N

    def members(self) -> Genotypes:
        """`(size, D)` every architecture, in the order of the genes.

        Raises:
            BadInput: there are more than 2**20 genotypes.
        """
        return self._members(range(len(self.decisions)))

    def encode(self, genotypes_ND: Genotypes) -> NDArray[np.float64]:
        """`(N, D)` position of each gene among its choices, 0 to 1."""
        return self.canonical(genotypes_ND) / np.maximum(self._choices_D - 1, 1)

    def workloads(self, genotypes_ND: Genotypes) -> WorkloadBatch:
        """The two linear layers of `build`."""
        return WorkloadBatch.from_layers([self._layers(genotype) for genotype in self.canonical(genotypes_ND)])

    def build(self, genotype: Sequence[int]) -> "nn.Module":
        """A small network: flatten, linear, ReLU, linear; its width is 1 + the sum of the genes."""
        from torch import nn

        hidden, output = self._layers(self.canonical(as_genotypes([genotype], len(self.decisions)))[0])
        return nn.Sequential(
            nn.Flatten(),
            nn.Linear(hidden.in_channels, hidden.out_channels),
            nn.ReLU(),
            nn.Linear(output.in_channels, output.out_channels),
        )

    def _layers(self, genotype_D: Genotypes) -> tuple[Layer, Layer]:
        width = 1 + int(genotype_D.sum())
        return (
            Layer(kind=Kind.LINEAR, in_channels=self.num_features, out_channels=width, per_channel=1, name="hidden"),
            Layer(kind=Kind.LINEAR, in_channels=width, out_channels=self.num_classes, per_channel=1, name="output"),
        )

    def _members(self, free: Sequence[int]) -> Genotypes:
        """Every architecture in which only the `free` decisions differ from 0."""
        counts = tuple(int(self._choices_D[decision]) for decision in free)
        if prod(counts) > LARGEST_LISTED:
            raise BadInput(f"{self.name}: {prod(counts):,} genotypes are too many to list")
        genotypes_ND = np.zeros((prod(counts), len(self.decisions)), dtype=GENE)
        if counts:
            genotypes_ND[:, list(free)] = np.stack(np.unravel_index(np.arange(prod(counts)), counts), axis=1)
        own_N = np.all(self.canonical(genotypes_ND) == genotypes_ND, axis=1) & self.valid(genotypes_ND)
        return np.asarray(genotypes_ND[own_N])

    def _count(self) -> int:
        """The decisions in no rule multiply what the others allow."""
        ruled = {index for rule in self._inactive for index in (rule.decision, rule.controller)}
        ruled |= {decision for pairs in self._forbidden for decision, _ in pairs}
        others = prod(int(count) for index, count in enumerate(self._choices_D) if index not in ruled)
        return len(self._members(sorted(ruled))) * others


@dataclass(frozen=True, slots=True, kw_only=True)
class DiminishingReturns:
    """Metrics of a genotype: wider stages err less and less, and cost more and more; whatever else is chosen only hurts.

    With widths w_i of at most m: the deficit is sum (m - w_i)^2, the load is sum w_i^2, and the waste is what the other genes
    add to both.
    """

    num_stages: int
    """The first genes are the stages' widths."""
    widest: int
    """m, the largest width."""

    def __call__(self, genotype: Sequence[int]) -> dict[str, float]:
        """`accuracy`, `table.latency_s` and `parameters` of one canonical genotype."""
        genes = [int(gene) for gene in genotype]
        widths, waste = genes[: self.num_stages], sum(genes[self.num_stages :])
        deficit, load = sum((self.widest - width) ** 2 for width in widths) + waste, sum(width**2 for width in widths) + waste
        return {
            "accuracy": 1.0 - deficit / (self.num_stages * self.widest**2 + MOST_WASTE),
            "table.latency_s": (1 + load) / 1000,
            "parameters": float(1000 * sum(widths)),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownFront:
    """A problem whose Pareto front is known exactly."""

    space: TabulatedSpace
    problem: Problem
    evaluate: DiminishingReturns
    """Canonical genotype -> metrics; picklable."""
    metrics: tuple[Metric, ...]
    """What `evaluate` returns."""
    front: NDArray[np.float64]
    """`(front size, num_objectives)` every point of the front once, minimised, by rising first objective."""

    def trial(self, ask_index: int, genotype: Sequence[int] | NDArray[np.int16]) -> Trial:
        """The trial that evaluating a genotype gives."""
        genes = tuple(int(gene) for gene in genotype)
        return Trial(ask_index=ask_index, genotype=genes, outcome=Outcome.OK, metrics=self.evaluate(genes))


MOST_WASTE = 5
"""Sum of the last choices of operation, tail and tail.kernel."""

METRICS = (
    Metric(name="accuracy", unit="", direction=Direction.MAX, lower=0.0, upper=1.0, description="made up; saturates with width"),
    Metric(name="table.latency_s", unit="s", direction=Direction.MIN, lower=0.0, description="made up; quadratic in width"),
    Metric(name="parameters", unit="", direction=Direction.MIN, lower=0.0, description="made up; linear in width", free=True),
)


def known_front_problem(*, num_stages: int = 4, widest: int = 4, max_parameters: float | None = None) -> KnownFront:
    """A NAS-shaped problem with a known front: stage widths, two operations and a tail that may be absent.

    All genes but the widths only waste, so a front member has them at 0. For a total width s, deficit and load differ by a constant,
    and both are least where the widths differ by at most 1; from s to s + 1 the load rises by 2 * (s // n) + 1 and the deficit falls
    by 2 * (m - s // n) - 1 > 0. So each s from 0 to n * m gives exactly one front point (n stages, m the largest width), and a
    limit on the parameters, 1000 * s, cuts the front where it bites. With the defaults 7,500 architectures and 17 points.

    Args:
        num_stages: n.
        widest: m.
        max_parameters: limit on `parameters`; None for none.
    """
    decisions = (
        *(Decision(name=f"stage{stage}.width", choices=tuple(range(widest + 1)), ordinal=True) for stage in range(num_stages)),
        Decision(name="operation", choices=("conv", "pool", "none"), ordinal=False),
        Decision(name="tail", choices=("absent", "present"), ordinal=False),
        Decision(name="tail.kernel", choices=(3, 5, 7), ordinal=True),
    )
    tail = num_stages + 1
    space = TabulatedSpace(decisions, name="known_front", inactive=[Inactive(decision=tail + 1, controller=tail, choices=(0,))])
    evaluate = DiminishingReturns(num_stages=num_stages, widest=widest)
    problem = Problem(
        objectives=(
            Objective(metric="accuracy", direction=Direction.MAX, reference=0.0),
            Objective(metric="table.latency_s", direction=Direction.MIN, reference=(2 + num_stages * widest**2 + MOST_WASTE) / 1000),
        ),
        constraints=() if max_parameters is None else (Constraint(metric="parameters", upper=max_parameters),),
    )
    metrics = [evaluate(_balanced(total, num_stages)) for total in range(num_stages * widest + 1)]
    front = [problem.minimised(values) for values in metrics if problem.violation(values) <= 0]
    points = np.array(front, dtype=np.float64).reshape(-1, 2)
    return KnownFront(space=space, problem=problem, evaluate=evaluate, metrics=METRICS, front=points[np.argsort(points[:, 0])])


def constrained_front_problem() -> KnownFront:
    """`known_front_problem` with `parameters` <= 9,000: the 10 points of total width 0 to 9."""
    return known_front_problem(max_parameters=9000.0)


def _balanced(total: int, num_stages: int) -> tuple[int, ...]:
    """Widths that differ by at most 1 and add up to `total`, then zeros for the other genes."""
    least, more = divmod(total, num_stages)
    return (*(least + (stage < more) for stage in range(num_stages)), 0, 0, 0)
