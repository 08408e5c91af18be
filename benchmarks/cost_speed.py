"""How many (network, design) pairs a cost model computes in a second on two cores; run `python benchmarks/cost_speed.py [--quick]`.

Networks have 20 layers, each its own design; every round computes all metrics. Two processes work side by side, as two searches would.
The time is CPU time, so that other work on the machine does not count; the rate is the sum of both processes, each at its best of five
rounds.
"""

import argparse
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
from goals import Goal, report_goals

from paretune.core.costs import CostModel
from paretune.core.workload import Kind, Layer, WorkloadBatch
from paretune.hardware.asic import Asic

NUM_LAYERS = 20
PROCESSES = 2
WIDTHS = (16, 32, 64, 128, 256)


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A model to time."""

    name: str
    """Of the goal, `NAME_pairs_per_s`; or of a line without a goal."""
    model: Callable[[], CostModel]
    """Makes it, in each process."""
    goal: float | None = None
    """Pairs a second."""


CASES = (
    Case(name="asic", model=partial(Asic, search=("dataflows", "pes", "bandwidths")), goal=100_000),
    Case(name="asic_latency_limit", model=partial(Asic, search=("dataflows", "pes", "bandwidths"), latency_limit_s=2e-3)),
)


def network(rng: np.random.Generator) -> list[Layer]:
    """Convolutions of random widths on ever smaller maps."""
    widths = [3, *rng.choice(WIDTHS, NUM_LAYERS).tolist()]
    sizes = [56 >> (layer * 4 // NUM_LAYERS) for layer in range(NUM_LAYERS)]
    return [
        Layer(kind=Kind.CONV, in_channels=before, out_channels=after, kernel=3, padding=1, out_height=size, out_width=size)
        for before, after, size in zip(widths, widths[1:], sizes, strict=False)
    ]


def best_seconds(case: str, seed: int, num_pairs: int, rounds: int) -> float:
    """CPU seconds of the best round of one process, each round of `num_pairs`."""
    rng = np.random.default_rng(seed)
    model = next(each for each in CASES if each.name == case).model()
    workloads = WorkloadBatch.from_layers([network(rng) for _ in range(num_pairs // 10)] * 10)
    designs = {decision.name: rng.choice(np.array(decision.choices), len(workloads)) for decision in model.space()}
    seconds = []
    for _ in range(rounds):
        start = time.process_time()
        model.estimate(workloads, designs)
        seconds.append(time.process_time() - start)
    return min(seconds)


def pairs_per_s(case: Case, num_pairs: int, rounds: int) -> float:
    """Rate of both processes together."""
    with ProcessPoolExecutor(PROCESSES) as pool:
        runs = [pool.submit(best_seconds, case.name, seed, num_pairs, rounds) for seed in range(PROCESSES)]
        return sum(num_pairs / run.result() for run in runs)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a tenth of the pairs")
    num_pairs = 2_000 if parser.parse_args().quick else 20_000
    goals = []
    for case in CASES:
        rate = pairs_per_s(case, num_pairs, rounds=5)
        print(f"{case.name:24}{rate:12,.0f} pairs/s")
        if case.goal is not None:
            goals.append(Goal(name=f"{case.name}_pairs_per_s", value=rate, sense=">=", bound=case.goal))
    return report_goals(goals)


if __name__ == "__main__":
    sys.exit(main())
