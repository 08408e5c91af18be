"""A study against a cluster's file: what it needs is there, what would wait for ever is refused, what it costs."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from paretune.core.errors import SpecError
from paretune.platform.clusters.cost import estimate_cost
from paretune.platform.clusters.demands import TRAINING, Demand, refuse_unmet, settled, study_demands, unmet
from paretune.platform.clusters.model import Cluster, NodeType
from paretune.platform.spec.load import load_text
from paretune.platform.spec.template import template
from paretune.platform.study.plan import build_plan

HEAD = NodeType(name="head", resources={"CPU": 0.0}, min_nodes=1, max_nodes=1, price_per_hour=0.2, is_head=True)
CPU = NodeType(name="cpu", resources={"CPU": 16.0}, min_nodes=0, max_nodes=8, price_per_hour=0.68)
GPU = NodeType(name="gpu", resources={"CPU": 8.0, "GPU": 1.0}, min_nodes=0, max_nodes=2, price_per_hour=0.6)
ANALOG = NodeType(name="analog", resources={"CPU": 16.0, "analog": 4.0}, min_nodes=0, max_nodes=4, price_per_hour=0.4)
EDGE = NodeType(name="edge", resources={"CPU": 0.0, "edge_pi4": 1.0}, min_nodes=2, max_nodes=2, price_per_hour=0.0, hosts=("a", "b"))
CANDIDATE = Demand(what=TRAINING, resources={"CPU": 1.0}, loc=("run", "workers"))


def cluster(*types: NodeType, max_workers: int = 24) -> Cluster:
    return Cluster(
        file=Path("cluster.yaml"),
        name="c",
        provider="aws",
        node_types=(HEAD, *types),
        max_workers=max_workers,
        idle_timeout_s=300.0,
        currency="USD",
        storage="/shared/runs",
        ssh_user="",
        ssh_private_key="",
        values={},
    )


def asks(count: int = 1, **resources: float) -> Demand:
    return Demand(what="the device of 'pi4'", resources=resources, loc=("hardware", "pi4"), count=count)


@pytest.mark.parametrize(
    ("demand", "told"),
    [
        (asks(edge_pi4=1), None),
        (asks(CPU=16, analog=4), None),
        (asks(), None),
        (asks(edge_pi5=1), "no node type of cluster.yaml offers edge_pi5. Did you mean 'edge_pi4'? (CPU, GPU, analog, edge_pi4)"),
        (asks(CPU=32), "needs CPU 32 on one machine, more than any node type of cluster.yaml has"),
        (asks(CPU=1, edge_pi4=1), "edge has CPU 0, edge_pi4 1"),  # both tags exist, but on no machine together
        (asks(GPU=1, analog=1), "gpu has GPU 1, analog 0"),
        (
            asks(count=3, edge_pi4=1),
            "3 times edge_pi4 1 are asked for at the same time for the device of 'pi4'; cluster.yaml has room for 2",
        ),
    ],
)
def test_a_demand_that_no_machine_meets_is_told_with_what_there_is(demand: Demand, told: str | None) -> None:
    found = unmet(cluster(CPU, GPU, ANALOG, EDGE), demand)
    assert (found is None) if told is None else (found is not None and told in found)


def test_machines_that_are_there_do_not_count_against_those_that_may_be_started() -> None:
    assert unmet(cluster(CPU, EDGE, max_workers=1), asks(count=2, edge_pi4=1)) is None
    assert unmet(cluster(CPU, EDGE, max_workers=1), asks(count=17, CPU=1)) is not None  # one machine of 16


def test_what_a_study_needs_is_read_from_its_spec_and_refused_at_its_line() -> None:
    loaded = load_text(template(), file="study.yaml")
    demands = study_demands(build_plan(loaded))
    # A candidate takes a processor, and so does the actor that measures on the host.
    assert [(item.what, dict(item.resources)) for item in demands] == [(TRAINING, {"CPU": 1.0}), ("the device of 'host'", {"CPU": 1.0})]
    refuse_unmet(cluster(CPU), demands, loaded)
    with pytest.raises(SpecError) as caught:
        refuse_unmet(cluster(EDGE), demands, loaded)
    lines = template().splitlines()
    places = [(item.path, lines[item.line - 1].split(":")[0].strip()) for item in caught.value.problems]
    assert places == [("hardware.host", "host"), ("run.resources.training", "run")]


def test_tags_counts_and_labels_of_the_hardware_are_asked_for() -> None:
    text = template().replace("host: {kind: host,", "host: {kind: host, tag: edge_pi5, count: 3, labels: {room: lab},")
    loaded = load_text(text, file="study.yaml")
    _, device = study_demands(build_plan(loaded))
    assert (dict(device.resources), device.count, dict(device.labels)) == ({"edge_pi5": 1.0}, 3, {"room": "lab"})
    with pytest.raises(SpecError, match="needs a machine with the labels room=lab"):
        refuse_unmet(cluster(CPU, EDGE), [device], loaded)
    labelled = replace(EDGE, labels={"room": "lab"})
    with pytest.raises(SpecError, match=r"offers edge_pi5\. Did you mean 'edge_pi4'"):
        refuse_unmet(cluster(CPU, labelled), [device], loaded)


def test_a_candidate_that_may_do_without_a_gpu_is_planned_so_where_there_is_none() -> None:
    text = template().replace("workers: auto ", "resources: {training: {cpu: 2, gpu: 0.5, or_cpu: true}} ")
    demands = study_demands(build_plan(load_text(text, file="study.yaml")))
    assert dict(settled(cluster(CPU, GPU), demands)[0].resources) == {"CPU": 2.0, "GPU": 0.5}
    assert dict(settled(cluster(CPU), demands)[0].resources) == {"CPU": 2.0}


def test_cost_is_machines_for_the_time_of_all_trials_and_their_idle_timeout() -> None:
    # 64 candidates of 90 s, 32 at a time on 16 processors a machine: 2 machines, 2 x 90 s = 180 s;
    # each is paid for 180 + 300 s: 2 x 480 s = 0.2667 h x 0.68; the head for 180 s = 0.05 h x 0.2.
    found = estimate_cost(cluster(CPU, ANALOG), [CANDIDATE], num_trials=64, trial_s=90.0, workers=32)
    assert (found.slots, found.wall_s) == (32, 180.0)
    assert {line.node_type: (line.nodes, line.node_hours) for line in found.lines} == {
        "head": (1, pytest.approx(0.05)),
        "cpu": (2, pytest.approx(960 / 3600)),
    }
    assert found.total == pytest.approx(0.05 * 0.2 + 960 / 3600 * 0.68)


def test_a_candidate_goes_where_nothing_else_is_wasted_although_another_type_is_cheaper() -> None:
    # As Ray's autoscaler does: the analog machines cost less, but their tiles would lie idle.
    found = estimate_cost(cluster(ANALOG, CPU), [CANDIDATE], num_trials=8, trial_s=60.0)
    assert [line.node_type for line in found.lines] == ["head", "cpu"]


def test_devices_are_paid_for_all_the_time_and_share_a_machine_with_candidates_where_they_fit() -> None:
    device = Demand(what="the device of 'tile'", resources={"analog": 1.0}, loc=("hardware", "tile"))
    found = estimate_cost(cluster(CPU, ANALOG), [CANDIDATE, device], num_trials=16, trial_s=3600.0)
    hours = {line.node_type: line.node_hours for line in found.lines}
    assert hours == {"head": pytest.approx(1.0), "cpu": pytest.approx(1 + 300 / 3600), "analog": pytest.approx(1 + 300 / 3600)}


def test_without_a_price_there_is_no_total() -> None:
    unpriced = NodeType(name="cpu", resources={"CPU": 16.0}, min_nodes=0, max_nodes=8, price_per_hour=None)
    found = estimate_cost(cluster(unpriced), [CANDIDATE], num_trials=8, trial_s=60.0)
    assert (found.total, found.slots) == (None, 8)


def test_validate_with_a_study_prints_the_estimate(paretune: Callable[..., Any]) -> None:
    done = paretune("cluster", "validate", "cluster.yaml", "--spec", "studies/digits.yaml", "--trial-time", "2m")
    assert done.exit_code == 0
    assert "search: 64 candidates of 120 s each, 64 at a time: 0.03 h" in done.stdout
    assert "a candidate; the final training comes on top" in done.stdout
    refused = paretune("cluster", "validate", "cluster.yaml", "--spec", "studies/digits.yaml", "--trial-time", "soon")
    assert refused.exit_code == 2
    assert "--trial-time: " in refused.stderr
