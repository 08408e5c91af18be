"""A made-up search space with the shape of a mobile network: 49 genes, error and latency in closed form, a best known front.

For benchmarks on more genes than any table has. Every number is made up, and smooth functions flatter surrogates: one task among many.
`python benchmarks/made_up.py` searches the best known front again (a minute) and writes results/made_up_mobile_front.json.

Legend: N genotypes, D decisions, S stages, L layers of a stage.
"""

import json
import sys
from math import prod
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from paretune.core.genotype import GENE, Decision, Genotypes, as_genotypes, num_choices
from paretune.core.pareto import non_dominated
from paretune.searchers.operators import best_first, crossed, mutated, random_genotypes

FRONT_FILE = Path(__file__).parent / "results" / "made_up_mobile_front.json"
NUM_STAGES, NUM_LAYERS = 6, 3
KERNELS, EXPANSIONS, WIDTHS, DEPTHS, RESOLUTIONS = (3, 5, 7), (3, 6), (0.75, 1.0, 1.25), (1, 2, 3), (160, 176, 192, 224)
CHANNELS = np.array([24, 40, 80, 112, 160, 240])
OUTPUT_SIZE = np.array([56, 28, 14, 14, 7, 7])
"""Height and width of each stage's output at resolution 224."""
VALUE_OF_DEPTH = np.array([1.2, 1.6, 2.2, 2.0, 1.8, 1.2])
"""Percentage points of error that the second layer of each stage saves; the third saves 0.45 of that."""
VALUE_OF_KERNEL = np.array([[0.0, 0.02, -0.06], [0.0, 0.1, 0.08], [0.0, 0.14, 0.2], [0.0, 0.18, 0.26], [0.0, 0.2, 0.32], [0.0, 0.1, 0.22]])
"""Percentage points that a kernel of 3, 5, 7 saves in each stage's first layer."""
VALUE_OF_EXPANSION = np.array([0.25, 0.35, 0.55, 0.5, 0.6, 0.4])
VALUE_OF_WIDTH = np.array([0.4, 0.5, 0.8, 0.8, 1.0, 0.9])
NOISE = 0.1
"""Percentage points between two trainings of like networks, fixed for each network."""


class MobileSpace:
    """Resolution, then width, depth, and kernel and expansion of 3 layers for each of 6 stages; layers beyond the depth are inactive."""

    def __init__(self) -> None:
        self.name = "made_up_mobile"
        self.decisions = (Decision(name="resolution", choices=RESOLUTIONS, ordinal=True), *(_stage_decisions()))
        per_stage = len(WIDTHS) * sum((len(KERNELS) * len(EXPANSIONS)) ** depth for depth in DEPTHS)
        self.size = len(RESOLUTIONS) * per_stage**NUM_STAGES

    def canonical(self, genotypes_ND: Genotypes) -> Genotypes:
        """`(N, D)` with the genes of layers beyond the depth 0."""
        canonical_ND = np.array(genotypes_ND, dtype=GENE)
        stages_NSG = canonical_ND[:, 1:].reshape(-1, NUM_STAGES, 2 + 2 * NUM_LAYERS)
        inactive_NSL = np.arange(NUM_LAYERS) > stages_NSG[:, :, 1, np.newaxis]
        stages_NSG[:, :, 2:][np.repeat(inactive_NSL, 2, axis=2)] = 0
        return canonical_ND

    def valid(self, genotypes_ND: Genotypes) -> NDArray[np.bool_]:
        """`(N,)` all."""
        return np.ones(len(genotypes_ND), dtype=np.bool_)

    def encode(self, genotypes_ND: Genotypes) -> NDArray[np.float64]:
        """`(N, D)` position of each gene among its choices, 0 to 1."""
        return self.canonical(genotypes_ND) / (num_choices(self.decisions) - 1)


def _stage_decisions() -> list[Decision]:
    decisions = []
    for stage in range(NUM_STAGES):
        decisions += [
            Decision(name=f"stage{stage}.width", choices=WIDTHS, ordinal=True),
            Decision(name=f"stage{stage}.depth", choices=DEPTHS, ordinal=True),
        ]
        for layer in range(NUM_LAYERS):
            decisions += [
                Decision(name=f"stage{stage}.layer{layer}.kernel", choices=KERNELS, ordinal=True),
                Decision(name=f"stage{stage}.layer{layer}.expansion", choices=EXPANSIONS, ordinal=True),
            ]
    return decisions


def error_and_latency(genotypes_ND: Genotypes) -> NDArray[np.float64]:
    """`(N, 2)` error in percent and latency in milliseconds of canonical genotypes."""
    resolution_N = np.array(RESOLUTIONS)[genotypes_ND[:, 0]]
    stages_NSG = genotypes_ND[:, 1:].reshape(-1, NUM_STAGES, 2 + 2 * NUM_LAYERS).astype(np.int64)
    width_NS = np.array(WIDTHS)[stages_NSG[:, :, 0]]
    active_NSL = np.arange(NUM_LAYERS) <= stages_NSG[:, :, 1, np.newaxis]
    kernel_NSL, expansion_NSL = stages_NSG[:, :, 2::2], stages_NSG[:, :, 3::2]
    return np.column_stack(
        [
            _error(genotypes_ND, resolution_N, width_NS, active_NSL, kernel_NSL, expansion_NSL),
            _latency(resolution_N, width_NS, active_NSL, kernel_NSL, expansion_NSL),
        ]
    )


def _error(
    genotypes_ND: Genotypes,
    resolution_N: NDArray[np.int64],
    width_NS: NDArray[np.float64],
    active_NSL: NDArray[np.bool_],
    kernel_NSL: NDArray[np.int64],
    expansion_NSL: NDArray[np.int64],
) -> NDArray[np.float64]:
    """What each choice saves, less and less in deeper layers, with three interactions and a fixed noise."""
    fading_L = np.array([1.0, 0.45, 0.2])
    depth_N = (active_NSL[:, :, 1:] * VALUE_OF_DEPTH[:, np.newaxis] * [1.0, 0.45]).sum(axis=(1, 2))
    kernel_N = (active_NSL * np.take_along_axis(VALUE_OF_KERNEL[np.newaxis], kernel_NSL, axis=2) * fading_L).sum(axis=(1, 2))
    expansion_N = (active_NSL * expansion_NSL * VALUE_OF_EXPANSION[:, np.newaxis] * fading_L).sum(axis=(1, 2))
    width_N = (VALUE_OF_WIDTH * np.log(width_NS / 0.75) / np.log(5 / 3) * (0.7 + 0.1 * active_NSL.sum(axis=2))).sum(axis=1)
    size_N = 6.0 * np.log(resolution_N / 160) / np.log(1.4)
    # Large kernels need large images; a stage much narrower than its neighbour is a bottleneck.
    mismatch_N = 0.08 * ((kernel_NSL == 2) & active_NSL).sum(axis=(1, 2)) * (224 - resolution_N) / 64
    bottleneck_N = 2.5 * np.square(np.diff(width_NS, axis=1)).sum(axis=1)
    saved_N = depth_N + kernel_N + expansion_N + width_N + size_N
    weights_D = np.sin(1 + np.arange(genotypes_ND.shape[1]) * 12.9898) * 43758.5453
    noise_N = NOISE * (2 * np.modf(np.abs(genotypes_ND @ weights_D))[0] - 1)
    return 20.0 + 20.0 * np.exp(-saved_N / 16.0) + mismatch_N + bottleneck_N + noise_N


def _latency(
    resolution_N: NDArray[np.int64],
    width_NS: NDArray[np.float64],
    active_NSL: NDArray[np.bool_],
    kernel_NSL: NDArray[np.int64],
    expansion_NSL: NDArray[np.int64],
) -> NDArray[np.float64]:
    """A roofline of pointwise and depthwise convolutions plus a start-up time a layer."""
    out_NS = CHANNELS * width_NS
    first_in_NS = np.concatenate([np.full((len(out_NS), 1), 16.0), out_NS[:, :-1]], axis=1)
    in_NSL = np.stack([first_in_NS, out_NS, out_NS], axis=2)
    hidden_NSL = in_NSL * np.array(EXPANSIONS)[expansion_NSL]
    pixels_NS1 = np.square(OUTPUT_SIZE * (resolution_N[:, np.newaxis] / 224))[:, :, np.newaxis]
    pointwise_NSL = pixels_NS1 * hidden_NSL * (in_NSL + out_NS[:, :, np.newaxis])
    depthwise_NSL = pixels_NS1 * hidden_NSL * np.square(np.array(KERNELS))[kernel_NSL]
    layers_NSL = pointwise_NSL / 2.0e10 + depthwise_NSL / 4.0e9 + 0.0002
    return 1000 * (active_NSL * layers_NSL).sum(axis=(1, 2)) + 1.5


def best_known_front(*, num_seeds: int = 4, generations: int = 600, population: int = 300) -> Genotypes:
    """Canonical genotypes of the best front found: long NSGA-II runs, then single changes of every member until none helps."""
    space = MobileSpace()
    choices_D = num_choices(space.decisions)
    found = []
    for seed in range(num_seeds):
        rng = np.random.default_rng(seed)
        members_ND = space.canonical(random_genotypes(choices_D, rng, population))
        for _ in range(generations):
            mothers, fathers = rng.integers(population, size=(2, 2, population)).min(axis=0)
            children_ND = crossed(members_ND[mothers], members_ND[fathers], probability=0.9, rng=rng)
            children_ND = space.canonical(mutated(children_ND, choices_D, probability=1 / len(choices_D), rng=rng))
            members_ND = np.unique(np.concatenate([members_ND, children_ND]), axis=0)
            members_ND = members_ND[best_first(error_and_latency(members_ND), np.zeros(len(members_ND)))[:population]]
        found.append(members_ND)
    front_ND = _front(np.concatenate(found))
    while True:
        better_ND = _front(np.concatenate([front_ND, _neighbours(space, front_ND, choices_D)]))
        if np.array_equal(better_ND, front_ND):
            return front_ND
        front_ND = better_ND


def _front(genotypes_ND: Genotypes) -> Genotypes:
    distinct_ND = np.unique(genotypes_ND, axis=0)
    return distinct_ND[non_dominated(error_and_latency(distinct_ND))]


def _neighbours(space: MobileSpace, genotypes_ND: Genotypes, choices_D: NDArray[np.int64]) -> Genotypes:
    """Every genotype with one gene changed."""
    changed = []
    for decision, count in enumerate(choices_D):
        for choice in range(count):
            copy_ND = genotypes_ND.copy()
            copy_ND[:, decision] = choice
            changed.append(copy_ND)
    return space.canonical(np.concatenate(changed))


def stored_front() -> Genotypes:
    """The best known front of results/made_up_mobile_front.json."""
    rows = json.loads(FRONT_FILE.read_text())["genotypes"]
    return as_genotypes([[int(gene) for gene in row] for row in rows], 1 + NUM_STAGES * (2 + 2 * NUM_LAYERS))


def main() -> int:
    front_ND = best_known_front()
    points = error_and_latency(front_ND)
    rows = ["".join(str(gene) for gene in row) for row in front_ND[np.argsort(points[:, 1])].tolist()]
    FRONT_FILE.parent.mkdir(exist_ok=True)
    FRONT_FILE.write_text(json.dumps({"command": "python benchmarks/made_up.py", "genotypes": rows}, indent=0) + "\n")
    print(f"{len(rows)} points, error {points[:, 0].min():.2f} to {points[:, 0].max():.2f} %, ", end="")
    num_genotypes = prod(num_choices(MobileSpace().decisions).tolist())
    print(f"latency {points[:, 1].min():.2f} to {points[:, 1].max():.2f} ms, {num_genotypes:.3g} genotypes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
