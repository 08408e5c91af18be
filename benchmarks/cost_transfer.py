"""Costs of an unseen device from few measurements: NAS-Bench-201 on 17 device settings, the device's whole family hidden.

The classes of isomorphism are split anew for each seed: a third is judged by, measurements are chosen among the others. So every method
is judged by the same architectures, and these are like the whole space. To judge by whatever was not measured would let the choice
decide: one measured dead cell takes 275 others with it, and what is left is harder to order. Both are printed, with the bound that noise
sets.

Legend: N architectures, S device settings.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from cost_data import LatencyTable, device_of, hardware_family
from numpy.typing import NDArray

from paretune.predictors.fidelity import share_within
from paretune.predictors.selection import spearman
from paretune.predictors.transfer import DeviceTransfer
from paretune.predictors.transfer_features import architecture_parts

FAMILIES: Mapping[str, Callable[[str], str]] = {"hardware family": hardware_family, "device": device_of}
"""`hardware family`: no graphics processor is known when one is unseen, no Xeon for a Xeon, no phone for a phone. `device`: settings of
the same device (batch sizes) are hidden, other models of its family are known: the easier split, for comparison."""
COMPONENTS = 8
"""Principal components of the baseline."""
JUDGED = 1 / 3
"""Share of the classes of isomorphism that is judged by."""

Scores = dict[int, dict[str, list[tuple[float, float]]]]
"""Measurements -> device -> (Spearman, share within 10 %) by seed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """Which architectures may be measured and which are judged by."""

    table: LatencyTable
    third: bool
    """Judge by a third of the classes; else by those that were not measured, whichever these are."""

    def candidates(self, seed: int) -> NDArray[np.int64]:
        """Rows that may be measured."""
        return np.flatnonzero(~self._kept(seed)) if self.third else np.arange(len(self.table.genotypes_ND))

    def judged(self, rows: NDArray[np.int64], seed: int) -> NDArray[np.bool_]:
        """`(N,)` rows to judge by, once `rows` were measured."""
        return self._kept(seed) if self.third else ~np.isin(self.table.classes_N, self.table.classes_N[rows])

    def score(self, device: int, rows: NDArray[np.int64], seed: int, predicted_N: NDArray[np.float64]) -> tuple[float, float]:
        """Spearman and share within 10 %."""
        judged_N = self.judged(rows, seed)
        measured_N = self.table.latency_NS[judged_N, device]
        return spearman(predicted_N[judged_N], measured_N), share_within(predicted_N[judged_N], measured_N, bound=0.10)

    def _kept(self, seed: int) -> NDArray[np.bool_]:
        rank = np.random.default_rng(1000 + seed).permutation(self.table.classes_N.max() + 1)
        return np.asarray(rank[self.table.classes_N] < JUDGED * len(rank))


def transferred(split: Split, family_of: Callable[[str], str], counts: Sequence[int], seeds: int) -> dict[str, Scores]:
    """`DeviceTransfer`, one rehearsal for each hidden family; `bound` is what a sum over all cells of the table itself gives there."""
    table = split.table
    scores: dict[str, Scores] = {name: {count: {} for count in counts} for name in ("transfer", "bound")}
    families = [family_of(device) for device in table.devices]
    sums_NS = _sums(table)
    for hidden in dict.fromkeys(families):
        known = [index for index, family in enumerate(families) if family != hidden]
        for seed in range(seeds):
            transfer = DeviceTransfer(
                table.space, table.genotypes_ND, table.latency_NS[:, known], families=[families[index] for index in known], seed=seed
            )
            chosen = transfer.choose(max(counts), split.candidates(seed))
            for device in np.flatnonzero(np.array(families) == hidden):
                name = table.devices[device]
                for count in counts:
                    rows = chosen[:count]
                    transfer.fit(rows, table.latency_NS[rows, device])
                    scores["transfer"][count].setdefault(name, []).append(split.score(device, rows, seed, transfer.predict().mean))
                    scores["bound"][count].setdefault(name, []).append(split.score(device, rows, seed, sums_NS[:, device]))
    return scores


def _sums(table: LatencyTable) -> NDArray[np.float64]:
    """`(N, S)` a ridge on places and live places, learned from every architecture of the device itself, the judged ones too.

    NAS-Bench-201 costs are sums over the cell's operations but for noise: this is about as well as any additive model can do.
    """
    from sklearn.linear_model import Ridge

    parts = architecture_parts(table.space, table.genotypes_ND)
    features_NF = np.hstack([parts[name].features for name in ("places", "live.places") if name in parts])
    return np.asarray(Ridge(alpha=1e-3).fit(features_NF, table.latency_NS).predict(features_NF))


def baseline(split: Split, family_of: Callable[[str], str], counts: Sequence[int], seeds: int) -> Scores:
    """Bayesian ridge on the principal components of the other devices' log latencies, with randomly chosen architectures."""
    from sklearn.linear_model import BayesianRidge

    table = split.table
    scores: Scores = {count: {} for count in counts}
    families = [family_of(device) for device in table.devices]
    for device, name in enumerate(table.devices):
        known = [index for index, family in enumerate(families) if family != families[device]]
        logs_NS = np.log(table.latency_NS[:, known])
        left_NS, values_S, _ = np.linalg.svd((logs_NS - logs_NS.mean(axis=0)) / logs_NS.std(axis=0), full_matrices=False)
        components_NF = (left_NS * values_S)[:, :COMPONENTS] / (left_NS[:, 0] * values_S[0]).std()
        for seed in range(seeds):
            for count in counts:
                rows = np.random.default_rng(seed).permutation(split.candidates(seed))[:count]
                model = BayesianRidge().fit(components_NF[rows], np.log(table.latency_NS[rows, device]))
                scores[count].setdefault(name, []).append(split.score(device, rows, seed, np.exp(model.predict(components_NF))))
    return scores


def compared(split: Split, family_of: Callable[[str], str], counts: Sequence[int], seeds: int) -> dict[str, Scores]:
    """Method -> its scores."""
    return {**transferred(split, family_of, counts, seeds), "baseline": baseline(split, family_of, counts, seeds)}


def mean_scores(scores: Mapping[str, Sequence[tuple[float, float]]]) -> tuple[float, float]:
    """Means over devices and seeds."""
    spearmans, shares = np.mean([np.mean(seeds, axis=0) for seeds in scores.values()], axis=0)
    return float(spearmans), float(shares)


def print_transfer(results: Mapping[str, Mapping[str, Scores]], counts: Sequence[int]) -> None:
    """Means, then the devices one by one."""
    print(f"\n{'hidden, judged by':32} {'method':10} " + " ".join(f"{f'{count} rho':>9} {'in 10 %':>8}" for count in counts))
    for split, methods in results.items():
        for method, scores in methods.items():
            cells = " ".join("{:9.4f} {:8.3f}".format(*mean_scores(scores[count])) for count in counts)
            print(f"{split:32} {method:10} {cells}")
    for split, methods in results.items():
        scores = methods["transfer"]
        print(f"\n{split}: Spearman by device, and the bound of a sum over operations")
        for device in scores[counts[0]]:
            cells = "  ".join(f"{count}: {np.mean([rho for rho, _ in scores[count][device]]):.4f}" for count in counts)
            print(f"  {device:16} {cells}  bound {np.mean([rho for rho, _ in methods['bound'][max(counts)][device]]):.4f}")
