"""Candidates on hardware designs: what they cost before anything runs, the gate, the ledger, and a search that is cut off."""

import pickle
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from paretune.core.costs import Designs, Estimates
from paretune.core.errors import BadInput, EvaluationError
from paretune.core.genotype import Genotypes, num_choices
from paretune.core.metrics import Direction, Metric
from paretune.core.objectives import Objective, Problem
from paretune.core.protocols import SearchSpace
from paretune.core.trial import Outcome
from paretune.core.workload import WorkloadBatch
from paretune.platform.execution.candidate_costs import CandidateCosts
from paretune.searchers import SEARCHERS
from paretune.spaces.digits_conv import DigitsConv
from paretune.testing.accelerator import MadeUpAccelerator
from paretune.testing.space import random_genotypes
from paretune.testing.studies import FormulaStudy, evaluate_in_any_order, open_formula_study

NETWORK = DigitsConv(input_shape=(1, 8, 8), num_classes=10)
PROBLEM = Problem(
    objectives=(
        Objective(metric="accuracy", direction=Direction.MAX, reference=0.5),
        Objective(metric="toy.latency_s", direction=Direction.MIN, reference=1e-1),
    )
)
TRIALS, IN_FLIGHT = 30, 3


def targets() -> dict[str, Any]:
    return {"toy": MadeUpAccelerator(search=("lanes", "depth"), multipliers=32), "small": MadeUpAccelerator(lanes=4, search=("memory",))}


def rows(space: SearchSpace, count: int = 30) -> Genotypes:
    return space.canonical(random_genotypes(space, count=count, seed=2))


def test_costs_of_many_are_those_of_each_alone() -> None:
    costs = CandidateCosts(NETWORK, targets())
    genotypes_ND = rows(costs.space)
    values = costs.values(genotypes_ND)
    assert set(values) == set(costs.metrics)
    for index in range(5):
        alone, _ = costs.of_candidate(tuple(genotypes_ND[index].tolist()))
        assert alone == pytest.approx({name: values_N[index] for name, values_N in values.items()})


def test_costs_of_a_target_are_those_of_its_model_on_its_own_decisions() -> None:
    costs = CandidateCosts(NETWORK, targets())
    genotypes_ND = rows(costs.space)
    lanes_N, depth_N, memory_N = genotypes_ND[:, -3:].T
    designs = {"lanes": np.array([4, 8, 16, 32])[lanes_N], "depth": np.array([1, 2, 4])[depth_N]}
    workloads = NETWORK.workloads(genotypes_ND[:, :-3])
    expected = MadeUpAccelerator(search=("lanes", "depth"), multipliers=32).estimate(workloads, designs)["latency_s"].values
    assert np.array_equal(costs.values(genotypes_ND)["toy.latency_s"], expected)
    memory = {"memory": np.array(["narrow", "wide"])[memory_N]}
    expected = MadeUpAccelerator(lanes=4, search=("memory",)).estimate(workloads, memory)["latency_s"].values
    assert np.array_equal(costs.values(genotypes_ND)["small.latency_s"], expected)


def test_excess_is_the_share_by_which_a_design_exceeds_its_resources() -> None:
    costs = CandidateCosts(NETWORK, targets())
    genotypes_ND = np.repeat(rows(costs.space, 1), 3, axis=0)
    genotypes_ND[:, -3], genotypes_ND[:, -2] = (2, 3, 3), (1, 1, 2)
    # 16 lanes x 2 = 32 of 32 multipliers; 32 x 2 = 64: twice as many; 32 x 4 = 128: four times.
    assert costs.values(genotypes_ND)["toy.excess"].tolist() == [0, 1, 3]


def test_details_hold_design_resources_source_deviation_and_bottlenecks() -> None:
    costs = CandidateCosts(NETWORK, targets())
    genotype = tuple(rows(costs.space, 1)[0, :-3].tolist())
    metrics, details = costs.of_candidate((*genotype, 1, 2, 0))
    toy = details["toy"]
    assert toy["design"] == {"lanes": 8, "depth": 4}
    assert toy["resources"] == {"multipliers": {"used": 32.0, "available": 32.0}}
    assert toy["source"] == toy["latency_s"]["source"] == "analytic"
    assert toy["energy_j"]["deviation"] == pytest.approx(0.1 * metrics["toy.energy_j"])
    shares = toy["latency_s"]["bottlenecks"]
    assert sum(shares.values()) == pytest.approx(1, abs=1e-3)
    assert set(shares) <= {"compute", "memory"}
    assert details["small"]["design"] == {"memory": "narrow"}


def test_share_of_a_bottleneck_is_that_of_its_layers_in_the_whole() -> None:
    costs = CandidateCosts(NETWORK, {"toy": MadeUpAccelerator(memory="narrow", lanes=32, depth=2)})
    genotype = tuple(rows(costs.space, 1)[0].tolist())
    found = MadeUpAccelerator(memory="narrow", lanes=32, depth=2).estimate(NETWORK.workloads(np.array([genotype])), {})["latency_s"]
    assert found.layers is not None
    by_hand = found.layers[found.layer_bottlenecks == "memory"].sum() / found.layers.sum()
    assert 0 < by_hand < 1
    _, details = costs.of_candidate(genotype)
    assert details["toy"]["latency_s"]["bottlenecks"]["memory"] == pytest.approx(by_hand, abs=1e-4)


class Encoded:
    """A predictor: reads encodings instead of layers."""

    metrics = (Metric(name="power_w", unit="w", direction=Direction.MIN, lower=0.0),)

    def space(self) -> tuple[()]:
        return ()

    def check(self, designs: Designs) -> Mapping[str, Any]:
        return {}

    def estimate_architectures(self, space: SearchSpace, genotypes_ND: Genotypes, designs: Designs) -> Mapping[str, Estimates]:
        means_N = space.encode(genotypes_ND).mean(axis=1)
        return {"power_w": Estimates(values=means_N, source="predicted", deviation=0.1 * means_N)}


def test_predictor_reads_the_architectures_and_not_the_designs() -> None:
    costs = CandidateCosts(NETWORK, {**targets(), "board": Encoded()})
    genotypes_ND = rows(costs.space)
    assert np.array_equal(costs.values(genotypes_ND)["board.power_w"], NETWORK.encode(genotypes_ND[:, :-3]).mean(axis=1))
    assert costs.sources(genotypes_ND)["board.power_w"] == "predicted"
    assert "board.excess" not in costs.metrics


class Broken(MadeUpAccelerator):
    """Gives what no network can cost."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def estimate(self, workloads: WorkloadBatch, designs: Designs) -> Mapping[str, Estimates]:
        found = dict(super().estimate(workloads, designs))
        found["latency_s"] = Estimates(values=found["latency_s"].values * self.factor, source="analytic")
        return found


@pytest.mark.parametrize("factor", [np.nan, np.inf, -1.0])
def test_impossible_value_is_refused_and_named(factor: float) -> None:
    costs = CandidateCosts(NETWORK, {"toy": Broken(factor)})
    with pytest.raises(EvaluationError, match=r"'toy\.latency_s' is -?(nan|inf|0\.0\d+)|'toy\.latency_s' is -\d"):
        costs.values(rows(costs.space))


def test_decision_of_a_taken_name_is_refused() -> None:
    costs = CandidateCosts(NETWORK, targets())
    with pytest.raises(BadInput, match=r"share a name: small\.memory, toy\.depth, toy\.lanes"):
        CandidateCosts(costs.space, targets())


def test_costs_travel_to_the_workers() -> None:
    costs = CandidateCosts(NETWORK, targets())
    genotypes_ND = rows(costs.space, 4)
    again = pickle.loads(pickle.dumps(costs))
    assert again.values(genotypes_ND)["toy.latency_s"].tolist() == costs.values(genotypes_ND)["toy.latency_s"].tolist()


def opened(folder: Path, name: str) -> FormulaStudy:
    make = lambda space, problem: SEARCHERS.create(name, space, problem, seed=5)  # noqa: E731 - as short as its name
    return open_formula_study(folder, space=NETWORK, make_searcher=make, trials=TRIALS, problem=PROBLEM, targets=targets())


@pytest.mark.parametrize("name", ["nsga2", "lemonade", "regularized_evolution"])
def test_search_over_designs_that_is_cut_off_ends_as_the_one_that_was_not(name: str, tmp_path: Path) -> None:
    whole = opened(tmp_path / "whole", name)
    assert evaluate_in_any_order(whole, random.Random(1), in_flight=IN_FLIGHT)
    rng, num_sessions = random.Random(2), 1
    while not evaluate_in_any_order(cut := opened(tmp_path / "cut", name), rng, in_flight=IN_FLIGHT, results=rng.randint(3, 12)):
        num_sessions += 1
    assert num_sessions > 2
    assert cut.front_json() == whole.front_json()
    recorded = [
        [(record.job.genotype, record.screened, dict(record.metrics)) for record in study.history.proposals()] for study in (cut, whole)
    ]
    assert recorded[0] == recorded[1]


def test_design_that_does_not_fit_is_recorded_infeasible_and_never_runs(tmp_path: Path) -> None:
    study = opened(tmp_path / "study", "random")
    assert evaluate_in_any_order(study, random.Random(1), in_flight=IN_FLIGHT)
    screened = [record for record in study.history.proposals() if record.screened]
    evaluated = [record for record in study.history.proposals() if not record.screened]
    assert len(evaluated) == TRIALS
    # 3 of 12 designs exceed 32 multipliers (32 x 2, 16 x 4, 32 x 4), so about a quarter of the proposals.
    assert 2 <= len(screened) <= TRIALS
    for record in screened:
        assert record.outcome is Outcome.INFEASIBLE
        lanes, depth = record.choices["toy.lanes"], record.choices["toy.depth"]
        assert study.history.problem.score(record.trial())[1] == pytest.approx(int(lanes) * int(depth) / 32 - 1)
        assert record.attempts == 0
    assert all(record.metrics["toy.excess"] == 0 for record in evaluated)
    assert all(num_choices(study.history.header.decisions)[-3:] == (4, 3, 2))
