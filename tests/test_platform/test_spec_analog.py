"""Analog targets in a spec: every mistake before anything trains, with its place; what a study knows of them."""

from pathlib import Path

import pytest

from paretune.core.errors import SpecError
from paretune.platform.spec import load_text
from paretune.platform.spec.compare import spec_changes
from paretune.platform.study.phases import protocol_digest
from paretune.platform.study.plan import Plan, build_plan

TEXT = """\
version: 1
name: analog
seed: 1
task: {name: digits}
space: {name: resnet_analog, stem_kernel: 5}
hardware:
  chip: {target: hermes}
  tiles:
    kind: analog
    preset: reram
    times_s: [1s, 1d, 2d]
    programmings: 3
objectives:
  - {metric: tiles.accuracy_1d, goal: max, reference: 0.5}
  - {metric: chip.energy_uj, goal: min, reference: 20}
constraints:
  - {metric: tiles.avm, max: 0.1}
budget: {trials: 4}
training: {epochs: 2, hardware_aware: tiles}
tracking: {uri: none}
"""


def plan(*changes: tuple[str, str]) -> Plan:
    text = TEXT
    for old, new in changes:
        assert old in text
        text = text.replace(old, new, 1)
    return build_plan(load_text(text, file="study.yaml"))


def problems(*changes: tuple[str, str]) -> dict[str, tuple[int, str]]:
    with pytest.raises(SpecError) as caught:
        plan(*changes)
    return {problem.path: (problem.line, problem.message) for problem in caught.value.problems}


def test_metrics_of_the_times_can_be_objectives_and_limits() -> None:
    found = plan()
    assert [item.metric for item in found.problem.objectives] == ["tiles.accuracy_1d", "chip.energy_j"]
    assert {"tiles.accuracy_1s", "tiles.deviation_2d", "tiles.avm", "tiles.digital_accuracy"} <= found.metrics.keys()
    assert found.metrics["tiles.avm"].source == "simulated: reram tiles, 3 programmings, engine paretune"
    assert not found.metrics["tiles.avm"].free
    assert not [note for note in found.notes if "for the record only" in note]


def test_a_target_that_races_also_tells_how_many_programmings_ran() -> None:
    racing = plan(("programmings: 3", "programmings: 6\n    racing: true\n    racing_confidence: 0.9"))
    assert racing.metrics["tiles.programmings"].upper == 6
    assert racing.metrics["tiles.avm"].source == "simulated: reram tiles, up to 6 programmings, engine paretune"
    assert protocol_digest(racing) != protocol_digest(plan(("programmings: 3", "programmings: 6")))
    found = problems(("programmings: 3", "programmings: 3\n    racing: true\n    racing_confidence: 95"))
    assert found["hardware.tiles.programmings"][0] == 12
    assert found["hardware.tiles.racing_confidence"] == (14, "must be above 0.5 and below 1; got 95.0")


def test_what_another_target_measures_cannot_be_raced_for_and_a_note_says_so() -> None:
    racing = ("programmings: 3", "programmings: 6\n    racing: true\n  more: {kind: host}")
    found = plan(racing, ("{metric: chip.energy_uj, goal: min, reference: 20}", "{metric: more.latency_ms, goal: min, reference: 20}"))
    assert "hardware.tiles: objective 'more.latency_s' is measured elsewhere, so racing stops only what misses a limit" in found.notes
    assert not any("racing" in note for note in plan(racing).notes)


def test_mistakes_of_several_targets_are_told_at_once_with_their_lines() -> None:
    found = problems(
        ("times_s: [1s, 1d, 2d]", "times_s: [-1, 1h, 1s]"),
        ("programmings: 3", "rows: 4\n  more:\n    kind: analog\n    rows: 4"),
        ("hardware_aware: tiles", "hardware_aware: chip"),
    )
    assert found["hardware.tiles.times_s[0]"] == (11, "must be a finite number of at least 0; got -1.0")
    assert found["hardware.tiles.times_s[1]"][1].startswith("preset 'reram' has no model at 3600 s; it was measured at 1, 86400")
    assert found["hardware.tiles.times_s[2]"] == (11, "must ascend; got -1, 3600, 1")
    assert found["hardware.more.rows"] == (15, "a tile must hold at least a row of the kernel (5); got 4")
    assert found["training.hardware_aware"] == (22, "networks cannot be trained for 'chip' (kind crossbar); name one of kind analog")


@pytest.mark.parametrize(
    ("old", "new", "path", "words"),
    [
        ("preset: reram", "preset: reramm", "hardware.tiles.preset", "Did you mean 'reram'?"),
        ("programmings: 3", "programings: 3", "hardware.tiles.programings", "Did you mean 'programmings'?"),
        ("accuracy_1d, goal", "accuracy_1h, goal", "objectives[0].metric", "Did you mean 'tiles.accuracy_1s'"),
        ("hardware_aware: tiles", "hardware_aware: tile", "training.hardware_aware", "Did you mean 'tiles'?"),
        ("hardware_aware: tiles", "analog_update: true", "training.analog_update", "needs the target whose devices train"),
        ("[1s, 1d, 2d]", "[]", "hardware.tiles.times_s", "must name at least one time"),
    ],
)
def test_a_mistake_is_told_at_its_field(old: str, new: str, path: str, words: str) -> None:
    assert words in problems((old, new))[path][1]


def test_a_task_that_looks_results_up_cannot_be_judged_on_tiles(tmp_path: Path) -> None:
    table = tmp_path / "table.csv"
    table.write_text("first_width,main_blocks,accuracy\n8,1,0.9\n")
    task = f'{{name: table, file: "{table}", metrics: {{accuracy: {{column: accuracy, goal: max}}}}}}'
    found = problems(("task: {name: digits}", f"task: {task}"), (", stem_kernel: 5", ""))
    assert found["training.hardware_aware"][1] == "task 'table' cannot train for hardware (trained_for); leave it out"


def test_what_the_training_knows_of_the_target_is_part_of_the_protocol() -> None:
    aware, digital, other = plan(), plan((", hardware_aware: tiles", "")), plan(("programmings: 3", "programmings: 4"))
    assert len({protocol_digest(item) for item in (aware, digital, other)}) == 3
    assert protocol_digest(aware) == protocol_digest(plan(("epochs: 2", "epochs: 3")))  # epochs are part of each job
    (change,) = spec_changes(aware.spec, digital.spec)
    assert (change.path, change.allowed) == ("training.hardware_aware", False)
