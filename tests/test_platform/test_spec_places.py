"""What a spec says of places on a cluster: tags, counts, labels, shares of nodes."""

from typing import Any

import pytest

from paretune.core.errors import SpecError
from paretune.platform.spec.compare import spec_changes
from paretune.platform.spec.load import load_text, spec_from_mapping
from paretune.platform.study.phases import protocol_digest
from paretune.platform.study.plan import build_plan

SPEC = """\
version: 1
name: places
seed: 1
task: {name: digits}
space: {name: digits_conv, stages: 1}
hardware:
  pi4: {kind: remote, addresses: ["127.0.0.1:7763"], HARDWARE}
  model: {kind: roofline, peak_flops_per_s: 1e9, bandwidth_bytes_per_s: 1e9MODEL}
objectives: [{metric: accuracy, goal: max, reference: 0.5}]
budget: {trials: 4}
training: {epochs: 1}
run: {resources: {training: {TRAINING}}}
"""


def spec_text(*, hardware: str = "count: 1", model: str = "", training: str = "cpu: 1") -> str:
    return SPEC.replace("HARDWARE", hardware).replace("MODEL", model).replace("TRAINING", training)


def problems(**parts: str) -> str:
    with pytest.raises(SpecError) as caught:
        build_plan(load_text(spec_text(**parts), file="s.yaml"))
    return str(caught.value)


@pytest.mark.parametrize(
    ("parts", "told"),
    [
        ({"hardware": "tag: GPU"}, "s.yaml:7:59: hardware.pi4.tag: 'GPU' is a resource that Ray has already"),
        ({"hardware": "tag: edge pi4"}, "hardware.pi4.tag: 'edge pi4' is no name of a resource"),
        ({"hardware": "count: 0"}, "hardware.pi4.count"),
        ({"training": "gpu: 1.5"}, "run.resources.training.gpu: 1.5 GPUs: a share of one, or whole ones"),
        ({"training": "cpu: 0"}, "run.resources.training.cpu: a candidate that takes nothing"),
    ],
)
def test_impossible_places_are_told_where_they_stand(parts: dict[str, str], told: str) -> None:
    assert told in problems(**parts)


def test_a_tag_belongs_to_devices_or_to_training() -> None:
    told = problems(hardware="tag: edge", training="tag: edge")
    assert "run.resources.training.tag: 'edge' belongs to the devices of 'pi4'" in told


def test_each_device_has_its_own_address_or_all_have_one() -> None:
    two = spec_text(hardware="count: 3").replace('["127.0.0.1:7763"]', '["127.0.0.1:7763", "127.0.0.1:7764"]')
    with pytest.raises(SpecError, match=r"hardware\.pi4\.count: 3 devices, but 2 addresses"):
        build_plan(load_text(two, file="s.yaml"))
    build_plan(load_text(spec_text(hardware="count: 3"), file="s.yaml"))


def test_what_computes_has_no_place() -> None:
    assert "hardware.model.tag: 'model' computes its costs and has no device" in problems(model=", tag: edge")


def test_where_devices_are_changes_no_result_and_may_change_on_resume() -> None:
    here = load_text(spec_text(), file="s.yaml")
    there = load_text(spec_text(hardware="tag: edge, count: 2, labels: {device: pi4}", training="cpu: 2, gpu: 0.5"), file="s.yaml")
    changes = spec_changes(here.spec, there.spec)
    assert {change.path.split(".")[-1] for change in changes} == {"tag", "count", "device", "cpu", "gpu"}
    assert all(change.allowed for change in changes)
    assert protocol_digest(build_plan(here)) == protocol_digest(build_plan(there))


def test_stored_specs_without_places_are_read_with_the_defaults() -> None:
    values: dict[str, Any] = {
        "version": 1,
        "name": "old",
        "seed": 1,
        "task": {"name": "digits"},
        "space": {"name": "digits_conv"},
        "hardware": {"host": {"kind": "host"}},
        "objectives": [{"metric": "accuracy", "goal": "max", "reference": 0.5}],
        "budget": {"trials": 4},
        "training": {"epochs": 1},
    }
    spec = spec_from_mapping(values).spec
    assert (spec.hardware["host"].tag, spec.hardware["host"].count) == (None, 1)
    assert spec.run.resources.training.cpu == 1.0
