"""Races of a study's candidates, run again from `racing_tables.py`: what they save, whom they stop wrongly, and what becomes of the front.

Searcher, front, rivals, limits, intervals and rounds are those of a study; only the programmings are read from the table.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean
from typing import Literal, TypeAlias

import numpy as np
from goals import Goal
from racing_tables import PROGRAMMINGS, TARGET, Genes, Programmed, programmed, racing_plan, read_programmed

from paretune.core.contest import Fate
from paretune.core.genotype import as_genotypes
from paretune.core.metrics import Direction
from paretune.core.objectives import Constraint, Objective, Problem
from paretune.core.pareto import hypervolume, non_dominated
from paretune.core.protocols import GenotypeSpace
from paretune.core.trial import Outcome, Trial
from paretune.hardware.analog.early_stopping import MINIMUM, EarlyStopping
from paretune.hardware.analog.evaluator import run_programmings
from paretune.platform.execution.dialogue import Dialogue
from paretune.platform.execution.racing import RivalFront, contest_of
from paretune.platform.record.jobs import Evaluation, JobFactory
from paretune.searchers import SEARCHERS
from paretune.spaces.restricted import restricted

CONFIDENCES = (0.8, 0.9, 0.95, 0.99)
DEFAULT = 0.9
CANDIDATES = 40
SEEDS, QUICK_SEEDS = 10, 4
METHODS: Mapping[str, tuple[dict[str, int], Literal["sync", "async"]]] = {"random": ({}, "async"), "nsga2": ({"population": 10}, "sync")}
"""Options, and when results are known: random search waits for none, so in `mode: sync` it would have no rivals."""

ACCURACY = Objective(metric=f"{TARGET}.accuracy_1d", direction=Direction.MAX, reference=0.5)
DEVIATION = Objective(metric=f"{TARGET}.deviation_1d", direction=Direction.MIN, reference=0.2)
AVM = Objective(metric=f"{TARGET}.avm", direction=Direction.MIN, reference=0.4)
ENERGY = Objective(metric="chip.energy_j", direction=Direction.MIN, reference=20e-6)
AREA = Objective(metric="chip.area_mm2", direction=Direction.MIN, reference=20.0)
LASTING = (Constraint(metric=AVM.metric, upper=0.2),)
PROBLEMS: Mapping[str, Problem] = {
    "accuracy, energy": Problem(objectives=(ACCURACY, ENERGY)),
    "accuracy, AVM, energy": Problem(objectives=(ACCURACY, AVM, ENERGY)),
    "the same, AVM <= 0.2": Problem(objectives=(ACCURACY, AVM, ENERGY), constraints=LASTING),
    "the five of the demo": Problem(objectives=(ACCURACY, DEVIATION, AVM, ENERGY, AREA), constraints=LASTING),
}
FREE = ("chip.energy_j", "chip.area_mm2")
Members: TypeAlias = set[tuple[Genes, tuple[float, ...]]]


@dataclass(slots=True, kw_only=True)
class Search:
    """What one search did."""

    problem: Problem
    programmings: list[int] = field(default_factory=list)
    """Of each candidate."""
    judge_s: float = 0.0
    """Of a processor."""
    train_s: float = 0.0
    """Of a processor."""
    shifts: list[float] = field(default_factory=list)
    """Accuracy after a day of each that was stopped, less what it would have been after all programmings."""
    num_wrong: int = 0
    """Stopped, although after all programmings neither a limit nor a rival would have beaten them."""
    found: dict[Genes, dict[str, float]] = field(default_factory=dict)

    @property
    def front(self) -> Members:
        """Members with their values."""
        genes, points_NM = self._feasible()
        return {(genes[row], tuple(points_NM[row].tolist())) for row in np.flatnonzero(non_dominated(points_NM))}

    @property
    def volume(self) -> float:
        """Hypervolume of the front."""
        return hypervolume(self._feasible()[1], self.problem.reference)

    def _feasible(self) -> tuple[list[Genes], np.ndarray]:
        chosen = [genes for genes, metrics in self.found.items() if self.problem.violation(metrics) <= 0]
        points = [self.problem.minimised(self.found[genes]) for genes in chosen]
        return chosen, np.array(points).reshape(len(chosen), len(self.problem.objectives))


def search(
    table: Mapping[Genes, Programmed],
    space: GenotypeSpace,
    problem: Problem,
    method: str,
    *,
    seed: int,
    planned: int = PROGRAMMINGS,
    confidence: float | None,
) -> Search:
    """A search of a study whose candidates race with a confidence, or do not."""
    options, mode = METHODS[method]
    searcher = SEARCHERS.create(method, space, problem, seed=seed, **options)
    dialogue, rivals = Dialogue(searcher, mode), RivalFront(problem, mode, searcher.tells_before)
    factory = JobFactory(study_seed=0, protocol="", search_epochs=1, final_epochs=1)
    done = Search(problem=problem)
    while len(done.found) < CANDIDATES and (proposal := dialogue.ask()) is not None:
        index, genes = proposal
        network = table[genes]
        job = factory.search(ask_index=index, genotype=genes, choices={"network": index})
        job = replace(job, rivals=rivals.of(index, {name: network.costs[name] for name in FREE}))
        contest = contest_of(job, problem, network.costs, TARGET)
        rule = None if confidence is None else EarlyStopping(contest=contest, confidence=confidence)
        report = run_programmings(network, planned, rule)
        metrics = network.metrics(report)
        if rule is not None and report.programmings < planned:
            whole = run_programmings(network, planned)
            done.num_wrong += rule.fate(whole) is Fate.OPEN
            done.shifts.append(metrics[ACCURACY.metric] - network.metrics(whole)[ACCURACY.metric])
        done.found[genes] = metrics
        done.programmings.append(report.programmings)
        done.judge_s += network.seconds(report.programmings)
        done.train_s += network.train_s
        rivals.add(job, Evaluation(outcome=Outcome.OK, metrics=metrics))
        dialogue.result(Trial(ask_index=index, genotype=genes, outcome=Outcome.OK, metrics=metrics))
    return done


def row(raced: Sequence[Search], thorough: Sequence[Search], planned: int) -> tuple[str, float, float]:
    """What the searches with racing did beside those without, as text; judging time saved, and hypervolume over that without."""
    count = sum(len(item.programmings) for item in raced)
    stopped = sum(len(item.shifts) for item in raced)
    shift = fmean(shift for item in raced for shift in item.shifts) if stopped else 0.0
    judged, judged_all = sum(item.judge_s for item in raced), sum(item.judge_s for item in thorough)
    whole_s = judged_all + sum(item.train_s for item in thorough)
    study_s = judged + sum(item.train_s for item in raced)
    same = sum(item.front == other.front for item, other in zip(raced, thorough, strict=True))
    volumes = [item.volume / other.volume for item, other in zip(raced, thorough, strict=True) if other.volume > 0]
    told = (
        f"{sum(sum(item.programmings) for item in raced) / count:6.1f} of {planned:<3}{stopped / count:8.0%}"
        f"{sum(item.num_wrong for item in raced):6d}{1 - judged / judged_all:9.0%}{1 - study_s / whole_s:8.1%}"
        f"{same:6d} of {len(raced):<3}{fmean(volumes):8.4f}{100 * shift:+8.1f}"
    )
    return told, 1 - judged / judged_all, fmean(volumes)


def show_racing(*, quick: bool) -> list[Goal]:
    """Print what racing does, by searcher and objectives, and on the real tiles; the goals."""
    table = {item.genes: item for item in read_programmed()}
    plan, seeds = racing_plan(), QUICK_SEEDS if quick else SEEDS
    space = restricted(plan.space, as_genotypes(list(table), len(plan.space.decisions)))
    print(
        f"\nracing: {seeds} searches of {CANDIDATES} of {len(table)} networks for the digits; processor time of judging, and with training"
    )
    head = ("programmings", "stopped", "wrong", "judging", "study", "same front", "volume", "shift")
    print(
        f"{'':8}{'objectives':24}{'conf.':>6}{head[0]:>14}{head[1]:>8}{head[2]:>6}{head[3]:>9}{head[4]:>8}{head[5]:>12}{head[6]:>8}{head[7]:>8}"
    )
    defaults: dict[tuple[str, str], tuple[Sequence[Search], float, float]] = {}
    for method in METHODS:
        for name, problem in PROBLEMS.items():
            for planned in (PROGRAMMINGS,) if quick else (6, PROGRAMMINGS):
                thorough = [search(table, space, problem, method, seed=seed, planned=planned, confidence=None) for seed in range(seeds)]
                for confidence in (DEFAULT,) if quick or planned < PROGRAMMINGS else CONFIDENCES:
                    raced = [
                        search(table, space, problem, method, seed=seed, planned=planned, confidence=confidence) for seed in range(seeds)
                    ]
                    told, saved, volume = row(raced, thorough, planned)
                    print(f"{method:8}{name:24}{confidence:6.2f}{told}")
                    if confidence == DEFAULT and planned == PROGRAMMINGS:
                        defaults[method, name] = raced, saved, volume
    _one_anew(next(iter(table.values())))
    return _goals(defaults)


def _goals(defaults: Mapping[tuple[str, str], tuple[Sequence[Search], float, float]]) -> list[Goal]:
    """Of the default confidence: time saved where two objectives decide, and that nobody pays for it in any of the searches."""
    searches = [item for raced, _, _ in defaults.values() for item in raced]
    wrong = sum(item.num_wrong for item in searches) / sum(len(item.programmings) for item in searches)
    return [
        Goal(name="racing_judging_time_saved", value=defaults["random", "accuracy, energy"][1], sense=">=", bound=0.2),
        Goal(name="racing_wrongly_stopped", value=wrong, sense="<=", bound=1 - DEFAULT),
        Goal(name="racing_least_hypervolume_over_thorough", value=min(volume for *_, volume in defaults.values()), sense=">=", bound=0.99),
    ]


def _one_anew(known: Programmed) -> None:
    """Train and program one network of the table anew."""
    again = programmed(racing_plan(), known.genes)
    same = "the same programmings as" if np.array_equal(again.right, known.right) else "other programmings than"
    print(
        f"one network anew: {same} in the table; training {again.train_s:.2f} s of a processor, judging with {PROGRAMMINGS} programmings "
        f"{again.judge_s:.2f} s, stopped after {MINIMUM} {again.stopped_s:.2f} s"
    )
