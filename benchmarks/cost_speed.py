"""How many pairs of network and design a cost model screens a second; run `python benchmarks/cost_speed.py [--pairs N] [MODEL ...]`.

Every network has 20 layers like those of a mobile network, and every pair a hardware design of its own, drawn from the model's space.
Pairs come in populations of `--pairs`. The rate that counts is by CPU time, best of five, workloads ready: what one undisturbed core does.
"""

import argparse
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from goals import Goal, report_goals

from paretune.core.costs import CostModel, Designs
from paretune.core.workload import NUMERIC_FIELDS, Kind, Layer, WorkloadBatch
from paretune.hardware import HARDWARE

NUM_LAYERS = 20
REPEATS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Contestant:
    """A cost model and the rate it is held to."""

    make: Callable[[], CostModel]
    pairs_per_s: float | None
    """The goal; None where there is none."""


TILES = ("output_channel_tile", "input_channel_tile", "row_tile", "column_tile", "depthwise_channel_tile")
PORTS = ("weight_port_words", "input_port_words", "output_port_words")

MODELS = {
    "fpga": Contestant(make=lambda: HARDWARE.create("fpga", search=(*TILES, *PORTS)), pairs_per_s=100_000),
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


def pairs_per_s(model: CostModel, count: int) -> tuple[float, float]:
    """Best rates of checking and estimating a population: by CPU time and by the clock on the wall."""
    rng = np.random.Generator(np.random.Philox(key=1))
    workloads, designs = networks(count, rng), drawn_designs(model, count, rng)
    cpu_s, wall_s = [], []
    for _ in range(REPEATS):
        cpu_start, wall_start = time.process_time(), time.perf_counter()
        model.check(designs)
        model.estimate(workloads, designs)
        cpu_s.append(time.process_time() - cpu_start)
        wall_s.append(time.perf_counter() - wall_start)
    return count / min(cpu_s), count / min(wall_s)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*", metavar="MODEL", help=f"one of {', '.join(MODELS)}; all of them by default")
    parser.add_argument("--pairs", type=int, default=20_000, help="pairs of a population")
    arguments = parser.parse_args()
    unknown = set(arguments.models) - set(MODELS)
    if unknown:
        parser.error(f"unknown models: {', '.join(sorted(unknown))}")
    goals = []
    print(f"{'model':20}{'pairs/CPU s':>14}{'pairs/s':>12}  ({arguments.pairs:,} pairs of {NUM_LAYERS} layers, {os.cpu_count()} cores)")
    for name in arguments.models or MODELS:
        contestant = MODELS[name]
        rate, wall_rate = pairs_per_s(contestant.make(), arguments.pairs)
        print(f"{name:20}{rate:14,.0f}{wall_rate:12,.0f}")
        if contestant.pairs_per_s is not None:
            goals.append(Goal(name=f"{name}_pairs_per_s", value=rate, sense=">=", bound=contestant.pairs_per_s))
    return report_goals(goals)


if __name__ == "__main__":
    sys.exit(main())
