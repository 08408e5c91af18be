"""Costs of an unseen device from few measurements: NAS-Bench-201 on 17 device settings, the device's whole family hidden.

Legend: N architectures, S device settings.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from cost_data import LatencyTable, device_of, hardware_family
from numpy.typing import NDArray

from paretune.predictors.fidelity import share_within
from paretune.predictors.selection import spearman
from paretune.predictors.transfer import DeviceTransfer

FAMILIES: Mapping[str, Callable[[str], str]] = {"hardware family": hardware_family, "device": device_of}
"""`hardware family`: no graphics processor is known when one is unseen, no Xeon for a Xeon, no phone for a phone. `device`: settings of
the same device (batch sizes) are hidden, other models of its family are known: the easier split, for comparison."""
COMPONENTS = 8
"""Principal components of the baseline."""

Scores = dict[int, dict[str, list[tuple[float, float]]]]
"""Measurements -> device -> (Spearman, share within 10 %) by seed."""


def transferred(table: LatencyTable, family_of: Callable[[str], str], counts: Sequence[int], seeds: int) -> Scores:
    """`DeviceTransfer`, one rehearsal for each hidden family."""
    scores: Scores = {count: {} for count in counts}
    families = [family_of(device) for device in table.devices]
    for hidden in dict.fromkeys(families):
        known = [index for index, family in enumerate(families) if family != hidden]
        for seed in range(seeds):
            transfer = DeviceTransfer(
                table.space, table.genotypes_ND, table.latency_NS[:, known], families=[families[index] for index in known], seed=seed
            )
            chosen = transfer.choose(max(counts))
            for device in np.flatnonzero(np.array(families) == hidden):
                for count in counts:
                    rows = chosen[:count]
                    transfer.fit(rows, table.latency_NS[rows, device])
                    scores[count].setdefault(table.devices[device], []).append(_judged(table, device, rows, transfer.predict().mean))
    return scores


def baseline(table: LatencyTable, family_of: Callable[[str], str], counts: Sequence[int], seeds: int) -> Scores:
    """Bayesian ridge on the principal components of the other devices' log latencies, with randomly chosen architectures."""
    from sklearn.linear_model import BayesianRidge

    scores: Scores = {count: {} for count in counts}
    families = [family_of(device) for device in table.devices]
    for device, name in enumerate(table.devices):
        known = [index for index, family in enumerate(families) if family != families[device]]
        logs_NS = np.log(table.latency_NS[:, known])
        left_NS, values_S, _ = np.linalg.svd((logs_NS - logs_NS.mean(axis=0)) / logs_NS.std(axis=0), full_matrices=False)
        components_NF = (left_NS * values_S)[:, :COMPONENTS] / (left_NS[:, 0] * values_S[0]).std()
        for seed in range(seeds):
            for count in counts:
                rows = np.random.default_rng(seed).permutation(len(logs_NS))[:count]
                model = BayesianRidge().fit(components_NF[rows], np.log(table.latency_NS[rows, device]))
                scores[count].setdefault(name, []).append(_judged(table, device, rows, np.exp(model.predict(components_NF))))
    return scores


def _judged(table: LatencyTable, device: int, rows: NDArray[np.int64], predicted_N: NDArray[np.float64]) -> tuple[float, float]:
    """Spearman and share within 10 % of the architectures whose class of isomorphism was not measured."""
    unseen_N = ~np.isin(table.classes_N, table.classes_N[rows])
    measured_N = table.latency_NS[unseen_N, device]
    return spearman(predicted_N[unseen_N], measured_N), share_within(predicted_N[unseen_N], measured_N, bound=0.10)


def mean_scores(scores: Mapping[str, Sequence[tuple[float, float]]]) -> tuple[float, float]:
    """Means over devices and seeds."""
    spearmans, shares = np.mean([np.mean(seeds, axis=0) for seeds in scores.values()], axis=0)
    return float(spearmans), float(shares)


def print_transfer(results: Mapping[str, Mapping[str, Scores]], counts: Sequence[int]) -> None:
    """Means, then the devices one by one."""
    print(f"\n{'unseen device, hidden':24} {'method':10} " + " ".join(f"{f'{count} rho':>9} {'in 10 %':>8}" for count in counts))
    for hidden, methods in results.items():
        for method, scores in methods.items():
            cells = " ".join("{:9.4f} {:8.3f}".format(*mean_scores(scores[count])) for count in counts)
            print(f"{hidden:24} {method:10} {cells}")
    for hidden, methods in results.items():
        scores = methods["transfer"]
        print(f"\n{hidden} hidden, Spearman by device")
        for device in scores[counts[0]]:
            cells = "  ".join(f"{count}: {np.mean([rho for rho, _ in scores[count][device]]):.4f}" for count in counts)
            print(f"  {device:16} {cells}")
