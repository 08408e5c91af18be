"""Races of a study's candidates run again from `racing_tables.py`: what they save, whether they stop anybody wrongly, and the front.

The front, limits, rivals, intervals and rounds are those of a study; only the programmings are read from the table.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean
from typing import Any

import numpy as np
from racing_tables import PROGRAMMINGS, TARGET, Programmed, programmed, racing_plan, read_programmed

from paretune.core.contest import Fate
from paretune.core.metrics import Direction
from paretune.core.objectives import Constraint, Objective, Problem
from paretune.core.pareto import hypervolume, non_dominated
from paretune.core.trial import Outcome
from paretune.hardware.analog.early_stopping import MINIMUM, EarlyStopping
from paretune.hardware.analog.evaluator import run_programmings
from paretune.platform.execution.racing import RivalFront, contest_of
from paretune.platform.record.jobs import Evaluation, JobFactory

CONFIDENCES = (0.8, 0.9, 0.95, 0.99)
CANDIDATES = 60
ORDERS = 20
QUICK_ORDERS = 6
GENERATION = 10

ACCURACY = Objective(metric=f"{TARGET}.accuracy_1d", direction=Direction.MAX, reference=0.5)
DEVIATION = Objective(metric=f"{TARGET}.deviation_1d", direction=Direction.MIN, reference=0.2)
AVM = Objective(metric=f"{TARGET}.avm", direction=Direction.MIN, reference=0.4)
ENERGY = Objective(metric="chip.energy_j", direction=Direction.MIN, reference=20e-6)
AREA = Objective(metric="chip.area_mm2", direction=Direction.MIN, reference=20.0)
PROBLEMS: Mapping[str, Problem] = {
    "accuracy, energy": Problem(objectives=(ACCURACY, ENERGY)),
    "accuracy, AVM, energy": Problem(objectives=(ACCURACY, AVM, ENERGY)),
    "the same, AVM <= 0.2": Problem(objectives=(ACCURACY, AVM, ENERGY), constraints=(Constraint(metric=AVM.metric, upper=0.2),)),
    "demo: five, AVM <= 0.2": Problem(
        objectives=(ACCURACY, DEVIATION, AVM, ENERGY, AREA), constraints=(Constraint(metric=AVM.metric, upper=0.2),)
    ),
}


@dataclass(slots=True, kw_only=True)
class Outcomes:
    """What racing did in some searches."""

    ran: int = 0
    """Programmings."""
    planned: int = 0
    judge_s: float = 0.0
    """Of a processor."""
    judge_all_s: float = 0.0
    train_s: float = 0.0
    candidates: int = 0
    stopped: int = 0
    wrong: int = 0
    """Stopped, although after all programmings neither a limit nor a rival would have beaten them."""
    shifts: list[float] = field(default_factory=list)
    """Accuracy after a day of those stopped, less what it would have been after all programmings."""
    same_fronts: int = 0
    searches: int = 0
    volumes: list[float] = field(default_factory=list)
    """Hypervolume of the front over that without racing."""

    @property
    def judging_saved(self) -> float:
        """Share of the processor time of judging."""
        return 1 - self.judge_s / self.judge_all_s

    @property
    def study_saved(self) -> float:
        """Share of the processor time of training and judging."""
        return (self.judge_all_s - self.judge_s) / (self.judge_all_s + self.train_s)


def search(networks: Sequence[Programmed], problem: Problem, confidence: float, done: Outcomes, *, planned: int) -> None:
    """Judge networks in their order, generation by generation, as a study with racing does; adds to what is done."""
    factory = JobFactory(study_seed=0, protocol="", search_epochs=1, final_epochs=1)
    rivals = RivalFront(problem, "sync", lambda index: index // GENERATION * GENERATION)
    raced, whole = [], []
    for index, network in enumerate(networks):
        job = factory.search(ask_index=index, genotype=network.genes, choices={"network": index})
        job = replace(job, rivals=rivals.of(index, {name: network.costs[name] for name in FREE}))
        contest = contest_of(job, problem, network.costs, TARGET)
        report = run_programmings(network, planned, EarlyStopping(contest=contest, confidence=confidence))
        full = run_programmings(network, planned)
        raced.append(network.metrics(report))
        whole.append(network.metrics(full))
        rivals.add(job, Evaluation(outcome=Outcome.OK, metrics=raced[-1]))
        done.ran += report.programmings
        done.judge_s += network.seconds(report.programmings)
        if report.programmings < planned:
            done.stopped += 1
            done.wrong += EarlyStopping(contest=contest, confidence=confidence).fate(full) is Fate.OPEN
            done.shifts.append(raced[-1][ACCURACY.metric] - whole[-1][ACCURACY.metric])
    done.planned += planned * len(networks)
    done.judge_all_s += sum(network.seconds(planned) for network in networks)
    done.train_s += sum(network.train_s for network in networks)
    done.candidates += len(networks)
    done.searches += 1
    (front, volume), (front_before, volume_before) = (_front(problem, metrics) for metrics in (raced, whole))
    done.same_fronts += front == front_before
    done.volumes.append(volume / volume_before if volume_before else 1.0)


FREE = ("chip.energy_j", "chip.area_mm2")


def _front(problem: Problem, metrics: Sequence[Mapping[str, float]]) -> tuple[set[tuple[int, tuple[float, ...]]], float]:
    """Members with their values, and hypervolume."""
    feasible = [index for index, values in enumerate(metrics) if problem.violation(values) <= 0]
    points_NM = np.array([problem.minimised(metrics[index]) for index in feasible]).reshape(len(feasible), len(problem.objectives))
    members = {
        (feasible[row], tuple(points_NM[row].tolist())) for row in (np.flatnonzero(non_dominated(points_NM)) if len(feasible) else ())
    }
    return members, hypervolume(points_NM, problem.reference)


def raced(networks: Sequence[Programmed], problem: Problem, confidence: float, *, orders: int, planned: int = PROGRAMMINGS) -> Outcomes:
    """Some searches that see the networks in random orders."""
    done = Outcomes()
    for order in range(orders):
        chosen = np.random.default_rng(order).permutation(len(networks))[:CANDIDATES]
        search([networks[index] for index in chosen], problem, confidence, done, planned=planned)
    return done


def show_racing(*, quick: bool) -> dict[str, Any]:
    """Print the tables; the figures of the default setting that have goals."""
    networks = read_programmed()
    orders = QUICK_ORDERS if quick else ORDERS
    print(f"\nracing: {orders} searches of {CANDIDATES} of {len(networks)} digits networks in generations of {GENERATION}")
    print(
        f"{'objectives':26}{'confidence':>11}{'programmings':>13}{'stopped':>9}{'wrongly':>9}{'judging':>9}{'study':>7}{'same front':>12}"
        f"{'volume':>8}{'shift':>8}"
    )
    figures = {}
    for name, problem in PROBLEMS.items():
        for confidence in (0.95,) if quick else CONFIDENCES:
            for planned in (PROGRAMMINGS,) if quick or confidence != 0.95 else (6, 8, PROGRAMMINGS):
                done = raced(networks, problem, confidence, orders=orders, planned=planned)
                figures[name, confidence, planned] = done
                print(
                    f"{name:26}{confidence:11.2f}{done.ran / done.candidates:8.1f}/{planned:<4}{done.stopped / done.candidates:9.0%}"
                    f"{done.wrong:9d}{-done.judging_saved:9.0%}{-done.study_saved:7.1%}{done.same_fronts:6d} of {done.searches:<2}"
                    f"{fmean(done.volumes):8.3f}{fmean(done.shifts or [0.0]):+8.3f}"
                )
    _check_one(networks)
    return figures


def _check_one(networks: Sequence[Programmed]) -> None:
    """Train and program one network of the table anew."""
    again = programmed(racing_plan(), networks[0].genes)
    same = "the same" if np.array_equal(again.right, networks[0].right) else "other"
    print(
        f"one network anew: {same} programmings as in the table; training {again.train_s:.1f} s of a processor, judging with "
        f"{PROGRAMMINGS} programmings {again.judge_s:.2f} s, stopped after {MINIMUM} {again.stopped_s:.2f} s"
    )
