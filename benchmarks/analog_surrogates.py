"""How well predictors order networks by what analog hardware does to them, on AnalogNAS-Bench.

Run `python benchmarks/analog_surrogates.py [--quick]`; needs `PARETUNE_DATA`. Each predictor learns from random cells and orders all others
by accuracy after a day of drift, its deviation over programmings, and the accuracy variation over a month (AVM: accuracy after 60 s less
that after 30 days). Kendall's tau over all, and within the tenth that is best, which is what a search looks at. Beside them the order by
digital accuracy, which needs the training of every cell.
"""

import argparse
import sys
from collections.abc import Mapping

import numpy as np
from goals import Goal, report_goals
from numpy.typing import NDArray
from search_tasks import analog_cells

from paretune.predictors.fidelity import kendall, top_decile_kendall
from paretune.predictors.selection import make_predictor

NAMES = (
    "gaussian_process:genes",
    "gaussian_process:pruned_graph",
    "xgboost:genes_graph",
    "xgboost:genes_graph:ranking",
    "mlp:genes_graph",
    "mlp:genes_graph:hinge",
    "graph",
    "graph:hinge",
    "ridge:pairwise",
)
DIGITAL = "order by digital accuracy"
FOREST_TAU = 0.77
"""Of a random forest on one-hot genes that learned four fifths of the cells, for the accuracy after a day."""


def taus(name: str, values_R: NDArray[np.float64], digital_R: NDArray[np.float64], *, learned: int, draw: int) -> tuple[float, float]:
    """Kendall's tau over the cells that were not learned from, and within their best tenth."""
    space, _ = analog_cells()
    order_R = np.random.default_rng(draw).permutation(len(values_R))
    known, unknown = order_R[:learned], order_R[learned:]
    if name == DIGITAL:
        predicted_N = -digital_R[unknown]
    else:
        predictor = make_predictor(name, space, seed=draw)
        predictor.fit(space.rows_RD[known], values_R[known])
        predicted_N = predictor.predict(space.rows_RD[unknown]).mean
    return kendall(predicted_N, values_R[unknown]), top_decile_kendall(predicted_N, values_R[unknown])


def compared(targets: Mapping[str, NDArray[np.float64]], digital_R: NDArray[np.float64], *, learned: int, draws: int) -> float:
    """Print the table; the best predictor's tau of the first target."""
    print(f"{learned} random cells learned, {len(digital_R) - learned:,} ordered, {draws} draws: Kendall's tau, and within the best tenth")
    print(f"{'':32}" + "".join(f"{target:>26}" for target in targets))
    best = 0.0
    for name in (DIGITAL, *NAMES):
        words = []
        for number, values_R in enumerate(targets.values()):
            found_D2 = np.array([taus(name, values_R, digital_R, learned=learned, draw=draw) for draw in range(draws)])
            overall, top = found_D2.mean(axis=0)
            words.append(f"{overall:.3f} ± {found_D2[:, 0].std():.3f}, {top:.3f}")
            if number == 0 and name != DIGITAL:
                best = max(best, float(overall))
        print(f"{name:32}" + "".join(f"{word:>26}" for word in words), flush=True)
    return best


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one draw of 1,000 cells")
    quick = parser.parse_args().quick
    _, found = analog_cells()
    targets = {"accuracy after a day": -found["accuracy"], "its deviation": found["deviation"], "AVM": found["avm"]}
    if not quick:
        compared(targets, found["digital_accuracy"], learned=100, draws=5)
    tau = compared(targets, found["digital_accuracy"], learned=1000, draws=1 if quick else 5)
    return report_goals([Goal(name="accuracy_after_a_day_tau_of_1000_learned", value=tau, sense=">=", bound=FOREST_TAU)])


if __name__ == "__main__":
    sys.exit(main())
