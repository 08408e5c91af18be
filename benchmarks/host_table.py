"""How well a lookup table of layers, made on this machine by what `paretune measure host SPACE --layers` does, ranks whole networks on it.

For each space: a table of every layer (with --quick or --sampled only of the layers that the tested networks have), the sums it predicts,
and the latency of random networks, measured twice. The noise floor is the rank correlation of the two measurements: no prediction can be
expected to rank much better than a second measurement does.

python benchmarks/host_table.py --quick
python benchmarks/host_table.py --quick --cpu-time     on a machine that others use
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from cpu_time import CpuTime
from goals import Goal, report_goals
from numpy.typing import NDArray
from scipy.stats import kendalltau, spearmanr

from paretune.core.protocols import Device, SearchSpace
from paretune.hardware.campaigns.layer_campaign import TableRequest, measure_layers
from paretune.hardware.campaigns.layer_census import census, random_networks
from paretune.hardware.campaigns.layer_meter import LayerMeter
from paretune.hardware.free import FreeCosts
from paretune.hardware.measured.host import Host
from paretune.hardware.tables.layer_table import LayerTable
from paretune.networks.layer_probes import FUSED
from paretune.spaces.digits_conv import DigitsConv
from paretune.spaces.mobile import Mobile

FloatArray = NDArray[np.float64]
RESOLUTIONS = (16, 24, 32)
BOUND = 0.95


def spaces() -> dict[str, tuple[SearchSpace, tuple[int, ...]]]:
    """Name -> space and shape of an input."""
    return {
        "digits": (DigitsConv(input_shape=(1, 8, 8), num_classes=10), (1, 8, 8)),
        "mobile": (Mobile(input_shape=(3, 32, 32), num_classes=10, resolutions=RESOLUTIONS), (3, 32, 32)),
    }


def measured_s(host: Device, space: SearchSpace, genotypes_ND: NDArray[np.int16], shape: tuple[int, ...]) -> FloatArray:
    """`(N,)` latency of each network, one pass over all of them."""
    return np.array([host.measure(space.build(row), (1, *shape)).values["latency_s"] for row in genotypes_ND.tolist()])


def ranks(name: str, predicted: FloatArray, truth_s: FloatArray) -> str:
    rank, tau = spearmanr(predicted, truth_s).statistic, kendalltau(predicted, truth_s).statistic
    return f"{name:34}{rank:9.3f}{tau:9.3f}"


def validate(name: str, options: argparse.Namespace) -> tuple[float, float]:
    """Print what one space gives; Spearman of the table and of the second measurement."""
    space, shape = spaces()[name]
    # A machine that others use as well: an attempt may be noisy, the fastest of several counts.
    host: Device = CpuTime() if options.cpu_time else Host(max_s=0.1, warm_up_s=0.02, max_relative_iqr=20.0, max_attempts=6)
    start_s = time.monotonic()
    found = census(space, sample=options.networks if options.sampled or options.quick else None, seed=1, skip=FUSED)
    with tempfile.TemporaryDirectory() as scratch:
        folder: Path = options.keep or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        request = TableRequest(path=folder / f"{name}.parquet", device="host", space=name, command="")
        outcome = measure_layers(LayerMeter(host, rounds=options.rounds), found.signatures, request)
        table = LayerTable(file=request.path)
    print(f"\n{name}: {len(found.signatures)} layers in {time.monotonic() - start_s:.0f} s, {len(outcome.failures)} failures")
    genotypes_ND = random_networks(space, options.networks, seed=1)
    first_s, second_s = (measured_s(host, space, genotypes_ND, shape) for _ in range(2))
    truth_s = np.minimum(first_s, second_s)  # neighbours can only slow a run down
    predicted_s = table.estimate(space.workloads(genotypes_ND), {})["latency_s"].values
    error = predicted_s / truth_s - 1
    print(f"{options.networks} networks of {1e3 * truth_s.min():.3g} to {1e3 * truth_s.max():.3g} ms, the faster of two measurements")
    print(f"{'':34}{'Spearman':>9}{'Kendall':>9}")
    print(ranks("table", predicted_s, truth_s))
    print(ranks("MACs", FreeCosts().estimate(space.workloads(genotypes_ND), {})["macs"].values, truth_s))
    print(ranks("noise floor: first against second", first_s, second_s))
    print(f"table over measured: median {np.median(error):+.1%}, within 10 %: {np.mean(np.abs(error) <= 0.1):.0%} of the networks")
    return float(spearmanr(predicted_s, truth_s).statistic), float(spearmanr(first_s, second_s).statistic)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--networks", type=int, default=50, help="random networks of each space")
    parser.add_argument("--rounds", type=int, default=2, help="measurements of each probe, of which the lowest counts")
    parser.add_argument("--spaces", nargs="*", default=list(spaces()), choices=list(spaces()))
    parser.add_argument("--sampled", action="store_true", help="measure only the layers of the tested networks")
    parser.add_argument("--cpu-time", action="store_true", help="processor time instead of wall time, where others use the machine too")
    parser.add_argument("--keep", type=Path, help="folder for the tables; one that is there is gone on with")
    parser.add_argument("--quick", action="store_true", help="12 networks of each space and only their layers, one round")
    options = parser.parse_args()
    if options.quick:
        options.networks, options.rounds = 12, 1
    torch.set_num_threads(1)
    torch.manual_seed(0)
    goals = []
    for name in options.spaces:
        rank, floor = validate(name, options)
        print(f"noise floor of {name}: {floor:.3f}")
        goals.append(Goal(name=f"host_table_spearman_{name}", value=rank, sense=">=", bound=BOUND))
    print()
    return report_goals(goals)


if __name__ == "__main__":
    sys.exit(main())
