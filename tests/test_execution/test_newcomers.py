"""Nodes that join while a study runs, as the driver keeps book of them; with real nodes in tests/faults/test_joining_nodes.py."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from paretune.core.trial import Outcome
from paretune.platform.execution.adapter import PhaseSearcher
from paretune.platform.execution.newcomers import Newcomers
from paretune.platform.execution.nodes import CODE, Expected, Misfit, NodeFacts, misfit
from paretune.platform.execution.placement import TrialPlacement, avoiding, trial_placement
from paretune.platform.execution.stations import NOBODY, Stations

SAME = {"paretune": "0.1.0", CODE: "abc", "python": "3.11.7", "torch": "2.12.1", "ray": "2.60.0", "numpy": "2.4.6"}
DRIVER = NodeFacts(address="10.0.0.1", resources={"CPU": 1.0}, versions=SAME, node_id="a1")
EXPECTED = Expected(driver=DRIVER, folder="/shared/runs/x", mark="/shared/runs/x/mark", checked=frozenset({"a1"}))


def joined(number: int, *, sees: bool = True, clock_s: float = 0.0, **versions: str) -> NodeFacts:
    return NodeFacts(
        address=f"10.0.0.{number}",
        resources={},
        versions={**SAME, **versions},
        node_id=f"b{number}",
        sees_storage=sees,
        clock_s=clock_s,
    )


def odd(number: int) -> Misfit:
    found = misfit(joined(number, torch="2.9.0"), EXPECTED)
    assert found is not None
    return found


def test_a_node_that_joins_is_told_of_as_at_the_start() -> None:
    assert misfit(joined(2, python="3.11.9"), EXPECTED) is None
    table = [line.split() for line in odd(2).told.splitlines()[1:-1]]
    assert table == [["torch"], ["10.0.0.1", "(driver)", "2.12.1"], ["10.0.0.2", "2.9.0"]]
    blind = misfit(joined(2, sees=False, clock_s=-40.0), EXPECTED)
    assert blind is not None
    assert "/shared/runs/x is not seen on 10.0.0.2" in blind.told
    assert "clocks disagree by more than 5 s with the driver's: 10.0.0.2 by -40.0 s" in blind.told


def test_each_node_is_told_of_once_and_after_three_in_a_row_no_other_is_believed_in() -> None:
    said: list[str] = []
    newcomers = Newcomers(EXPECTED, say=said.append)
    for number in (2, 2, 3, 2):
        newcomers.refuse(odd(number))
    assert [line.splitlines()[0] for line in said] == [
        f"node 10.0.0.{number} joined and does not fit, so nothing runs there:" for number in (2, 3)
    ]
    assert newcomers.refused == ("b2", "b3")
    assert not newcomers.hopeless
    newcomers.refuse(odd(4))
    assert newcomers.hopeless
    assert said[-1] == "3 nodes in a row do not fit: the study asks for no more nodes than there are"


def test_placements_differ_for_ray_and_not_for_tune() -> None:
    free, kept = TrialPlacement({"CPU": 1.0}), trial_placement({"avoid": "b2,b3"}, resources={"CPU": 1.0})
    assert (free == kept, hash(free) == hash(kept)) == (True, True)
    assert free != TrialPlacement({"CPU": 2.0})
    assert "bundle_label_selector" not in free._bound.kwargs
    assert kept._bound.arguments["bundle_label_selector"] == [{"ray.io/node-id": "!in(b2,b3)"}]
    assert avoiding(()) == {}


def test_a_candidate_that_met_a_node_that_does_not_fit_goes_on_elsewhere_at_no_cost(candidates: Callable[..., Any]) -> None:
    search = candidates(lambda job, workspace: {}, trials=1, retries=0)
    newcomers = Newcomers(EXPECTED, say=lambda _: None)
    searcher = PhaseSearcher(
        search.study.phase, segment=9, stations=Stations({}, NOBODY), backlog=9, newcomers=newcomers, places=lambda: None
    )
    first = searcher.suggest("t1")
    assert isinstance(first, dict)
    assert first["avoid"] == ""
    searcher.on_trial_complete("t1", {"misfit": json.dumps({"node_id": "b2", "address": "10.0.0.2", "told": "torch"})})
    assert searcher.leaving == {"t1"}
    second = searcher.suggest("t2")
    assert isinstance(second, dict)
    assert (second["job"], second["avoid"]) == (first["job"], "b2")
    (record,) = search.history.search_records()
    assert (record.lost_to, record.outcome) == ((Outcome.PREEMPTED,), None)


def test_no_more_trials_are_handed_out_than_there_may_be(candidates: Callable[..., Any]) -> None:
    search, places = candidates(lambda job, workspace: {}, trials=4), [None, 1]
    searcher = PhaseSearcher(search.study.phase, segment=9, stations=Stations({}, NOBODY), backlog=9, places=lambda: places[0])
    assert all(isinstance(searcher.suggest(name), dict) for name in ("t1", "t2"))
    places.pop(0)
    assert searcher.num_too_many == 1
    assert searcher.suggest("t3") is None
    searcher.trial_lost("t2", Outcome.PREEMPTED, "taken back")
    assert (searcher.num_too_many, searcher.suggest("t4")) == (0, None)
    searcher.trial_lost("t1", Outcome.PREEMPTED, "its node died")
    assert isinstance(searcher.suggest("t5"), dict)


@pytest.mark.ray
@pytest.mark.usefixtures("local_ray")
def test_ray_places_nothing_on_a_node_that_is_avoided() -> None:
    import ray

    here = ray.get_runtime_context().get_node_id()
    elsewhere, anywhere = (
        TrialPlacement({"CPU": 1.0}, [here]).to_placement_group(),
        TrialPlacement({"CPU": 1.0}, ["0" * 56]).to_placement_group(),
    )
    try:
        assert anywhere.wait(60)
        assert not elsewhere.wait(3)
    finally:
        ray.util.remove_placement_group(elsewhere)
        ray.util.remove_placement_group(anywhere)
