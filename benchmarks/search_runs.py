"""One search of one task and what its first 100, 300 and 1,000 evaluations were worth, for our searchers and for peers in their process."""

import json
import os
import subprocess
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from search_tasks import SearchTask

from paretune.core.genotype import GENE, Genotypes, num_choices, row_keys
from paretune.core.protocols import Searcher
from paretune.core.trial import Trial
from paretune.searchers import SEARCHERS

MARKS = (100, 300, 1000)
MOST_INVALID = 20
"""A peer may propose this many times its budget of networks that the space does not hold; they cost it nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What one search found."""

    seed: int
    volumes: tuple[float, ...]
    """Hypervolume over the exact front's at each mark that was reached."""
    recalls: tuple[float, ...]
    """Share of the true front's points at each mark."""
    repeats: float
    """Share of the evaluations whose network had been evaluated before."""
    cpu_ms: float
    """CPU milliseconds of ask and tell, mean over the evaluations."""
    early_cpu_ms: float | None = None
    """The same over those up to the first mark; None in old files."""
    optimum_at: int | None
    """Evaluation, from 1, that found the optimum of the only objective; None with several objectives or if it was not found."""

    def as_json(self) -> dict[str, Any]:
        """Rounded, for a file."""
        fields = asdict(self)
        fields["volumes"], fields["recalls"] = ([round(value, 5) for value in fields[name]] for name in ("volumes", "recalls"))
        early_cpu_ms = None if self.early_cpu_ms is None else round(self.early_cpu_ms, 4)
        return fields | {"repeats": round(self.repeats, 4), "cpu_ms": round(self.cpu_ms, 4), "early_cpu_ms": early_cpu_ms}

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> "Run":
        """What `as_json` gave."""
        return cls(**fields | {name: tuple(fields[name]) for name in ("volumes", "recalls")})


def search(task: SearchTask, name: str, *, seed: int, budget: int) -> Run:
    """One of our searchers as `mode: sync` runs it: before ask number i it was told the first `tells_before(i)` results and no more."""
    searcher: Searcher = SEARCHERS.create(name, task.space, task.problem, seed=seed)
    trials: list[Trial] = []
    told = 0
    cpu_s_N: list[float] = []
    while len(trials) < budget:
        start_ns = _searching_ns(task)
        needed = searcher.tells_before(len(trials))
        searcher.tell(trials[told:needed])
        count = 1
        while len(trials) + count < budget and searcher.tells_before(len(trials) + count) == needed:
            count += 1
        rows_ND = searcher.ask(count)
        told = needed
        if len(rows_ND) == 0:
            break
        cpu_s_N += [(cpu_s_N[-1] if cpu_s_N else 0.0) + (_searching_ns(task) - start_ns) / 1e9] * len(rows_ND)
        trials += [task.trial(len(trials) + index, row_D) for index, row_D in enumerate(rows_ND)]
    return judged(task, np.array([trial.genotype for trial in trials], dtype=GENE), seed=seed, cpu_s_N=cpu_s_N)


def _searching_ns(task: SearchTask) -> int:
    """CPU time of this process without what makes a table a space; peers are spared that, too."""
    return time.process_time_ns() - getattr(task.space, "projecting_ns", 0)


class PeerProcess:
    """The process of peers.py in the peers' environment; one search after another."""

    def __init__(self, python: Path) -> None:
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
        environment.pop("PYTHONPATH", None)
        program = Path(__file__).with_name("peers.py")
        self._process = subprocess.Popen(
            [python, program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment
        )
        self.versions: dict[str, str] = self._answer()["versions"]

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()

    def search(self, task: SearchTask, name: str, *, seed: int, budget: int) -> Run:
        """One search of a peer. A network that the space does not hold is answered with the reference point and not counted."""
        decisions = task.space.decisions
        order = {
            "peer": name,
            "seed": seed,
            "choices": num_choices(decisions).tolist(),
            "ordinal": [decision.ordinal for decision in decisions],
            "num_objectives": len(task.problem.objectives),
            "reference": task.problem.reference.tolist(),
            "budget": budget,
        }
        proposal = self._order({"start": order})
        evaluated, cpu_s, asked = [], proposal["cpu_s"], 1
        cpu_s_N: list[float] = []
        while True:
            genotype_1D = task.space.canonical(np.array([proposal["ask"]], dtype=GENE))
            valid = bool(task.space.valid(genotype_1D)[0])
            if valid:
                evaluated.append(genotype_1D[0])
                cpu_s_N.append(cpu_s)
            if len(evaluated) == budget or asked > MOST_INVALID * budget:
                return judged(task, np.array(evaluated), seed=seed, cpu_s_N=cpu_s_N)
            told = task.minimised_signal(genotype_1D)[0] if valid else task.problem.reference
            proposal = self._order({"tell": told.tolist()})
            cpu_s, asked = cpu_s + proposal["cpu_s"], asked + 1

    def _order(self, order: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the peers' process ended; run `python benchmarks/peers.py` in its environment to see why")
        answer: dict[str, Any] = json.loads(line)
        return answer


def judged(task: SearchTask, evaluated_ND: Genotypes, *, seed: int, cpu_s_N: Sequence[float]) -> Run:
    """What the evaluations of a search were worth at each mark that they reach.

    Args:
        task: says what they are worth.
        evaluated_ND: canonical genotypes, in the order of the evaluations.
        seed: of the search.
        cpu_s_N: CPU seconds of the search until each was proposed.
    """
    marks = [mark for mark in MARKS if mark <= len(evaluated_ND)] or [len(evaluated_ND)]
    qualities = [task.quality(evaluated_ND[:mark]) for mark in marks]
    optimum_at = None
    if len(task.problem.objectives) == 1:
        found = np.flatnonzero(task.report(evaluated_ND)[:, 0] <= task.front[0, 0])
        optimum_at = int(found[0]) + 1 if len(found) else None
    return Run(
        seed=seed,
        volumes=tuple(volume for volume, _ in qualities),
        recalls=tuple(recall for _, recall in qualities),
        repeats=1 - len(set(row_keys(evaluated_ND))) / len(evaluated_ND),
        cpu_ms=1000 * cpu_s_N[-1] / len(cpu_s_N),
        early_cpu_ms=1000 * cpu_s_N[marks[0] - 1] / marks[0],
        optimum_at=optimum_at,
    )
