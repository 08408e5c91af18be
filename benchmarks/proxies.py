"""What zero-cost proxies, parameters and MACs say of the trained accuracy: alone, and beside a predictor.

    python benchmarks/proxies.py 40 5          digits: 40 random architectures trained for 5 epochs
    python benchmarks/proxies.py --tables      NAS-Bench-201: parameters and MACs against accuracy after 200 epochs, no training

Prints rank correlations with the accuracy: of each score, and of left-out predictions of a Gaussian process without and with the scores
as features (`searcher: {name: predictor_guided, features: [...]}`).
"""

import argparse
import time
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import spearmanr

from paretune.core.genotype import Genotypes, num_choices
from paretune.core.protocols import Fidelity, GenotypeSpace
from paretune.core.rng import derive_seed, stream
from paretune.hardware.free import FreeCosts
from paretune.predictors.selection import default_candidates, make_predictor, spearman
from paretune.searchers.features import fit_correction
from paretune.searchers.surrogate import Warp
from paretune.spaces.digits_conv import DigitsConv
from paretune.tasks.digits import Digits
from paretune.tasks.proxies import proxy_scores

BASELINES = ("parameters", "macs")
SIZES = (20, 40, 80, 160)
REPEATS = 20


def left_out(space: GenotypeSpace, rows_ND: Genotypes, accuracies_N: NDArray[np.float64], scores_NF: NDArray[np.float64]) -> float:
    """Rank correlation of left-out predictions with the accuracies; without scores those of the Gaussian process alone."""
    name = default_candidates(space)[0]
    predictor = make_predictor(name, space, seed=0)
    targets_N = Warp.of(-accuracies_N)(-accuracies_N)  # as a search does
    predictor.fit(rows_ND, targets_N)
    predicted_N = predictor.left_out().mean
    correction = fit_correction(predicted_N, targets_N, scores_NF) if scores_NF.shape[1] else None
    return spearman(predicted_N if correction is None else correction.left_out, targets_N)


def tables() -> None:
    """NAS-Bench-201, where every accuracy is known: random cells, several times for each number of them."""
    from search_tasks import columns, nasbench201, nasbench201_rows

    table, space = columns("nb201/nb201.parquet"), nasbench201_rows()
    order = np.argsort(table["arch_idx"])
    costs = FreeCosts().estimate(nasbench201().workloads(space.rows_RD), {})
    scores_RF = np.stack([costs[name].values for name in BASELINES], axis=1)
    for data in ("cifar10", "cifar100"):
        accuracies_R = table[f"{data}_test_200ep"][order]
        whole = ", ".join(f"{name} {spearman(column, accuracies_R):.2f}" for name, column in zip(BASELINES, scores_RF.T, strict=True))
        print(f"\n{data}, all {len(order):,} cells: {whole}")
        print(f"{'cells told':12}{'GP alone':>16}{'with ' + ' and '.join(BASELINES):>28}")
        for size in SIZES:
            found = []
            for repeat in range(REPEATS):
                rows = stream(repeat, index=size, purpose="benchmark").choice(len(order), size=size, replace=False)
                chosen = space.rows_RD[rows], accuracies_R[rows]
                found.append([left_out(space, *chosen, scores_RF[rows][:, :count]) for count in (0, len(BASELINES))])
            means, deviations = np.mean(found, axis=0), np.std(found, axis=0, ddof=1)
            print(f"{size:<12}{means[0]:10.2f} ±{deviations[0]:.2f}{means[1]:22.2f} ±{deviations[1]:.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("architectures", type=int, nargs="?", default=40)
    parser.add_argument("epochs", type=int, nargs="?", default=5)
    parser.add_argument("--tables", action="store_true", help="NAS-Bench-201 instead of the digits")
    options = parser.parse_args()
    if options.tables:
        tables()
    else:
        digits(options)


def digits(options: argparse.Namespace) -> None:
    """Random architectures of the digits space, trained here."""
    space = DigitsConv(input_shape=(1, 8, 8), num_classes=10)
    choices_D = num_choices(space.decisions)
    drawn_ND = stream(0, index=0, purpose="benchmark").integers(0, choices_D, size=(options.architectures, len(choices_D)))
    rows_ND = np.unique(space.canonical(drawn_ND.astype(np.int16)), axis=0)
    costs = {name: estimates.values for name, estimates in FreeCosts().estimate(space.workloads(rows_ND), {}).items()}
    names = ("jacob_cov", "naswot", "synflow")
    task, images, columns = Digits(proxies=names), torch.randn((64, 1, 8, 8)), dict[str, list[float]]()
    proxy_scores(space.build([int(gene) for gene in rows_ND[0]]), images, names)  # torch makes its kernels ready
    start_s = time.process_time()
    for row in rows_ND[:5]:
        proxy_scores(space.build([int(gene) for gene in row]), images, names)
    spent_s = (time.process_time() - start_s) / 5
    for number, row in enumerate(rows_ND):
        build = partial(space.build, [int(gene) for gene in row])
        _, result = task.train(build, seed=number, fidelity=Fidelity(epochs=options.epochs))
        for name, value in {**result.metrics, "first epoch": result.curve[0]["accuracy"]}.items():
            columns.setdefault(name, []).append(value)
    accuracies = np.array(columns.pop("accuracy"))
    rng = np.random.default_rng(derive_seed("bootstrap"))
    print(f"{len(rows_ND)} architectures, {options.epochs} epochs, accuracy {accuracies.min():.3f} to {accuracies.max():.3f}")
    print(f"proxies: {1e3 * spent_s:.0f} ms of processor time an architecture")
    print(f"{'':16}{'Spearman':>9}   90 % of bootstrap samples")
    for name, values in {**columns, "parameters": costs["parameters"], "macs": costs["macs"]}.items():
        score = np.asarray(values)
        picks = rng.integers(0, len(score), size=(1000, len(score)))
        samples = [spearmanr(score[pick], accuracies[pick]).statistic for pick in picks]
        low, high = np.nanpercentile(samples, [5, 95])
        print(f"{name:16}{spearmanr(score, accuracies).statistic:9.2f}   {low:.2f} to {high:.2f}")
    free = np.stack([costs[name] for name in BASELINES], axis=1)
    proxies = np.stack([np.array(columns[f"proxy.{name}"]) for name in names], axis=1)
    print("left-out predictions of a Gaussian process on the genes, with these as features:")
    for shown, scores in (("none", free[:, :0]), ("parameters, macs", free), ("proxies", proxies), ("all", np.hstack([free, proxies]))):
        print(f"{shown:16}{left_out(space, rows_ND, accuracies, scores):9.2f}")


if __name__ == "__main__":
    main()
