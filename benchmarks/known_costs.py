"""What it brings to compute the costs that are known instead of predicting them: python benchmarks/known_costs.py [--seeds 5].

The digits' space, 75,866,112 networks, with the 810,000 designs of the zcu102 target, of which 2.4 % fit the device: accuracy by a formula
(it saturates with size and has a ripple), latency by the target's model. Candidates that do not fit are stopped at the gate, as in a
study, and do not count as evaluated.

Prints the hypervolume after 60 and 120 evaluations, mean and deviation over seeds, what was asked in vain, and the time of an ask.
"""

import argparse
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from statistics import fmean, pstdev
from typing import Any

import numpy as np

from paretune.core.genotype import as_genotypes
from paretune.core.metrics import Direction
from paretune.core.objectives import Objective, Problem
from paretune.core.pareto import ParetoArchive
from paretune.core.trial import Outcome, Trial
from paretune.hardware import HARDWARE
from paretune.hardware.analytic.fpga.tiled_engine import CHOICES
from paretune.hardware.target_files import load_target
from paretune.platform.execution.candidate_costs import CandidateCosts
from paretune.searchers.nsga2 import NSGA2
from paretune.searchers.predictor_guided import PredictorGuided
from paretune.spaces.digits_conv import DigitsConv
from paretune.testing.evaluators import FormulaEvaluator

MARKS = (60, 120)
METHODS = ("nsga2", "predicted", "computed")


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What one search gave."""

    volumes: tuple[float, ...]
    """Hypervolume at each mark: accuracy times milliseconds."""
    in_vain: int
    """Candidates asked that do not fit."""
    ask_s: float
    """Mean time of an ask and tell."""


def search(method: str, seed: int, *, pool: int) -> Found:
    """One search up to the last mark."""
    target = load_target("zcu102")
    targets = {"zcu102": HARDWARE.create(target.kind, **{**target.options, "search": tuple(CHOICES)})}
    network = DigitsConv(input_shape=(1, 8, 8), num_classes=10)
    costs = CandidateCosts(network, targets)
    evaluator = FormulaEvaluator(space=network, produced={}, targets=targets)
    objectives = (
        Objective(metric="accuracy", direction=Direction.MAX, reference=0.5),
        Objective(metric="zcu102.latency_s", direction=Direction.MIN, reference=2e-4),
    )
    problem = Problem(objectives=objectives, constraints=costs.constraints)
    guided = partial(PredictorGuided, costs=costs.values if method == "computed" else None, pool=pool)
    searcher: Any = (NSGA2 if method == "nsga2" else guided)(costs.space, problem, seed=seed)
    archive, volumes, trials, num_told, num_done = ParetoArchive(2), [], [], 0, 0
    begun_s = time.perf_counter()
    while num_done < MARKS[-1]:
        until = searcher.tells_before(len(trials))
        searcher.tell(trials[num_told:until])
        num_told = max(num_told, until)
        genotype = tuple(searcher.ask(1)[0].tolist())
        free = {name: float(values[0]) for name, values in costs.values(as_genotypes([genotype], len(genotype))).items()}
        fits = problem.known_violation(free) <= 0
        metrics = evaluator.truth(genotype) if fits else free
        trials.append(Trial(ask_index=len(trials), genotype=genotype, outcome=Outcome.OK if fits else Outcome.INFEASIBLE, metrics=metrics))
        if fits:
            num_done += 1
            archive.insert(len(trials), *problem.score(trials[-1]))
            volumes += [archive.hypervolume(problem.reference) * 1e3] if num_done in MARKS else []
    return Found(volumes=tuple(volumes), in_vain=len(trials) - num_done, ask_s=(time.perf_counter() - begun_s) / len(trials))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--pool", type=int, default=100_000, help="candidates screened each round")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS)
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    print(f"{'method':12}" + "".join(f"{f'after {mark}':>20}" for mark in MARKS) + f"{'asked in vain':>16}{'s an ask':>10}")
    with ProcessPoolExecutor(options.processes) as processes:
        for method in options.methods:
            found = list(processes.map(partial(search, method, pool=options.pool), range(options.seeds)))
            columns = np.array([item.volumes for item in found]).T
            shown = "".join(f"{f'{fmean(column):.5f} ± {pstdev(column):.5f}':>20}" for column in columns)
            print(f"{method:12}{shown}{fmean(item.in_vain for item in found):16.0f}{fmean(item.ask_s for item in found):10.3f}", flush=True)


if __name__ == "__main__":
    main()
