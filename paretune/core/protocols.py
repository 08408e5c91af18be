"""What a search space, searcher, task and device must offer: the seams at which users extend paretune; cost models are in `core.costs`.

The matching contract checks are in `paretune.testing`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from paretune.core.genotype import Decision, Genotypes
from paretune.core.metrics import Metric
from paretune.core.trial import Outcome, Trial
from paretune.core.workload import WorkloadBatch

if TYPE_CHECKING:
    from torch import nn


@runtime_checkable
class GenotypeSpace(Protocol):
    """What a searcher needs to know of a search space: its decisions and which genotypes are the same network."""

    @property
    def decisions(self) -> tuple[Decision, ...]:
        """What is to be chosen, in the order of the genotype."""
        ...

    @property
    def size(self) -> int:
        """Exact number of distinct architectures."""
        ...

    def canonical(self, genotypes_ND: Genotypes) -> Genotypes:
        """`(N, D)` with every inactive decision set to one value: equal rows <=> same network. Idempotent."""
        ...

    def valid(self, genotypes_ND: Genotypes) -> NDArray[np.bool_]:
        """`(N,)` mask of the genotypes that describe a network."""
        ...


@runtime_checkable
class SearchSpace(GenotypeSpace, Protocol):
    """Everything that may be built.

    Two roads must give one answer: MACs and parameters of `workloads` equal those counted on the network of `build`.
    """

    @property
    def name(self) -> str:
        """Registered name."""
        ...

    def encode(self, genotypes_ND: Genotypes) -> NDArray[np.float64]:
        """`(N, F)` features for predictors, each between 0 and 1; equal networks have equal features."""
        ...

    def workloads(self, genotypes_ND: Genotypes) -> WorkloadBatch:
        """The layers of N networks, in the order of the rows."""
        ...

    def build(self, genotype: Sequence[int]) -> "nn.Module":
        """The torch network of one genotype, with fresh weights from torch's global generator."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Graphs:
    """N architectures as directed acyclic graphs of V nodes, for predictors that read graphs.

    Nodes are numbered so that edges run from lower to higher numbers; the first is the input, the last the output. A node that an
    architecture does not have has no edges and operation 0.
    """

    adjacency: NDArray[np.bool_]
    """`(N, V, V)`: whether the output of a node (row) goes into another (column)."""
    operations: NDArray[np.int8]
    """`(N, V)` what each node computes, 0 to `num_operations` - 1; 0 is no node, 1 the input, 2 the output."""
    num_operations: int
    """Length of a one-hot code of `operations`."""


@runtime_checkable
class GraphSpace(Protocol):
    """What a search space adds where its architectures are graphs."""

    def graphs(self, genotypes_ND: Genotypes, *, pruned: bool) -> Graphs:
        """The graphs of N architectures, in the order of the rows.

        Args:
            genotypes_ND: valid genotypes.
            pruned: leave out nodes and edges that do not lie on a way from the input to the output.
        """
        ...


@runtime_checkable
class ListedSpace(GenotypeSpace, Protocol):
    """What a search space adds where it can say which architectures it has, such as one that is cut down to a table."""

    def members(self) -> Genotypes:
        """`(size, D)` every architecture, canonical, in a fixed order."""
        ...


@runtime_checkable
class NumberedSpace(Protocol):
    """What a benchmark's search space adds where its architectures have official numbers and strings."""

    def index_of(self, genotypes_ND: Genotypes) -> NDArray[np.int64]:
        """`(N,)` official numbers."""
        ...

    def string_of(self, genotypes_ND: Genotypes) -> list[str]:
        """Official strings of N architectures."""
        ...

    def from_index(self, indices_N: NDArray[np.int64]) -> Genotypes:
        """The genotypes `(N, D)` of official numbers, as they are written: not canonical.

        Raises:
            BadInput: a number is none of an architecture.
        """
        ...

    def from_string(self, strings: Sequence[str]) -> Genotypes:
        """The genotypes `(N, D)` of official strings, as they are written: not canonical.

        Raises:
            BadInput: a string is none of an architecture.
        """
        ...


Mutation: TypeAlias = Callable[[Genotypes, np.random.Generator], Genotypes]
"""Valid rows `(N, D)` and random draws -> one valid, canonical mutant of each row; a row that cannot change comes back as it is."""


@runtime_checkable
class MutatingSpace(GenotypeSpace, Protocol):
    """What a search space adds where its field knows better mutations than another choice for one decision."""

    def mutation_operators(self) -> Mapping[str, Mutation]:
        """The mutations by name, in a fixed order; for example `depth`, `width` and `other`."""
        ...


class Searcher(Protocol):
    """Proposes what to try next. Knows neither devices nor Ray; draws come from `core.rng.stream`, never from a clock.

    Example of a call sequence::

        searcher.ask(2)          -> two genotypes a, b; state now holds both as pending
        searcher.tell([trial a]) -> state now holds a finished and b pending
        searcher.ask(1)          -> another genotype; never a or b again

    Asks are numbered from 0 in the order of the rows returned, and `ask(2)` gives what `ask(1)` twice would have given.
    Trials may be told in any order; a trial is told at most once. The state round-trips through JSON, and a searcher that
    loaded it goes on exactly as the one it came from.
    """

    def ask(self, count: int) -> Genotypes:
        """Up to `count` new canonical genotypes `(n, D)`, none of them asked before.

        Fewer rows than asked for mean that the space holds no other architecture (see `exhausted`).
        """
        ...

    def tell(self, trials: Sequence[Trial]) -> None:
        """Learn from finished trials. Outcomes that do not teach (see `Outcome.teaches`) leave the state alone."""
        ...

    def tells_before(self, ask_index: int) -> int:
        """How many results, in ask order, must be told before ask number `ask_index` in `mode: sync`.

        A pure function with 0 <= result <= ask_index that never falls. It makes the proposals independent of the number
        of workers: a generation for generational searchers, a sliding window for steady-state ones, 0 for random search.
        """
        ...

    @property
    def exhausted(self) -> bool:
        """Whether every architecture of the space has been asked."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """All that decides the next asks, as JSON values."""
        ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state; options given to the constructor must be the same."""
        ...


@runtime_checkable
class StartingSearcher(Protocol):
    """What a searcher adds that can be given candidates to begin with, such as networks made by hand. All of paretune's do."""

    def start_from(self, genotypes_ND: Genotypes) -> None:
        """Ask these first, in their order; then go on as after candidates of its own. Called once, before the first ask.

        The given take the first ask indices, are told like all others and never asked again; those not asked yet are part of the state.

        Raises:
            BadInput: something was asked or given before, or a row is no member of the space, or the same network as an earlier one.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """Repeated measurements of one network on one device."""

    values: Mapping[str, float]
    """Metric name without the target's prefix -> value to use (the median where repeats exist), SI."""
    details: Mapping[str, Any]
    """JSON: repeats, median, interquartile range, host, versions, what else helps to judge the number."""


@runtime_checkable
class Device(Protocol):
    """Hardware that runs networks and measures them. One network at a time; placed where its resource is."""

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """What `measure` returns, without the target's prefix."""
        ...

    def measure(self, network: "nn.Module", example_shape: tuple[int, ...]) -> Measurement:
        """Measure one network in evaluation mode on inputs of `example_shape` (batch first).

        Raises:
            UnstableMeasurement: the repeats disagree more than allowed.
            DeviceError: the device cannot run the network.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Fidelity:
    """How thoroughly a candidate is evaluated."""

    epochs: int
    """Passes over the training set."""
    schedule_epochs: int = 0
    """Length of the training that these are the first epochs of, where it may go on later: the learning rate falls over this many.
    0 where `epochs` is all of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskResult:
    """What training a network gave."""

    outcome: Outcome
    """`ok` or `diverged`."""
    metrics: Mapping[str, float]
    """The task's metrics; empty where training diverged."""
    curve: tuple[Mapping[str, float], ...] = field(default_factory=tuple)
    """One record an epoch."""


@runtime_checkable
class PreparingTask(Protocol):
    """What a task adds that tells how raw data become the inputs of its networks: whoever runs an exported network must do the same."""

    @property
    def preprocessing(self) -> Mapping[str, Any]:
        """JSON values, kept with every exported network."""
        ...


@runtime_checkable
class ScoringTask(Protocol):
    """What a task adds whose zero-cost proxies can be had without training."""

    def untrained_scores(self, build: "Callable[[], nn.Module]", *, seed: int) -> Mapping[str, float]:
        """The metrics that begin with `proxy.`, bit for bit as `train` with this seed gives them.

        Args:
            build: makes the network; called once, after the seed has been set.
            seed: decides the initial weights.
        """
        ...


@runtime_checkable
class Task(Protocol):
    """What a network must do. Training is deterministic given the seed, also when it goes on from a checkpoint."""

    @property
    def name(self) -> str:
        """Registered name."""
        ...

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """What `train` returns, from the validation split."""
        ...

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one input, without the batch."""
        ...

    @property
    def num_classes(self) -> int:
        """Number of outputs."""
        ...

    def digest(self) -> str:
        """SHA-256 of the data and its split, so that a resumed study never mixes data sets."""
        ...

    def train(
        self,
        build: "Callable[[], nn.Module]",
        *,
        seed: int,
        fidelity: Fidelity,
        checkpoint: Path | None = None,
        on_epoch: Callable[[int, Mapping[str, float]], None] | None = None,
    ) -> "tuple[nn.Module, TaskResult]":
        """Train a network from `build` and validate it.

        Args:
            build: makes the network; called once, after the seed has been set.
            seed: decides the initial weights and the order of the data.
            fidelity: how long. Trained to some epochs of a longer schedule and continued later from the checkpoint, the network is
                the one of a training that was never interrupted.
            checkpoint: folder for a checkpoint an epoch; training goes on from one that is there.
            on_epoch: called with the number of epochs done and the epoch's record, after its checkpoint is durable.
        """
        ...

    def test(self, network: "nn.Module") -> Mapping[str, float]:
        """Metrics on held-out data. Called once a study, for the final networks only."""
        ...
