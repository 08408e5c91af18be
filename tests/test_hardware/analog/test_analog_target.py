"""Analog tiles as hardware of a study: what it measures, what it refuses, what it exports."""

import json
from dataclasses import replace
from typing import get_args

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from paretune.core.accuracy_devices import AccuracyDevice, LabelledExamples, TrainableHardware
from paretune.core.errors import BadOptions, DeviceError
from paretune.core.protocols import Measurement
from paretune.core.workload import Kind, Layer, WorkloadBatch
from paretune.hardware import HARDWARE
from paretune.hardware.analog.conversion import to_analog, to_digital
from paretune.hardware.analog.evaluator import evaluate
from paretune.hardware.analog.presets import HERMES, IDEAL, PRESETS, RRAM
from paretune.hardware.analog.target import Analog, PresetName
from paretune.hardware.analog.times import time_name
from paretune.hardware.analog.weight_statistics import weight_statistics
from paretune.testing.accuracy_device import check_accuracy_device

DAY_S, MONTH_S = 86_400.0, 2_592_000.0
Data = tuple[Tensor, Tensor, Tensor, Tensor]


def examples(digits: Data) -> LabelledExamples:
    return LabelledExamples(inputs=digits[2].numpy(), labels=digits[3].numpy())


def refused(**options: object) -> dict[tuple[str | int, ...], str]:
    with pytest.raises(BadOptions) as caught:
        HARDWARE.create("analog", **options)
    return dict(caught.value.problems)


def test_metrics_are_called_by_their_times() -> None:
    target = HARDWARE.create("analog", times_s=(1.0, 3600.0, DAY_S, MONTH_S))
    names = [metric.name for metric in target.metrics]
    assert [name for name in names if name.startswith("accuracy")] == ["accuracy_1s", "accuracy_1h", "accuracy_1d", "accuracy_30d"]
    assert "deviation_1d" in names
    assert names[-2:] == ["avm", "digital_accuracy"]
    assert isinstance(target, AccuracyDevice)
    assert isinstance(target, TrainableHardware)


@pytest.mark.parametrize(
    ("time_s", "name"),
    [(0, "0s"), (1, "1s"), (0.5, "0p5s"), (59, "59s"), (60, "1min"), (90, "90s"), (5400, "90min"), (36 * 3600, "36h"), (2 * DAY_S, "2d")],
)
def test_times_are_named_by_the_largest_unit_that_fits(time_s: float, name: str) -> None:
    assert time_name(time_s) == name


def test_every_preset_can_be_named_and_has_times() -> None:
    assert sorted(get_args(PresetName)) == sorted(PRESETS)
    assert Analog(preset="reram").times_s == (1.0, DAY_S, 2 * DAY_S)  # those it was measured at
    assert all(Analog(preset=name).times_s for name in get_args(PresetName))


def test_all_mistakes_are_told_at_once_each_at_its_option() -> None:
    found = refused(preset="reram", times_s=(-1.0, 3600.0, 1.0), programmings=1, rows=0, adc_bits=1, weight_noise=-0.1, batch=0)
    assert found.keys() == {("times_s", 0), ("times_s", 1), ("times_s", 2), *((name,) for name in ("programmings", "rows", "adc_bits"))} | {
        ("weight_noise",),
        ("batch",),
    }
    assert found["times_s", 0] == "must be a finite number of at least 0; got -1.0"
    assert "preset 'reram' has no model at 3600 s; it was measured at 1, 86400, 172800 s only" in found["times_s", 1]
    assert "must ascend" in found["times_s", 2]


def test_a_tile_smaller_than_a_row_of_a_kernel_or_a_group_is_refused() -> None:
    kernel = WorkloadBatch.from_layers([[Layer(kind=Kind.CONV, in_channels=4, out_channels=8, kernel=5)]])
    groups = WorkloadBatch.from_layers([[Layer(kind=Kind.CONV, in_channels=8, out_channels=8, kernel=3, groups=2)]])
    Analog(rows=5).check(kernel)
    with pytest.raises(Exception, match=r"^rows: a tile must hold at least a row of the kernel \(5\); got 4$"):
        Analog(rows=4).check(kernel)
    Analog(rows=36, columns=4).check(groups)  # 4 channels of 3 x 3 go into 4 outputs
    with pytest.raises(Exception, match=r"^rows: a tile must hold a group of a convolution \(36\)"):
        Analog(rows=35).check(groups)
    with pytest.raises(Exception, match=r"^columns: a tile must hold a group of a convolution \(4\)"):
        Analog(columns=3).check(groups)


def test_judging_is_the_drift_evaluation_on_all_threads_and_leaves_the_network_alone(convolutional: nn.Module, digits: Data) -> None:
    before = {name: tensor.clone() for name, tensor in convolutional.state_dict().items()}
    target = Analog(times_s=(1.0, DAY_S), programmings=3, seed=5)
    threads = torch.get_num_threads()
    found = []
    for count in (1, 2):
        torch.set_num_threads(count)
        found.append(target.judge(convolutional, examples(digits), calibration=digits[0].numpy()))
    torch.set_num_threads(threads)
    assert found[0] == found[1]
    report = evaluate(convolutional, HERMES, digits[2], digits[3], (1.0, DAY_S), 3, 5, calibration=digits[0])
    values, details = found[0].values, found[0].details
    assert values["accuracy_1d"] == report.means_T[1]
    assert values["deviation_1s"] == report.deviations_T[0]
    assert values["avm"] == report.avm
    assert (details["drift"]["1d"]["low"], details["drift"]["1d"]["high"]) == report.interval(DAY_S)
    assert (details["avm"]["low"], details["avm"]["high"]) == report.avm_interval()
    assert json.loads(json.dumps(details, allow_nan=False)) == details
    assert all(torch.equal(tensor, before[name]) for name, tensor in convolutional.state_dict().items())


@pytest.mark.parametrize("preset", ["hermes", "ideal"])
def test_analog_tiles_keep_the_contract(preset: str) -> None:
    check_accuracy_device(lambda: HARDWARE.create("analog", preset=preset, times_s=(1.0, DAY_S), programmings=2))


def test_tiles_that_race_keep_the_contract() -> None:
    check_accuracy_device(lambda: HARDWARE.create("analog", times_s=(1.0, DAY_S), programmings=4, racing=True))


class Moody(Analog):
    """Other noise each time."""

    def judge(self, network: nn.Module, examples: LabelledExamples, *, calibration: NDArray[np.float32]) -> Measurement:
        self._seed += 1
        return super().judge(network, examples, calibration=calibration)


class Silent(Analog):
    """Tells less than it promises."""

    def judge(self, network: nn.Module, examples: LabelledExamples, *, calibration: NDArray[np.float32]) -> Measurement:
        found = super().judge(network, examples, calibration=calibration)
        return replace(found, values={"avm": 0.0})


def test_the_contract_notices_hardware_that_judges_by_chance_or_keeps_no_promise() -> None:
    for kind, words in ((Moody, "not judged the same again"), (Silent, "metrics has")):
        with pytest.raises(AssertionError, match=words):
            check_accuracy_device(lambda kind=kind: kind(times_s=(1.0,), programmings=2, images=20))  # type: ignore[misc]


def test_all_candidates_see_the_same_part_of_the_images(digital: nn.Module, digits: Data) -> None:
    some = Analog(preset="ideal", times_s=(1.0,), programmings=2, images=100)
    marked = replace(examples(digits), labels=np.arange(len(digits[3])))  # no class: all wrong but by chance
    first, again = (some.judge(digital, shown, calibration=digits[0].numpy()) for shown in (examples(digits), examples(digits)))
    assert first.details["images"] == 100
    assert first == again
    assert some.judge(digital, marked, calibration=digits[0].numpy()).values["digital_accuracy"] < 0.1


def test_a_network_that_cannot_run_is_an_error_of_the_device(digits: Data) -> None:
    class Failing(nn.Linear):
        def forward(self, inputs: Tensor) -> Tensor:
            raise RuntimeError("cannot run")

    with pytest.raises(DeviceError, match="cannot run"):
        Analog().judge(nn.Sequential(nn.Linear(64, 4), Failing(4, 4)), examples(digits), calibration=digits[0].numpy())


def test_export_is_the_digital_network_with_its_preset_and_programmed_weights(convolutional: nn.Module, digits: Data) -> None:
    analog = to_analog(convolutional, HERMES).eval()
    target = Analog(times_s=(1.0, MONTH_S), programmings=4, seed=2)
    network, facts = target.export(analog)
    assert [type(module) for module in network.modules()] == [type(module) for module in convolutional.modules()]
    with torch.inference_mode():
        assert torch.equal(network(digits[2]), convolutional(digits[2]))
    assert network.state_dict().keys() == convolutional.state_dict().keys()
    assert json.loads(json.dumps(facts, allow_nan=False)) == facts
    assert facts["preset"]["name"] == "hermes"
    assert facts["preset"]["device"]["kind"] == "DriftingCell"
    assert facts["preset"]["device"]["g_max_siemens"] == HERMES.device.g_max_siemens
    first = facts["layers"][0]
    assert (first["layer"], first["tiles"], first["rows"]) == ("0", 1, [[0, 9]])
    assert first["input_ranges"] == [3.0]  # as it starts
    assert first["largest_weights"][0][0] == pytest.approx(convolutional[0].weight.abs().max().item())
    for layer in facts["layers"]:
        early, late = layer["programmed"]
        assert 0 < early["deviation"] < late["deviation"]  # the spread of the exponents is not compensated
        assert late["mean_gain"] > early["mean_gain"]


def test_without_noise_weights_are_programmed_as_asked(convolutional: nn.Module) -> None:
    exact = replace(RRAM, device=replace(RRAM.device, variation=0.0, on_off_ratio=1e9))
    for layer in weight_statistics(convolutional, exact, (1.0,), programmings=2, seed=0):
        assert layer["programmed"][0]["deviation"] < 1e-6
        assert abs(layer["programmed"][0]["mean_error"]) < 1e-6
    assert all("programmed" not in layer for layer in weight_statistics(convolutional, IDEAL, (1.0,), programmings=2, seed=0))


def test_deviation_of_programmed_weights_is_that_of_the_cells(digital: nn.Module) -> None:
    # Two cells make a weight; each varies by 10 % of its conductance, and the cell of the other sign is at g_max / 150.
    layer = weight_statistics(digital, RRAM, (1.0,), programmings=20, seed=0)[1]
    weights = digital[3].weight.detach().double()
    share = (weights / weights.abs().max()).abs()
    span = 1 - 1 / 150
    cells = torch.stack([share * span + 1 / 150, torch.full_like(share, 1 / 150)])
    expected = float(((0.1 * cells / span).square().sum(0)).mean().sqrt())
    assert layer["programmed"][0]["deviation"] == pytest.approx(expected, rel=0.05)


def test_taking_a_network_off_its_tiles_gives_back_every_layer() -> None:
    network = nn.Sequential(nn.Conv1d(2, 4, 3, padding=1, stride=2), nn.Conv1d(4, 4, 1, groups=2), nn.Flatten(), nn.Linear(16, 3))
    back = to_digital(to_analog(network, HERMES))
    assert [str(module) for module in back.modules()] == [str(module) for module in network.modules()]
    inputs = torch.randn(5, 2, 8)
    assert torch.equal(back(inputs), network(inputs))
    alone = nn.Linear(3, 2)
    assert torch.equal(to_digital(to_analog(alone, HERMES)).weight, alone.weight)
