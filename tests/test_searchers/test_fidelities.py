"""Results of few epochs teach predictors what few epochs give, and never stand for those of full trainings."""

import json

import numpy as np
import pytest

from paretune.core.genotype import Genotypes
from paretune.core.metrics import Direction
from paretune.core.objectives import Objective, Problem
from paretune.core.trial import Outcome, Trial
from paretune.predictors.selection import make_predictor
from paretune.searchers.fidelities import Inputs
from paretune.searchers.predictor_guided import PredictorGuided
from paretune.searchers.surrogate import Surrogate, fitted_surrogate
from paretune.searchers.told import Told
from paretune.spaces.nasbench201 import NasBench201
from paretune.testing.problems import known_front_problem

KNOWN = known_front_problem()
PROBLEM = Problem(objectives=(Objective(metric="accuracy", direction=Direction.MAX, reference=0.0),))
CELLS = NasBench201(input_shape=(3, 32, 32), num_classes=10)


def trial(index: int, genotype: Genotypes, *, epochs: int) -> Trial:
    """Of the known problem: after one epoch of nine half of the accuracy."""
    whole = KNOWN.trial(index, genotype)
    metrics = {**whole.metrics, "accuracy": whole.metrics["accuracy"] * (1.0 if epochs == 9 else 0.5), "epochs": float(epochs)}
    return Trial(ask_index=index, genotype=whole.genotype, outcome=Outcome.OK, metrics=metrics)


def rows(count: int, seed: int = 0) -> Genotypes:
    choices = [len(decision.choices) for decision in KNOWN.space.decisions]
    drawn = np.random.default_rng(seed).integers(0, choices, size=(count, len(choices))).astype(np.int16)
    return np.unique(KNOWN.space.canonical(drawn), axis=0)


def told(fidelities: bool = True) -> Told:
    """Two of three candidates were stopped after one epoch."""
    found = Told(PROBLEM, num_decisions=len(KNOWN.space.decisions))
    trials = [trial(index, row, epochs=9 if index % 3 == 0 else 1) for index, row in enumerate(rows(90))]
    if not fidelities:
        trials = [
            Trial(ask_index=t.ask_index, genotype=t.genotype, outcome=t.outcome, metrics={"accuracy": t.metrics["accuracy"]})
            for t in trials
        ]
    found.add(trials)
    return found


def surrogate(found: Told, name: str) -> Surrogate:
    inputs = Inputs(KNOWN.space, found.fidelities)
    predictor = make_predictor(name, inputs.space(name), seed=0)
    return fitted_surrogate(found, PROBLEM, inputs, {("accuracy", name): predictor})


@pytest.mark.parametrize("name", ["gaussian_process:genes", "ridge:pairwise", "xgboost:onehot"])
def test_predictions_are_for_full_trainings(name: str) -> None:
    others = rows(60, seed=7)
    truth = np.array([KNOWN.trial(0, row).metrics["accuracy"] for row in others])
    errors = {}
    for fidelities in (True, False):
        expected = surrogate(told(fidelities), name).expectations(others)
        middles = np.array([item["accuracy"].middle for item in expected])
        errors[fidelities] = float(np.abs(middles - truth).mean())
    assert errors[True] < 0.5 * errors[False]


def test_the_front_and_the_parents_are_full_trainings() -> None:
    found = told()
    assert found.fidelities == (1, 9)
    assert np.array_equal(found.partial, np.arange(len(found)) % 3 != 0)
    assert np.isinf(found.points[found.partial]).all()
    assert np.isfinite(found.points[~found.partial]).all()
    searcher = PredictorGuided(KNOWN.space, KNOWN.problem, seed=0)
    searcher.tell([trial(index, row, epochs=9 if index % 3 == 0 else 1) for index, row in enumerate(rows(60))])
    full = {row.tobytes() for index, row in enumerate(rows(60)) if index % 3 == 0}
    assert {row.tobytes() for row in searcher._parents(10)} <= full


def test_predictors_that_see_no_epochs_learn_from_full_trainings_only() -> None:
    found = Told(PROBLEM, num_decisions=6)
    cells = CELLS.from_index(np.arange(0, 15_000, 500))
    for index, row in enumerate(cells):
        metrics = {"accuracy": 0.9 if index % 2 else 0.1, "epochs": 200.0 if index % 2 else 12.0}
        found.add([Trial(ask_index=index, genotype=tuple(row.tolist()), outcome=Outcome.OK, metrics=metrics)])
    inputs = Inputs(CELLS, found.fidelities)
    assert inputs.usable(["gaussian_process:pruned_graph", "xgboost:genes_graph", "graph"]) == ("xgboost:genes_graph",)
    assert inputs.usable(["graph"]) == ("graph",)
    name = "gaussian_process:pruned_graph"
    assert inputs.is_blind(name)
    blind = fitted_surrogate(found, PROBLEM, inputs, {("accuracy", name): make_predictor(name, inputs.space(name), seed=0)})
    assert [item["accuracy"].middle for item in blind.expectations(cells[:4])] == pytest.approx([0.9] * 4, abs=1e-6)
    assert inputs.full(cells, "gaussian_process:genes_graph")[:, -1].tolist() == [1] * len(cells)
    graph_space = inputs.space("xgboost:genes_graph")
    assert np.array_equal(
        graph_space.graphs(inputs.full(cells, "xgboost:genes_graph"), pruned=True).adjacency, CELLS.graphs(cells, pruned=True).adjacency
    )


def test_what_was_not_trained_counts_as_full() -> None:
    found = told()
    failed = Trial(ask_index=90, genotype=(0,) * len(KNOWN.space.decisions), outcome=Outcome.DIVERGED, metrics={"epochs": 1.0})
    found.add([failed])
    inputs = Inputs(KNOWN.space, found.fidelities)
    assert inputs.rungs(found).tolist() == [1 if index % 3 == 0 else 0 for index in range(len(found) - 1)] + [1]


def test_a_search_by_rungs_goes_on_from_its_state() -> None:
    def made() -> PredictorGuided:
        return PredictorGuided(KNOWN.space, KNOWN.problem, seed=2, initial=12, batch=6)

    def tell(searcher: PredictorGuided, asked: Genotypes, first: int) -> None:
        searcher.tell([trial(first + index, row, epochs=9 if index % 3 == 0 else 1) for index, row in enumerate(asked)])

    original, copy = made(), made()
    tell(original, original.ask(12), 0)
    second = original.ask(6)
    copy.load_state_dict(json.loads(json.dumps(original.state_dict())))
    for searcher in (original, copy):
        tell(searcher, second, 12)
    assert np.array_equal(original.ask(6), copy.ask(6))


def test_epochs_that_are_all_the_same_change_nothing() -> None:
    plain, same = (PredictorGuided(KNOWN.space, KNOWN.problem, seed=2, initial=12, batch=6) for _ in range(2))
    first = plain.ask(12)
    assert np.array_equal(first, same.ask(12))
    plain.tell([KNOWN.trial(index, row) for index, row in enumerate(first)])
    same.tell([trial(index, row, epochs=9) for index, row in enumerate(first)])
    assert np.array_equal(plain.ask(6), same.ask(6))
