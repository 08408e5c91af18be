"""How many pairs of network and design a cost model screens a second on two cores; run `python benchmarks/cost_speed.py [--quick]`.

Every network has 20 layers like those of a mobile network, and every pair a hardware design of its own, drawn from the model's space.
Two processes work side by side on populations of their own, workloads ready. The rate that counts is the sum of both by CPU time, each at
its best of five rounds: what two undisturbed cores do.
"""

import argparse
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

import numpy as np
from goals import Goal, report_goals

from paretune.core.costs import CostModel, Designs
from paretune.core.workload import NUMERIC_FIELDS, Kind, Layer, WorkloadBatch
from paretune.hardware import HARDWARE

NUM_LAYERS = 20
REPEATS = 5
PROCESSES = 2
PAIRS, QUICK_PAIRS = 20_000, 2_000
"""Of a population."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Contestant:
    """A cost model and the rate it is held to."""

    make: Callable[[], CostModel]
    pairs_per_s: float | None = None
    """The goal; None where there is none."""


TILES = ("output_channel_tile", "input_channel_tile", "row_tile", "column_tile", "depthwise_channel_tile")
PORTS = ("weight_port_words", "input_port_words", "output_port_words")
SUB_ACCELERATORS = ("dataflows", "pes", "bandwidths")

MODELS = {
    "fpga": Contestant(make=lambda: HARDWARE.create("fpga", search=(*TILES, *PORTS)), pairs_per_s=100_000),
    "asic": Contestant(make=lambda: HARDWARE.create("asic", search=SUB_ACCELERATORS), pairs_per_s=100_000),
    "asic_latency_limit": Contestant(make=lambda: HARDWARE.create("asic", search=SUB_ACCELERATORS, latency_limit_s=2e-3)),
}


def networks(count: int, rng: np.random.Generator) -> WorkloadBatch:
    """Networks of 20 layers: a stem, then alternately pointwise and depthwise convolutions of shrinking maps, a classifier."""
    depth = np.arange(NUM_LAYERS)
    size_L = 112 >> (depth // 4)
    kind_L = np.where(depth % 3 == 2, int(Kind.DEPTHWISE), int(Kind.CONV))
    kind_L[-1], size_L[-1] = int(Kind.LINEAR), 1
    width_NL = 8 * rng.integers(2, 65, size=(count, NUM_LAYERS))
    in_NL = np.concatenate([np.full((count, 1), 3), width_NL[:, :-1]], axis=1)
    depthwise_L = kind_L == int(Kind.DEPTHWISE)
    width_NL = np.where(depthwise_L, in_NL, width_NL)
    kernel_L = np.where(kind_L == int(Kind.LINEAR), 1, np.where(depthwise_L, 5, 1))
    kernel_L[0] = 3
    one = WorkloadBatch.from_layers([[Layer(kind=Kind.CONV, out_channels=1, in_channels=1)]])
    columns = {name: np.tile(getattr(one, name), count * NUM_LAYERS) for name in ("kind", *NUMERIC_FIELDS)}
    columns["offsets"] = np.arange(count + 1) * NUM_LAYERS
    for name, values in (("kind", kind_L), ("out_height", size_L), ("out_width", size_L), ("kernel", kernel_L), ("padding", kernel_L // 2)):
        columns[name] = np.tile(values, count)
    columns["out_channels"], columns["in_channels"] = width_NL.ravel(), in_NL.ravel()
    columns["groups"] = np.where(depthwise_L, in_NL, 1).ravel()
    return WorkloadBatch(**columns)


def drawn_designs(model: CostModel, count: int, rng: np.random.Generator) -> Designs:
    """A design for each pair."""
    return {decision.name: np.array(decision.choices)[rng.integers(len(decision.choices), size=count)] for decision in model.space()}


def best_rates(name: str, seed: int, count: int) -> tuple[float, float]:
    """Best rates of checking and estimating a population in this process: by CPU time and by the clock on the wall."""
    rng = np.random.Generator(np.random.Philox(key=seed))
    model = MODELS[name].make()
    workloads, designs = networks(count, rng), drawn_designs(model, count, rng)
    cpu_s, wall_s = [], []
    for _ in range(REPEATS):
        cpu_start, wall_start = time.process_time(), time.perf_counter()
        model.check(designs)
        model.estimate(workloads, designs)
        cpu_s.append(time.process_time() - cpu_start)
        wall_s.append(time.perf_counter() - wall_start)
    return count / min(cpu_s), count / min(wall_s)


def pairs_per_s(name: str, count: int) -> tuple[float, float]:
    """Rates of both processes together, by CPU time and by the clock on the wall."""
    with ProcessPoolExecutor(PROCESSES) as pool:
        rates = [run.result() for run in [pool.submit(best_rates, name, seed, count) for seed in range(PROCESSES)]]
    return sum(cpu for cpu, _ in rates), sum(wall for _, wall in rates)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", metavar="MODEL", help=f"one of {', '.join(MODELS)}; all of them by default")
    parser.add_argument("--quick", action="store_true", help="smaller populations")
    arguments = parser.parse_args()
    unknown = set(arguments.models) - set(MODELS)
    if unknown:
        parser.error(f"unknown models: {', '.join(sorted(unknown))}")
    count, goals = QUICK_PAIRS if arguments.quick else PAIRS, []
    print(f"{'model':24}{'pairs/CPU s':>14}{'pairs/s':>12}  ({PROCESSES} processes, {count:,} pairs of {NUM_LAYERS} layers each)")
    for name in arguments.models or MODELS:
        rate, wall_rate = pairs_per_s(name, count)
        print(f"{name:24}{rate:14,.0f}{wall_rate:12,.0f}")
        goal = MODELS[name].pairs_per_s
        if goal is not None:
            goals.append(Goal(name=f"{name}_pairs_per_s", value=rate, sense=">=", bound=goal))
    return report_goals(goals)


if __name__ == "__main__":
    sys.exit(main())
