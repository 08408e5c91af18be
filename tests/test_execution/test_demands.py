"""What a study needs against what a cluster has or may get."""

import pytest

from paretune.core.errors import BadInput, ClusterLost
from paretune.platform.execution.capacity import node_types
from paretune.platform.execution.demands import ClusterFacts, Demand, Node, check_demands, training_slots
from paretune.platform.execution.device_resources import DeviceChoice, DeviceResources
from paretune.platform.execution.waiting import RoomWatch
from paretune.platform.spec.load import spec_from_mapping
from paretune.platform.study.staffing import Posts, plan_staffing

CPU, GPU = Node(resources={"CPU": 4.0}), Node(resources={"CPU": 8.0, "GPU": 2.0})
EDGE = Node(resources={"edge_pi4": 2.0}, labels={"device": "pi4"})
TRAINING = Demand(name="training", resources={"CPU": 1.0})
HALF = Demand(name="training", resources={"CPU": 1.0, "GPU": 0.5})
PI4 = Demand(name="pi4", resources={"edge_pi4": 1.0})
AUTOSCALER = {
    "max_workers": 6,
    "available_node_types": {
        "head": {"resources": {"CPU": 1}, "max_workers": 0},
        "edge": {"resources": {"edge_pi4": 2}, "max_workers": 3},
        "cpu": {"resources": {"CPU": 2}},
    },
}


def test_slots_are_what_fits_each_node() -> None:
    cluster = ClusterFacts(nodes=(CPU, GPU, EDGE))
    assert training_slots(TRAINING, cluster) == 12
    assert training_slots(HALF, cluster) == 4
    assert training_slots(Demand(name="training", resources={"CPU": 3.0}), cluster) == 3  # 1 + 2, though 12 processors are 4 times 3
    assert check_demands([TRAINING, HALF, PI4], cluster) == []


@pytest.mark.parametrize(
    ("needed", "told"),
    [
        (Demand(name="training", resources={"CPU": 9.0}), "training needs 9 CPU on one node; the largest node has 8"),
        (Demand(name="pi5", resources={"edge_pi5": 1.0}), "no node has 'edge_pi5'. Did you mean 'edge_pi4'?"),
        (Demand(name="pi4", resources={"edge_pi4": 1.0}, labels={"device": "pi5"}), "ray start --labels=device=pi5"),
        (Demand(name="training", resources={"CPU": 1.0, "edge_pi4": 1.0}), "no single node has all of it"),
    ],
)
def test_what_no_node_has_is_refused_with_the_nearest_thing(needed: Demand, told: str) -> None:
    with pytest.raises(BadInput) as caught:
        check_demands([TRAINING, needed], ClusterFacts(nodes=(CPU, GPU, EDGE)))
    assert told in str(caught.value)


def test_two_targets_on_fewer_devices_are_refused() -> None:
    demands = [PI4, Demand(name="energy", resources={"edge_pi4": 1.0}, count=2)]
    with pytest.raises(BadInput, match="pi4 and energy need 3 edge_pi4 together; the cluster has 2, so one would wait for ever"):
        check_demands(demands, ClusterFacts(nodes=(EDGE,)))


def test_what_an_autoscaler_may_bring_is_waited_for_and_the_rest_refused() -> None:
    cluster = ClusterFacts(nodes=(Node(resources={"CPU": 1.0}),), node_types=node_types(AUTOSCALER), nodes_come=True)
    assert check_demands([TRAINING, PI4], cluster) == ["pi4 needs 1 edge_pi4: no node has it now; waiting for the autoscaler"]
    assert training_slots(TRAINING, cluster) == 12  # what 6 nodes of 2 processors have room for: so many the autoscaler must see
    with pytest.raises(BadInput, match="no node has 'analog'"):
        check_demands([Demand(name="drift", resources={"analog": 1.0})], cluster)


def test_without_sight_of_the_node_types_everything_is_waited_for_where_the_user_says_that_nodes_come() -> None:
    blind = ClusterFacts(nodes=(), nodes_come=True)
    assert len(check_demands([TRAINING, PI4], blind)) == 2
    assert training_slots(TRAINING, blind) == 4


def spec_with(hardware: dict[str, object], run: dict[str, object]) -> dict[str, object]:
    return {
        "version": 1,
        "name": "s",
        "seed": 1,
        "task": {"name": "digits"},
        "space": {"name": "digits_conv"},
        "hardware": hardware,
        "objectives": [{"metric": "accuracy", "goal": "max", "reference": 0.5}],
        "budget": {"trials": 4},
        "training": {"epochs": 1},
        "run": run,
    }


def test_a_study_takes_tags_for_devices_and_shares_of_gpus_for_training() -> None:
    hardware = {"pi4": {"kind": "remote", "tag": "edge_pi4", "count": 2, "labels": {"device": "pi4"}}, "here": {"kind": "host"}}
    run = {"resources": {"training": {"cpu": 2, "gpu": 0.5, "or_cpu": True}}}
    staffing = plan_staffing(spec_from_mapping(spec_with(hardware, run)).spec, ("pi4", "here"))
    assert staffing.devices["pi4"].resources == DeviceResources(processors=0, tag="edge_pi4", labels={"device": "pi4"})
    local = staffing.local(8)
    assert (local.num_cpus, local.tags) == (7, {"edge_pi4": 2.0})  # three candidates of two processors, one for `here`
    with_gpu = staffing.posts(ClusterFacts(nodes=(GPU, EDGE)))
    assert (with_gpu.slots, with_gpu.per_candidate) == (3, {"CPU": 2.0, "GPU": 0.5})
    without = staffing.posts(ClusterFacts(nodes=(CPU, EDGE)))
    assert (without.slots, without.per_candidate) == (1, {"CPU": 2.0})
    assert without.notes == ("no node has a GPU: training on processors, as run.resources.training.or_cpu allows",)


def test_a_gpu_that_is_needed_is_not_done_without() -> None:
    run = {"resources": {"training": {"gpu": 1}}}
    staffing = plan_staffing(spec_from_mapping(spec_with({}, run)).spec, ())
    with pytest.raises(BadInput, match="training needs 1 CPU, 1 GPU on one node; no node has 'GPU'"):
        staffing.posts(ClusterFacts(nodes=(CPU,)))


def test_a_target_on_a_gpu_has_its_own_beside_training() -> None:
    def posts(gpu: float, *nodes: Node, **training: object) -> Posts:
        run = {"resources": {"training": {"gpu": gpu, **training}}}
        hardware = {"cuda": {"kind": "host", "processor": "cuda"}}
        return plan_staffing(spec_from_mapping(spec_with(hardware, run)).spec, ("cuda",)).posts(ClusterFacts(nodes=nodes))

    one = Node(resources={"CPU": 8.0, "GPU": 1.0})
    for gpu, together in ((1, "2"), (0.5, "1.5")):
        with pytest.raises(
            BadInput, match=f"training and cuda need {together} GPU together; the cluster has 1, so one would wait for ever"
        ):
            posts(gpu, one)
    assert posts(0, one).slots == 7
    assert (posts(1, GPU).slots, posts(0.5, GPU).slots, posts(0.5, GPU, one).slots) == (1, 2, 4)
    on_processors = posts(1, one, or_cpu=True)
    assert (on_processors.slots, on_processors.per_candidate) == (7, {"CPU": 1.0})
    assert on_processors.notes == ("targets take the GPUs: training on processors, as run.resources.training.or_cpu allows",)


def test_more_workers_than_there_are_gpus_left_would_starve_a_target() -> None:
    run = {"workers": 4, "resources": {"training": {"gpu": 0.5}}}
    spec = spec_from_mapping(spec_with({"cuda": {"kind": "host", "processor": "cuda"}}, run)).spec
    assert plan_staffing(spec, ("cuda",)).posts(ClusterFacts(nodes=(GPU,))).slots == 2
    assert plan_staffing(spec, ("cuda",)).posts(ClusterFacts(nodes=(GPU,), nodes_come=True)).slots == 4


def test_each_of_several_devices_has_its_own_address() -> None:
    options = {"addresses": ("127.0.0.1:1", "127.0.0.1:2"), "threads": 4}
    pair = DeviceChoice(kind="remote", options=options, resources=DeviceResources(processors=0), count=2)
    assert pair.options_of(1) == {"addresses": ("127.0.0.1:2",), "threads": 4}
    alone = DeviceChoice(kind="remote", options=options, resources=DeviceResources(processors=0))
    assert alone.options_of(0) == options


class Cluster:
    """A cluster whose nodes come and go as a test says, and its clock."""

    def __init__(self, *, nodes_come: bool = False) -> None:
        self.now_s, self.nodes, self.nodes_come = 100.0, (CPU,), nodes_come
        self.said: list[str] = []

    def facts(self) -> ClusterFacts:
        return ClusterFacts(nodes=self.nodes, nodes_come=self.nodes_come)

    def watch(self) -> RoomWatch:
        return RoomWatch(TRAINING, self.facts, patience_s=120.0, say=self.said.append, clock=lambda: self.now_s)

    def wait(self, watch: RoomWatch, seconds: int) -> None:
        for _ in range(seconds):
            self.now_s += 1.0
            watch.look()


def test_while_no_node_can_train_it_is_said_now_and_then_and_forgotten_when_one_joins() -> None:
    cluster = Cluster()
    watch = cluster.watch()
    cluster.wait(watch, 60)
    assert cluster.said == []
    cluster.nodes = ()
    cluster.wait(watch, 100)
    assert cluster.said[0] == "no node can train (1 CPU on one node): waiting for a node to join since 10 s"
    assert len(cluster.said) == 2
    cluster.nodes = (GPU,)
    cluster.wait(watch, 60)
    cluster.nodes = ()
    cluster.wait(watch, 100)  # counted anew
    assert len(cluster.said) == 4


def test_without_an_autoscaler_waiting_for_nodes_ends_and_with_one_it_does_not() -> None:
    cluster = Cluster()
    watch = cluster.watch()
    cluster.nodes = ()
    with pytest.raises(ClusterLost, match=r"no node that is left can train .1 CPU on one node., also after waiting 120 s"):
        cluster.wait(watch, 200)
    scaled = Cluster(nodes_come=True)
    watch = scaled.watch()
    scaled.nodes = ()
    scaled.wait(watch, 10_000)
    assert "waiting for the autoscaler" in scaled.said[-1]
