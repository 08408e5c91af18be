"""Rank correlation of zero-cost proxies, parameters and MACs with the trained accuracy of random architectures of the digits space.

python benchmarks/proxies.py 40 5
"""

import argparse
import time
from functools import partial

import numpy as np
import torch
from scipy.stats import spearmanr

from paretune.core.genotype import num_choices
from paretune.core.protocols import Fidelity
from paretune.core.rng import derive_seed, stream
from paretune.hardware.free import FreeCosts
from paretune.spaces.digits_conv import DigitsConv
from paretune.tasks.digits import Digits
from paretune.tasks.proxies import proxy_scores


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("architectures", type=int, nargs="?", default=40)
    parser.add_argument("epochs", type=int, nargs="?", default=5)
    options = parser.parse_args()
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


if __name__ == "__main__":
    main()
