"""A candidate in stages: what each stage leaves behind, and who picks it up; trained networks on devices of our own, in this process."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from paretune.core.errors import DeviceError
from paretune.core.metrics import Direction, Metric
from paretune.core.protocols import Fidelity, Measurement
from paretune.core.trial import Outcome
from paretune.hardware.free import FreeCosts
from paretune.platform.execution.candidate_costs import CandidateCosts
from paretune.platform.execution.evaluator import StagedEvaluator, evaluate_here
from paretune.platform.execution.pool import DEATHS, Pool, Seat
from paretune.platform.execution.stations import Answer, DeviceFault, Ended, Lost, Stations
from paretune.platform.execution.worker import Worker, WorkerLimits, workspace_path
from paretune.platform.record.jobs import Awaiting, Evaluation, Job, JobFactory, Purpose
from paretune.platform.record.parts import TRAINING, part_path, read_part
from paretune.platform.record.results import result_path
from paretune.spaces.digits_conv import DigitsConv
from paretune.tasks.digits import Digits

SPACE = DigitsConv(input_shape=(1, 8, 8), num_classes=10, stages=1)
FACTORY = JobFactory(study_seed=1, protocol="p", search_epochs=1, final_epochs=1)
GENOTYPE = (0,) * len(SPACE.decisions)
SEARCH = FACTORY.search(ask_index=0, genotype=GENOTYPE, choices={"width": 8})
FINAL = FACTORY.final(ask_index=0, genotype=GENOTYPE, choices={"width": 8}, seed_index=0)


class Scale:
    """A device whose measurement follows from the weights, so that it shows which network it was given."""

    def __init__(self, *, faults: int = 0) -> None:
        self.faults, self.calls = faults, 0
        self.metrics = (Metric(name="latency_s", unit="s", direction=Direction.MIN, lower=0.0),)

    def measure(self, network: Any, example_shape: tuple[int, ...]) -> Measurement:
        self.calls += 1
        if self.calls <= self.faults:
            raise DeviceError("it is busy")
        assert not network.training
        weight = sum(float(parameter.detach().double().abs().sum()) for parameter in network.parameters())
        return Measurement(values={"latency_s": weight}, details={"shape": list(example_shape)})


def staged(*targets: str) -> StagedEvaluator:
    task = Digits()
    latencies = [Metric(name=f"{target}.latency_s", unit="s", direction=Direction.MIN, lower=0.0) for target in targets]
    produced = {metric.name: metric for metric in (*task.metrics, *latencies, *FreeCosts().metrics)}
    return StagedEvaluator(costs=CandidateCosts(SPACE, {}), task=task, produced=produced, targets=targets)


@pytest.fixture
def worker(tmp_path: Path) -> Callable[..., Worker]:
    """Makes workers, as if each were on another machine."""
    return lambda *targets: Worker(staged(*targets), tmp_path, WorkerLimits())


def test_a_candidate_is_trained_here_and_measured_there(worker: Callable[..., Worker], tmp_path: Path) -> None:
    assert worker("pi4", "orin").run(SEARCH) == Awaiting(targets=("pi4", "orin"))
    assert not result_path(tmp_path, SEARCH.id).exists()
    scale = Scale()
    assert worker("pi4", "orin").measure(SEARCH, "orin", scale, {"device": "orin#2"}) == Awaiting(targets=("pi4",))
    assert worker("pi4", "orin").run(SEARCH) == Awaiting(targets=("pi4",))  # nothing is trained again
    ended = worker("pi4", "orin").measure(SEARCH, "pi4", scale)
    assert isinstance(ended, Evaluation)
    assert ended.outcome is Outcome.OK
    assert scale.calls == 2
    assert ended.metrics["pi4.latency_s"] == ended.metrics["orin.latency_s"]
    stages = ended.details["stages"]
    assert list(stages) == ["training", "pi4", "orin"]
    assert stages["orin"]["device"] == "orin#2"
    assert ended.duration_s == pytest.approx(sum(stage["busy_s"] for stage in stages.values()))
    assert json.loads(result_path(tmp_path, SEARCH.id).read_text())["body"] == ended.as_json()
    assert not workspace_path(tmp_path, SEARCH.id).exists()
    assert worker("pi4", "orin").run(SEARCH) == Evaluation.from_json(ended.as_json())


def test_devices_get_the_network_that_was_trained(worker: Callable[..., Worker], tmp_path: Path) -> None:
    network, _ = Digits().train(lambda: SPACE.build(GENOTYPE), seed=SEARCH.seed, fidelity=Fidelity(epochs=1))
    worker("pi4").run(SEARCH)
    ended = worker("pi4").measure(SEARCH, "pi4", Scale())
    assert isinstance(ended, Evaluation)
    assert ended.metrics["pi4.latency_s"] == Scale().measure(network, ()).values["latency_s"]


def test_a_device_that_fails_leaves_the_candidate_trained(worker: Callable[..., Worker], tmp_path: Path) -> None:
    worker("pi4").run(SEARCH)
    scale = Scale(faults=1)
    with pytest.raises(DeviceError, match="it is busy"):
        worker("pi4").measure(SEARCH, "pi4", scale)
    assert worker("pi4").run(SEARCH) == Awaiting(targets=("pi4",))
    assert isinstance(worker("pi4").measure(SEARCH, "pi4", scale), Evaluation)


@pytest.mark.parametrize("damage", ["weights", "part"])
def test_what_a_disk_damaged_is_trained_from_the_checkpoint_again(worker: Callable[..., Worker], tmp_path: Path, damage: str) -> None:
    worker("pi4").run(SEARCH)
    workspace = workspace_path(tmp_path, SEARCH.id)
    path = workspace / "trained" / "weights.safetensors" if damage == "weights" else part_path(workspace, TRAINING)
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(data)
    lost = worker("pi4").measure(SEARCH, "pi4", Scale())
    assert isinstance(lost, Evaluation)
    assert lost.outcome is Outcome.STORAGE_ERROR
    assert not lost.outcome.teaches  # so the phase tries it again
    assert worker("pi4").run(SEARCH) == Awaiting(targets=("pi4",))
    assert isinstance(worker("pi4").measure(SEARCH, "pi4", Scale()), Evaluation)


def test_a_final_network_is_tested_where_it_is_trained_and_exported_at_the_end(worker: Callable[..., Worker], tmp_path: Path) -> None:
    assert FINAL.purpose is Purpose.FINAL
    worker("pi4").run(FINAL)
    part = read_part(workspace_path(tmp_path, FINAL.id), TRAINING, FINAL.id)
    assert part is not None
    assert set(part["test"]) == {"test.accuracy"}
    ended = worker("pi4").measure(FINAL, "pi4", Scale())
    assert isinstance(ended, Evaluation)
    assert ended.metrics["test.accuracy"] == part["test"]["test.accuracy"]
    exported = workspace_path(tmp_path, FINAL.id) / "network" / "network.json"
    assert json.loads(exported.read_text())["metadata"]["metrics"] == dict(ended.metrics)
    assert [left.name for left in workspace_path(tmp_path, FINAL.id).iterdir()] == ["network"]


def test_with_every_device_at_hand_one_process_does_all(tmp_path: Path) -> None:
    found = evaluate_here(staged("pi4", "orin"), SEARCH, tmp_path, {"pi4": Scale(), "orin": Scale()})
    assert found.outcome is Outcome.OK
    assert found.metrics["pi4.latency_s"] > 0


class Crew:
    """Processes that answer when a test says so."""

    def __init__(self) -> None:
        self.asked: list[tuple[Seat, Job, Mapping[str, Any]]] = []
        self.ended: list[str] = []
        self._news: list[Answer] = []

    def start(self, target: str, seat: Seat) -> None:
        self._news.append(Answer(seat=seat))

    def ask(self, seat: Seat, job: str, facts: Mapping[str, Any]) -> None:
        self.asked.append((seat, Job.from_json(json.loads(job)), facts))

    def end(self, seat: Seat) -> None:
        self.ended.append(seat.name)

    def answers(self, timeout_s: float) -> list[Answer]:
        news, self._news = self._news, []
        return news

    def say(self, value: Any) -> None:
        self._news.append(Answer(seat=self.asked.pop(0)[0], value=value))

    def die(self, *, of_node: bool) -> None:
        self._news.append(Answer(seat=self.asked.pop(0)[0], death="gone", of_node=of_node))


def stations_of(crew: Crew, **counts: int) -> Stations:
    return Stations({name: Pool(name, count=count, patience_s=60.0) for name, count in counts.items()}, crew)


def look_twice(stations: Stations) -> list[Ended]:
    """News of processes that are up first lead to questions."""
    return [*stations.look(), *stations.look()]


OK = Evaluation(outcome=Outcome.OK)


def test_a_candidate_ends_with_its_last_measurement_whatever_the_order() -> None:
    crew = Crew()
    stations = stations_of(crew, pi4=1, orin=1)
    stations.submit(SEARCH, ("pi4", "orin"))
    assert look_twice(stations) == []
    assert sorted(seat.name for seat, _, _ in crew.asked) == ["orin", "pi4"]
    crew.say(Awaiting(targets=("orin",)))
    assert stations.look() == []
    assert stations.num_jobs == 1
    crew.say(OK)
    assert stations.look() == [(SEARCH.id, OK)]
    assert stations.num_jobs == 0


def test_a_part_that_is_lost_on_the_way_is_measured_again() -> None:
    crew = Crew()
    stations = stations_of(crew, pi4=1)
    stations.submit(SEARCH, ("pi4",))
    look_twice(stations)
    crew.say(Awaiting(targets=("pi4",)))
    assert stations.look() == []
    crew.say(OK)
    assert stations.look() == [(SEARCH.id, OK)]


def test_a_candidate_that_its_only_device_refuses_is_lost_to_the_device() -> None:
    crew = Crew()
    stations = stations_of(crew, pi4=1)
    stations.submit(SEARCH, ("pi4",))
    look_twice(stations)
    crew.say(DeviceFault(reason="too noisy", gone=False))
    assert stations.look() == [(SEARCH.id, Lost(outcome=Outcome.DEVICE_ERROR, message="'pi4': pi4: too noisy"))]


def test_a_measurement_may_take_as_long_as_the_study_says_and_no_longer() -> None:
    crew, now_s = Crew(), [0.0]
    pool = Pool("analog", count=1, patience_s=60.0, clock=lambda: now_s[0])
    stations = Stations({"analog": pool}, crew, timeout_s=1200.0, clock=lambda: now_s[0])
    stations.submit(SEARCH, ("analog",))
    look_twice(stations)
    for _ in range(DEATHS):
        now_s[0] += 1199.0
        assert stations.look() == []
        now_s[0] += 2.0
        ended = stations.look()
        look_twice(stations)
    assert crew.ended == ["analog"] * DEATHS
    message = "'analog': it did not answer within 1200 s; run.trial_timeout lets it take longer"
    assert ended == [(SEARCH.id, Lost(outcome=Outcome.DEVICE_ERROR, message=message))]


def test_a_node_that_dies_costs_the_candidate_nothing() -> None:
    crew = Crew()
    stations = stations_of(crew, pi4=1)
    stations.submit(SEARCH, ("pi4",))
    look_twice(stations)
    for _ in range(5):
        crew.die(of_node=True)
        assert [*stations.look(), *look_twice(stations)] == []
    crew.say(OK)
    assert stations.look() == [(SEARCH.id, OK)]


def test_who_watches_hears_once_that_a_device_went_and_once_that_it_is_back() -> None:
    crew, said, now_s = Crew(), list[str](), [0.0]
    pool = Pool("pi4", count=1, patience_s=60.0, clock=lambda: now_s[0])
    stations = Stations({"pi4": pool}, crew, say=said.append, clock=lambda: now_s[0])
    stations.submit(SEARCH, ("pi4",))
    look_twice(stations)
    for _ in range(3):
        crew.say(DeviceFault(reason="nobody listens there", gone=True))
        look_twice(stations)
        now_s[0] += 6.0
        look_twice(stations)
    assert said == ["device pi4 measures nothing now, and is asked again while candidates wait: nobody listens there"]
    crew.say(OK)
    stations.look()
    assert said[1:] == ["device pi4 measures again"]


def test_who_watches_hears_of_a_device_that_takes_longer_than_it_ever_did() -> None:
    crew, said, now_s = Crew(), list[str](), [0.0]
    pool = Pool("pi4", count=1, patience_s=60.0, clock=lambda: now_s[0])
    stations = Stations({"pi4": pool}, crew, say=said.append, clock=lambda: now_s[0])

    def measure(duration_s: int) -> None:
        stations.submit(SEARCH, ("pi4",))
        look_twice(stations)
        for _ in range(duration_s):
            now_s[0] += 1.0
            stations.look()
        crew.say(OK)
        stations.look()

    measure(20)
    measure(55)
    assert said == []
    measure(290)
    assert [text.partition(" s ago")[0] for text in said] == [f"device pi4 has been asked {after_s}" for after_s in (166, 226, 286)]
    assert "given up after 300 s" in said[0]


def test_the_record_says_who_measured_and_who_was_in_quarantine() -> None:
    crew = Crew()
    stations = stations_of(crew, pi4=2)
    stations.submit(SEARCH, ("pi4",))
    look_twice(stations)
    crew.say(DeviceFault(reason="no answer", gone=True))
    look_twice(stations)
    look_twice(stations)
    [(seat, job, facts)] = crew.asked
    assert (seat.name, job) == ("pi4#2", SEARCH)
    assert facts["device"] == "pi4#2"
    assert facts["quarantined"] == {"pi4#1": "no answer"}
    assert crew.ended == ["pi4#1"]
