"""How true learned costs are: kernels, latency tables of two search spaces, devices nobody has seen.

    python benchmarks/cost_fidelity.py             everything, about 30 minutes on one core
    python benchmarks/cost_fidelity.py --quick     a part of each, under two minutes

Reads the tables in `PARETUNE_DATA`, by default `../shared/data` beside the repository. `fpga` and `eyeriss` are modelled, not measured.

Legend: N architectures.
"""

import argparse
import sys
from collections.abc import Sequence

import numpy as np
from cost_data import LatencyTable, fbnet, nasbench201
from cost_kernels import print_kernels
from cost_transfer import FAMILIES, Split, compared, mean_scores, print_transfer
from goals import Goal, report_goals

from paretune.predictors.architecture_costs import learn_costs
from paretune.predictors.encoding import encodings_of
from paretune.predictors.fidelity import Fidelity, fidelity
from paretune.predictors.selection import make_predictor

TRAINING = 900
SMALL_LATENCY_S = 1e-3
"""Below this, a network was folded to a constant (pixel3, raspi4): relative errors leave such out, rank correlations do not."""
PAIRWISE_LINE = {"essential_ph_1": 0.912, "samsung_s7": 0.915, "silver_4114": 0.958, "gold_6240": 0.947}
"""Spearman of a pairwise ridge on the hard devices, as the data's README has it."""
TRANSFER_GOALS = {10: 0.955, 50: 0.978}


def split(table: LatencyTable, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows to learn from and rows to judge by; no class of isomorphism lies on both sides."""
    order = np.random.default_rng(seed).permutation(table.classes_N.max() + 1)
    rank_N = np.empty(len(order), dtype=np.int64)
    rank_N[order] = np.arange(len(order))
    sorted_rows = np.argsort(rank_N[table.classes_N], kind="stable")
    last_class = rank_N[table.classes_N[sorted_rows[TRAINING - 1]]]
    judged = np.flatnonzero(rank_N[table.classes_N] > last_class)
    return sorted_rows[:TRAINING], judged


def judge_device(table: LatencyTable, device: str, seed: int) -> tuple[str, Fidelity, float]:
    """The predictor that cross-validation chose, its fidelity, and the Spearman of a ridge on pairs (one-hot where those are too many)."""
    learned_rows, judged_rows = split(table, seed)
    latency_N = table.latency_NS[:, table.devices.index(device)]
    learned = learn_costs(table.space, table.genotypes_ND[learned_rows], {"latency_s": latency_N[learned_rows]})
    judged_ND = table.genotypes_ND[judged_rows]
    predicted_N = learned.fitted(table.space).predict("latency_s", judged_ND).mean
    pairwise = make_predictor("ridge:pairwise" if "pairwise" in encodings_of(table.space) else "ridge:onehot", table.space, seed=0)
    pairwise.fit(table.genotypes_ND[learned_rows], latency_N[learned_rows])
    plain_N = np.maximum(latency_N[judged_rows], SMALL_LATENCY_S)
    line = fidelity(pairwise.predict(judged_ND).mean, plain_N).spearman
    choice = learned.choices["latency_s"]
    return f"{choice.predictor} {choice.scale}", fidelity(predicted_N, plain_N), line


def print_architectures(table: LatencyTable, devices: Sequence[str], seed: int) -> tuple[dict[str, float], dict[str, float]]:
    """Print a line for each device; Spearman of the chosen predictor and of the pairwise ridge."""
    print(f"\n{table.space.name}, {TRAINING} to learn from: Spearman, RMSPE, share within, Kendall of all and of the best tenth")
    print(f"{'device':16} {'chosen':32} {'rho':>7} {'ridge':>7} {'RMSPE':>6} {'1 %':>6} {'5 %':>6} {'10 %':>6} {'tau':>6} {'tau10':>6}")
    chosen, lines = {}, {}
    for device in devices:
        name, found, lines[device] = judge_device(table, device, seed)
        chosen[device] = found.spearman
        shares = f"{found.within_1_percent:6.3f} {found.within_5_percent:6.3f} {found.within_10_percent:6.3f}"
        ranks = f"{found.kendall:6.3f} {found.top_decile_kendall:6.3f}"
        print(f"{device:16} {name:32} {found.spearman:7.4f} {lines[device]:7.4f} {found.rmspe:6.3f} {shares} {ranks}", flush=True)
    return chosen, lines


def main() -> int:
    """Print tables, then goals."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a part of each table, under two minutes")
    parser.add_argument("--only", choices=("kernels", "architectures", "transfer"), help="one of the three")
    parser.add_argument("--seeds", type=int, default=3, help="draws of candidates for the unseen devices")
    options = parser.parse_args()
    goals = []
    if options.only in (None, "kernels"):
        goals += kernel_goals(quick=options.quick)
    table = nasbench201()
    if options.only in (None, "architectures"):
        goals += architecture_goals(table, quick=options.quick)
    if options.only in (None, "transfer"):
        goals += transfer_goals(table, quick=options.quick, seeds=1 if options.quick else options.seeds)
    return report_goals(goals)


def kernel_goals(*, quick: bool) -> list[Goal]:
    """Fitted layers against the roofline of the data sheet on each device, and on average against one fitted to it, which is harder."""
    found = print_kernels(quick=quick)
    fitted = [errors.layers / errors.fitted_roofline for errors in found]
    print(f"largest share of a fitted roofline's error: {max(fitted):.3f}")
    largest = max(errors.layers / errors.data_sheet for errors in found)
    return [
        Goal(name="largest_rmspe_over_data_sheet_roofline", value=largest, sense="<=", bound=0.5),
        Goal(name="mean_rmspe_over_fitted_roofline", value=float(np.mean(fitted)), sense="<=", bound=0.5),
    ]


def architecture_goals(table: LatencyTable, *, quick: bool) -> list[Goal]:
    """Tables of both spaces; goals against the pairwise ridge."""
    devices = ("gold_6240",) if quick else table.devices
    chosen, lines = print_architectures(table, devices, seed=0)
    goals = [
        Goal(name=f"nasbench201_{device}_spearman", value=chosen[device], sense=">=", bound=PAIRWISE_LINE[device] + 0.0005)
        for device in devices
        if device in PAIRWISE_LINE
    ]
    goals.append(_above_line("nasbench201", chosen, lines))
    networks = fbnet()
    found = print_architectures(networks, ("pixel3",) if quick else networks.devices, seed=0)
    return [*goals, _above_line("fbnet", *found)]


def _above_line(name: str, chosen: dict[str, float], lines: dict[str, float]) -> Goal:
    """The device on which the choice is least above the ridge, to the thousandth that rank correlations are told in."""
    return Goal(
        name=f"{name}_least_spearman_above_ridge", value=min(round(chosen[key] - lines[key], 3) for key in chosen), sense=">=", bound=0
    )


def transfer_goals(table: LatencyTable, *, quick: bool, seeds: int) -> list[Goal]:
    """Tables of unseen devices beside the baseline; goals where the whole family is hidden, to the thousandth that they are told in.

    `--quick` has five devices and no goals.
    """
    counts = tuple(TRANSFER_GOALS)
    if quick:
        table = table.keep(("silver_4210r", "silver_4114", "samsung_a50", "samsung_s7", "fpga"))
    judged_by = {"a third": Split(table=table, third=True), "the unmeasured": Split(table=table, third=False)}
    results = {}
    for hidden, family_of in list(FAMILIES.items())[: 1 if quick else None]:
        for judged, split in list(judged_by.items())[: 1 if quick else None]:
            results[f"{hidden}, {judged}"] = compared(split, family_of, counts, seeds)
    print_transfer(results, counts)
    if quick:
        return []
    strict = results["hardware family, a third"]["transfer"]
    return [
        Goal(name=f"unseen_device_spearman_{count}", value=round(mean_scores(strict[count])[0], 3), sense=">=", bound=bound)
        for count, bound in TRANSFER_GOALS.items()
    ]


if __name__ == "__main__":
    sys.exit(main())
