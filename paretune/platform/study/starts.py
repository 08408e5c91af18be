"""Candidates that a search starts from: those of other studies' fronts are read, and all are checked against the space."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from paretune.core.errors import BadInput
from paretune.core.genotype import Genotypes
from paretune.core.given import given_genotypes
from paretune.core.objectives import Problem
from paretune.core.protocols import GenotypeSpace, StartingSearcher
from paretune.platform.record.header import Header
from paretune.platform.record.history import History
from paretune.platform.record.ledger import read_events
from paretune.platform.spec.nodes import Loc, Scalar, find
from paretune.platform.spec.starts import START, Candidates, ReadStart, read_candidates
from paretune.platform.study.builder import Builder


def start_reader(folder: Path, header: Header | None = None) -> ReadStart:
    """Reads what stands behind the paths of a start.

    Args:
        folder: where relative paths begin: the spec's.
        header: of the study that goes on; what it has recorded of a path counts, so that a study may be resumed when the file is gone
            and the other study has another front.
    """

    def read(written: str) -> Candidates:
        for group in header.spec["searcher"].get("start", ()) if header else ():
            if group["source"] == written:
                return tuple(group["candidates"])
        path = folder / written
        return _front(path) if path.is_dir() else read_candidates(path)

    return read


def _front(folder: Path) -> Candidates:
    history = History.fold(read_events(folder), details=False)
    if not len(history.archive):
        raise BadInput(f"study '{history.header.name}' has no front yet")
    return [dict(record.choices) for record in history.front()]


def plan_start(builder: Builder, space: GenotypeSpace) -> Genotypes:
    """`(S, D)` the candidates of the spec's start, in their order; mistakes are kept in the builder."""
    groups = builder.loaded.spec.searcher.start
    places = [
        (_place(builder, index, bool(group.source)), number, group)
        for index, group in enumerate(groups)
        for number in range(len(group.candidates))
    ]
    start_SD, mistakes = given_genotypes(space, [group.candidates[number] for _, number, group in places])
    told: list[tuple[Loc, str]] = []
    for (index, *way), message in mistakes:
        loc, number, group = places[int(index)]
        named = f"candidate {number} of {group.source}: {f'{way[0]}: ' if way else ''}" if group.source else ""
        told.append((loc if group.source else (*loc, *way), f"{named}{message}"))
    trials = builder.loaded.spec.budget.trials
    if trials is not None and len(places) > trials:
        told.append((START, f"{len(places):,} candidates to start from, but budget.trials is {trials:,}; raise it or start from fewer"))
    builder.add((told, []))
    return start_SD


def _place(builder: Builder, index: int, has_source: bool) -> Loc:
    """Where a group of candidates is in the file; a single path stands there without a list."""
    single = has_source and isinstance(find(builder.loaded.root, START)[1], Scalar)
    return START if single else (*START, index)


def check_can_start(builder: Builder, searcher: object) -> None:
    """Keep a mistake where candidates are given to a searcher that takes none."""
    chosen = builder.loaded.spec.searcher
    if chosen.start and searcher is not None and not isinstance(searcher, StartingSearcher):
        told = (
            f"searcher '{chosen.name}' cannot start from given candidates; it lacks the method of paretune.core.protocols.StartingSearcher"
        )
        builder.add(([(START, told)], []))


def limit_notes(start_SD: Genotypes, problem: Problem, free: Callable[[Genotypes], Mapping[str, NDArray[np.float64]]]) -> list[str]:
    """A note on those that miss a limit on free costs: they will be recorded and not trained."""
    if not len(start_SD):
        return []
    columns = free(start_SD)
    missed = [
        index
        for index in range(len(start_SD))
        if problem.known_violation({name: float(values_S[index]) for name, values_S in columns.items()}) > 0
    ]
    if not missed:
        return []
    return [
        f"searcher.start: candidates {', '.join(map(str, missed))} miss a limit that is known before training; they will not be trained"
    ]
