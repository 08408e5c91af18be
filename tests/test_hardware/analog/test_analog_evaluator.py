"""Accuracy under drift: exact where the target is, repeatable, monotone, compensated; and what is refused."""

import copy
import os
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from paretune.core.errors import BadInput
from paretune.hardware.analog.conversion import after_each_step, analog_layers, calibrate, to_analog
from paretune.hardware.analog.drift_report import DriftReport, Race, half_width
from paretune.hardware.analog.evaluator import DriftEvaluator, evaluate
from paretune.hardware.analog.layout import Layout
from paretune.hardware.analog.norm_folding import fold_norms
from paretune.hardware.analog.presets import HERMES, IDEAL, PCM, RERAM, RRAM, AnalogPreset
from paretune.hardware.analog.programming import Cells, ProgrammedWeights
from paretune.hardware.analog.racing import race

DAY_S, MONTH_S = 86_400.0, 2_592_000.0
Data = tuple[Tensor, Tensor, Tensor, Tensor]


def quiet(preset: AnalogPreset) -> AnalogPreset:
    """The target with exact converters and no noise but the cells'."""
    return replace(preset, dac_bits=None, adc_bits=None, output_noise=0.0)


def pcm(scale: float) -> AnalogPreset:
    """Phase change with all three noises scaled."""
    return replace(PCM, device=replace(PCM.device, programming_scale=scale, read_scale=scale, drift_scale=scale))


def test_ideal_target_gives_the_digital_outputs_exactly(convolutional: nn.Module, digits: Data) -> None:
    report = evaluate(convolutional, IDEAL, digits[2], digits[3], programmings=2)
    with torch.inference_mode():
        accuracy = (convolutional(digits[2]).argmax(1) == digits[3]).sum().item() / len(digits[3])
    assert report.digital_accuracy == accuracy
    assert (report.accuracies == accuracy).all()
    assert (report.logit_errors == 0).all()
    assert report.avm == 0


def test_without_noise_programmings_are_equal_and_near_the_digital_network(digital: nn.Module, digits: Data) -> None:
    report = evaluate(digital, quiet(pcm(0)), digits[2], digits[3], programmings=3)
    assert (report.deviations_T == 0).all()
    assert report.logit_errors.max() < 1e-5
    assert (report.means_T == report.digital_accuracy).all()


def test_deviation_and_error_go_to_zero_with_the_noise(digital: nn.Module, digits: Data) -> None:
    spread = []
    for scale in (2.0, 0.5, 0.1, 0.01):
        report = evaluate(digital, quiet(pcm(scale)), digits[2], digits[3], (DAY_S,), 6, calibration=digits[0])
        spread.append((report.logit_errors.std(), report.logit_errors.mean(), report.deviations_T[0]))
    errors = np.array(spread)
    assert (np.diff(errors[:, :2], axis=0) < 0).all()
    assert errors[-1, 1] < errors[0, 1] / 50
    assert errors[-1, 2] <= 0.002 < errors[0, 2]


def test_accuracy_falls_with_fewer_bits_of_the_adc(digital: nn.Module, digits: Data) -> None:
    found = []
    for bits in (9, 7, 6, 5, 4, 3, 2):
        target = replace(PCM, device=None, output_noise=0.0, adc_bits=bits)
        found.append(evaluate(digital, target, digits[2], digits[3], (1.0,), 1, calibration=digits[0]))
    errors = [report.logit_errors.item() for report in found]
    accuracies = [report.accuracies.item() for report in found]
    assert errors == sorted(errors)
    assert all(later <= earlier + 0.01 for earlier, later in pairwise(accuracies))
    assert accuracies[0] > 0.93 > 0.5 > accuracies[-1]


def test_accuracy_falls_with_the_variation_of_cells(digital: nn.Module, digits: Data) -> None:
    found = []
    for variation in (0.0, 0.1, 0.3, 0.6, 1.0, 2.0):
        target = replace(RRAM, device=replace(RRAM.device, variation=variation))
        found.append(evaluate(digital, target, digits[2], digits[3], (1.0,), 6, calibration=digits[0]))
    errors = [report.logit_errors.mean() for report in found]
    accuracies = [report.means_T[0] for report in found]
    assert errors == sorted(errors)
    assert all(later < earlier + 0.01 for earlier, later in pairwise(accuracies))
    assert accuracies[0] > accuracies[-1] + 0.1


def test_same_seed_gives_the_same_numbers_in_another_process_with_other_threads(tmp_path: Path) -> None:
    script = tmp_path / "evaluate.py"
    script.write_text(
        "import torch\n"
        "from torch import nn\n"
        "from paretune.hardware.analog.evaluator import evaluate\n"
        "from paretune.hardware.analog.presets import PCM\n"
        "torch.manual_seed(0)\n"
        "net = nn.Sequential(nn.Conv2d(8, 32, 3), nn.BatchNorm2d(32), nn.ReLU(), nn.Conv2d(32, 16, 3), nn.Flatten(), nn.Linear(1024, 10))\n"
        "images = torch.randn(300, 8, 12, 12)\n"
        "report = evaluate(net.eval(), PCM, images, torch.arange(300) % 10, programmings=2, seed=5, calibration=images)\n"
        "print(report.accuracies.tobytes().hex(), report.logit_errors.tobytes().hex())\n"
    )
    root = Path(__file__).resolve().parents[3]
    found = set()
    for threads in ("1", "2"):
        environment = {**os.environ, "OMP_NUM_THREADS": threads, "PYTHONPATH": str(root)}
        done = subprocess.run([sys.executable, str(script)], env=environment, check=True, capture_output=True, text=True, timeout=120)
        found.add(done.stdout)
    assert len(found) == 1


def test_programmings_are_numbered_whatever_runs_beside_them(convolutional: nn.Module, digits: Data) -> None:
    images, labels = digits[2][:100], digits[3][:100]

    def evaluator(at_once: int) -> DriftEvaluator:
        return DriftEvaluator(
            convolutional, replace(PCM, rows=100), images, labels, times_s=(1.0, DAY_S), seed=1, calibration=digits[0], at_once=at_once
        )

    accuracies, errors = evaluator(1).programmings(0, 4)
    assert len(set(errors[:, 1])) == 4
    again, again_errors = evaluator(1).programmings(2, 2)
    assert np.array_equal(again, accuracies[2:])
    assert np.array_equal(again_errors, errors[2:])
    # Side by side in grouped convolutions sums are rounded differently, which tips a code of the ADC here and there.
    together, together_errors = evaluator(3).programmings(0, 4)
    assert np.allclose(together_errors, errors, rtol=0.02)
    assert np.allclose(together, accuracies, atol=0.03)


def test_repeats_at_once_are_those_one_by_one_where_nothing_is_rounded(convolutional: nn.Module, digits: Data) -> None:
    images, labels = digits[2][:100], digits[3][:100]
    target = replace(PCM, dac_bits=None, adc_bits=None, rows=100)
    settings = {"times_s": (1.0, DAY_S), "programmings": 3, "calibration": digits[0]}
    one, three = (evaluate(convolutional, target, images, labels, at_once=at_once, **settings) for at_once in (1, 3))
    assert np.allclose(one.logit_errors, three.logit_errors, rtol=1e-4)


@pytest.mark.parametrize("target", [PCM, quiet(PCM)])
def test_linear_layers_over_sequences_run_one_by_one_and_at_once(target: AnalogPreset) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(20, 16), nn.ReLU(), nn.Linear(16, 3), nn.Flatten()).eval()
    images, labels = torch.randn(30, 5, 20), torch.zeros(30, dtype=torch.int64)
    settings = {"times_s": (1.0,), "programmings": 2, "calibration": images}
    one, two = (evaluate(network, target, images, labels, at_once=at_once, **settings) for at_once in (1, 2))
    assert np.allclose(one.logit_errors, two.logit_errors, rtol=0.02)
    assert 0 < one.logit_errors.max() < 0.3


def test_convolutions_over_sequences_run_one_by_one_and_at_once_with_folded_norms() -> None:
    torch.manual_seed(0)
    layers = (nn.Conv1d(24, 8, 5, padding=2), nn.BatchNorm1d(8), nn.ReLU(), nn.Conv1d(8, 8, 3, groups=2), nn.AdaptiveAvgPool1d(1))
    network = nn.Sequential(*layers, nn.Flatten(), nn.Linear(8, 3)).eval()
    images, labels = torch.randn(40, 24, 30), torch.zeros(40, dtype=torch.int64)
    settings = {"times_s": (1.0,), "calibration": images}
    target = replace(PCM, rows=64)  # 120 rows in two parts
    one, two = (evaluate(network, target, images, labels, programmings=2, at_once=at_once, **settings) for at_once in (1, 2))
    assert np.allclose(one.logit_errors, two.logit_errors, rtol=0.03)
    assert 0 < one.logit_errors.max() < 0.3
    assert set(DriftEvaluator(network, target, images, labels, seed=0, **settings)._folds) == {"0"}


def test_folded_batch_norm_changes_no_output(convolutional: nn.Module, digits: Data) -> None:
    preset = replace(PCM, output_noise=0.0)
    evaluator = DriftEvaluator(convolutional, preset, digits[2], digits[3], times_s=(1.0,), seed=0, calibration=digits[0])
    assert set(evaluator._folds) == {"0", "3"}
    _, folded = evaluator.programmings(0, 2)
    branching = nn.Sequential(*convolutional, Branching())  # cannot be traced, so nothing is folded
    unfolded = DriftEvaluator(branching, preset, digits[2], digits[3], times_s=(1.0,), seed=0, calibration=digits[0])
    assert not unfolded._folds
    assert np.allclose(unfolded.programmings(0, 2)[1], folded, rtol=0.01)


@pytest.mark.parametrize("pooled", [True, False])
def test_how_many_images_run_at_once_changes_no_result(pooled: bool, convolutional: nn.Module, digits: Data) -> None:
    settings = {"times_s": (1.0,), "seed": 0, "calibration": digits[0], "batch": 60, "pooled_noise": pooled}
    evaluator = DriftEvaluator(convolutional, PCM, digits[2][:150], digits[3][:150], **settings)
    assert evaluator._layout.channels_last
    whole, whole_errors = evaluator.programmings(0, 2)
    evaluator._layout = Layout(channels_last=True, images=17)
    parts, parts_errors = evaluator.programmings(0, 2)
    if pooled:  # each part reads its part of the batch's noise
        assert np.array_equal(parts, whole)
        assert np.allclose(parts_errors, whole_errors, rtol=1e-6)
    else:  # other noise, and not the same for each part
        assert not np.array_equal(parts_errors, whole_errors)
        assert np.allclose(parts_errors, whole_errors, rtol=0.2)
    evaluator._layout = Layout(channels_last=False, images=60)
    in_order, in_order_errors = evaluator.programmings(0, 2)
    assert np.allclose(in_order, whole, atol=0.03)
    # Sums in another order tip a code of the ADC here and there.
    assert np.allclose(in_order_errors, whole_errors, rtol=0.02)


class Viewing(nn.Module):
    """Takes its values for lying in the order of their dimensions."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(1, 4, 3), nn.Linear(144, 10)

    def forward(self, images: Tensor) -> Tensor:
        values = self.conv(images).relu()
        return self.head(values.view(len(images), -1))


class Centring(nn.Module):
    """What it gives for an image depends on those beside it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(1, 4, 3), nn.Linear(144, 10)

    def forward(self, images: Tensor) -> Tensor:
        values = self.conv(images).relu()
        return self.head((values - values.mean(dim=0)).flatten(1))


@pytest.mark.parametrize("kind", [Viewing, Centring])
def test_networks_that_need_their_values_in_order_or_all_at_once_get_them(kind: type[nn.Module], digits: Data) -> None:
    torch.manual_seed(0)
    network, images, labels = kind().eval(), digits[2][:100], digits[3][:100]
    evaluator = DriftEvaluator(network, quiet(pcm(0)), images, labels, times_s=(1.0,), seed=0, calibration=digits[0], batch=50)
    assert evaluator._layout == Layout(channels_last=False, images=50)
    assert evaluator.programmings(0, 1)[1].max() < 1e-5


class Branching(nn.Module):
    def forward(self, values: Tensor) -> Tensor:
        return values if values.sum() > 0 else values.clone()


def test_batch_norm_that_others_hear_too_is_not_folded() -> None:
    class Shared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm = nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2)

        def forward(self, images: Tensor) -> Tensor:
            outputs = self.conv(images)
            return outputs + self.norm(outputs)

    assert fold_norms(to_analog(Shared(), PCM).eval()) == {}


@pytest.mark.parametrize("compensation", ["global", "column"])
def test_compensation_restores_the_mean_of_the_weights(compensation: str) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(300, 100, bias=False))

    def gain(target: AnalogPreset, time_s: float) -> float:
        analog = to_analog(network, target).eval()
        (layer,) = analog_layers(analog).values()
        layer.input_ranges.data.fill_(4.0)
        layer.programmed = Cells(layer, target.device, name="0", repeats=(0,), seed=0).at(time_s)
        with torch.inference_mode():
            images = torch.randn(500, 300, generator=torch.Generator().manual_seed(2))
            ours, theirs = analog(images), network(images)
        return float((ours * theirs).sum() / theirs.square().sum())

    none = replace(PCM, compensation="none")
    assert gain(none, 1.0) == pytest.approx(1, abs=0.03)
    assert gain(none, MONTH_S) < 0.7
    assert gain(replace(PCM, compensation=compensation), MONTH_S) == pytest.approx(1, abs=0.06)


def test_global_gain_by_hand() -> None:
    # One exponent for all cells: after a day every weight is (86420 / 20) ** -0.049 of itself, and the gain is the inverse.
    device = replace(PCM.device, programming_scale=0.0, read_scale=0.0, drift_deviation=replace(PCM.device.drift_deviation, low=0, high=0))
    device = replace(device, drift_mean=replace(device.drift_mean, low=0.049, high=0.049))
    target = replace(quiet(PCM), device=device)
    network = nn.Sequential(nn.Linear(6, 3))
    analog = to_analog(network, target).eval()
    (layer,) = analog_layers(analog).values()
    for compensation, expected in (("global", 1.0), ("none", (86420 / 20) ** -0.049)):
        layer.preset = replace(target, compensation=compensation)
        layer.programmed = Cells(layer, device, name="0", repeats=(0,), seed=0).at(DAY_S)
        with torch.inference_mode():
            ours, theirs = analog(torch.ones(1, 6)) - network[0].bias, network(torch.ones(1, 6)) - network[0].bias
        assert torch.allclose(ours, theirs * expected, atol=1e-5)


def test_reprogramming_makes_other_conductances_and_candidates_share_variates(digital: nn.Module) -> None:
    first, second = (next(iter(analog_layers(to_analog(digital, PCM)).values())) for _ in range(2))
    cells = Cells(first, PCM.device, name="1", repeats=(0, 1), seed=0)
    assert not torch.equal(cells._state.programmed[0], cells._state.programmed[1])
    other = Cells(second, PCM.device, name="1", repeats=(1,), seed=0)
    assert torch.equal(other._state.programmed[0], cells._state.programmed[1])


def test_hardware_aware_training_survives_a_month_better_than_digital_training(digits: Data, digital: nn.Module) -> None:
    harsh = replace(HERMES, device=replace(HERMES.device, programming_scale=3.0, drift_scale=2.0))
    analog = to_analog(digital, harsh, seed=1)
    calibrate(analog, digits[0])
    optimizer = torch.optim.SGD(analog.parameters(), lr=0.02, momentum=0.9)
    after_each_step(analog, optimizer)
    analog.train()
    for _ in range(10):
        for images, labels in zip(digits[0].split(64), digits[1].split(64), strict=True):
            optimizer.zero_grad()
            nn.functional.cross_entropy(analog(images), labels).backward()
            optimizer.step()
    analog.eval()
    times, images, labels = (1.0, MONTH_S), digits[2], digits[3]
    plain = evaluate(digital, harsh, images, labels, times, 8, calibration=digits[0])
    aware = evaluate(analog, harsh, images, labels, times, 8)
    assert aware.means_T[1] > plain.means_T[1] + 0.01
    assert plain.avm > 0


def test_a_race_stops_early_when_it_is_decided_and_not_otherwise(digital: nn.Module, digits: Data) -> None:
    settings = {"times_s": (1.0, DAY_S), "programmings": 8, "calibration": digits[0]}
    far = evaluate(digital, PCM, digits[2], digits[3], race=Race(against=0.2, time_s=DAY_S), **settings)
    assert 3 <= far.programmings < far.planned == 8
    whole = evaluate(digital, PCM, digits[2], digits[3], **settings)
    assert np.array_equal(whole.accuracies[: far.programmings], far.accuracies)
    close = evaluate(digital, PCM, digits[2], digits[3], race=Race(against=float(whole.means_T[1]), time_s=DAY_S), **settings)
    assert close.programmings > far.programmings


def test_candidates_race_on_the_same_variates_and_losers_drop_out(digital: nn.Module, digits: Data) -> None:
    torch.manual_seed(1)
    untrained = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    twin = copy.deepcopy(digital)

    def evaluator(network: nn.Module, seed: int = 0) -> DriftEvaluator:
        return DriftEvaluator(network, PCM, digits[2], digits[3], times_s=(1.0, DAY_S), seed=seed, calibration=digits[0])

    candidates = {"untrained": evaluator(untrained), "trained": evaluator(digital), "twin": evaluator(twin)}
    result = race(candidates, time_s=DAY_S, programmings=6)
    assert result.left == ("trained", "twin")  # equal to the last bit, so nothing can part them
    assert np.array_equal(result.accuracies["trained"], result.accuracies["twin"])
    assert len(result.accuracies["untrained"]) == 3
    assert result.saved == pytest.approx(3 / 18)
    with pytest.raises(BadInput, match="same times, images and seed"):
        race({"a": evaluator(digital), "b": evaluator(twin, seed=1)}, time_s=DAY_S, programmings=6)
    with pytest.raises(BadInput, match="at least two"):
        race({"a": evaluator(digital)}, time_s=DAY_S, programmings=6)
    with pytest.raises(BadInput, match="time_s: must be one of 1, 86400; got 5"):
        race(candidates, time_s=5.0, programmings=6)


@pytest.mark.parametrize("rows", [256, 64])
@pytest.mark.parametrize("columns", [256, 5])
def test_programmed_convolution_is_tile_after_tile_over_gathered_patches(rows: int, columns: int) -> None:
    """A second road: every tile gets its rows of every patch, converts, multiplies, converts, scales; all are added up."""
    torch.manual_seed(0)
    preset = replace(PCM, rows=rows, columns=columns, output_noise=0.0)
    network, images = nn.Sequential(nn.Conv2d(16, 12, 3, stride=2, padding=1)), torch.randn(3, 16, 7, 7)
    analog = to_analog(network, preset).eval()
    calibrate(analog, images)
    (layer,) = analog_layers(analog).values()
    splits = len(layer.tiling.splits)
    assert (splits, len(layer.tiling.blocks)) == (-(-144 // rows), -(-12 // columns))
    weights_NK, gains_AN = torch.rand(12, 144) * 2 - 1, torch.rand(splits, 12) + 0.5
    layer.programmed = ProgrammedWeights(layer, weights_VNK=weights_NK[None], gains_VAN=gains_AN[None], fold=None)
    patches = nn.functional.unfold(images, 3, padding=1, stride=2)
    step = preset.output_bound / 127
    expected = torch.zeros(3, 12, 16)
    for number, split in enumerate(layer.tiling.splits):
        reach = layer.input_ranges[number].item()
        for start, stop in layer.tiling.blocks:
            taken = patches[:, split.start : split.stop]
            codes = ((taken / reach).clamp(-1, 1) * 127).round() / 127
            outputs = weights_NK[start:stop, split.start : split.stop] @ codes
            converted = (outputs / step).round().clamp(-127, 127) * step
            scale = gains_AN[number, start:stop, None] * layer.scales[number, start:stop, None] * reach
            expected[:, start:stop] += converted * scale
    expected += network[0].bias.detach()[:, None]
    with torch.inference_mode():
        found = analog(images).flatten(2)
    # A sum on the edge between two codes may be rounded to either.
    assert ((found - expected).abs() < 1e-4).float().mean() > 0.99
    assert torch.allclose(found, expected, atol=float(1.01 * step * (layer.scales * 1.5).max() * layer.input_ranges.detach().max()))


def test_report_by_hand() -> None:
    report = DriftReport(
        preset="pcm",
        times_s=(1.0, 2.0),
        accuracies=np.array([[0.9, 0.8], [0.8, 0.6], [1.0, 0.7]]),
        logit_errors=np.zeros((3, 2)),
        digital_accuracy=0.9,
        num_images=10,
        planned=3,
    )
    assert report.means_T == pytest.approx([0.9, 0.7])
    assert report.deviations_T == pytest.approx([0.1, 0.1])
    assert report.avm == pytest.approx(0.2)
    # Student, 2 degrees of freedom, 0.975: 4.30265; times 0.1 / sqrt(3).
    assert report.interval(1.0) == pytest.approx((0.9 - 0.248414, 0.9 + 0.248414), abs=1e-5)
    # Differences 0.1, 0.2, 0.3: the same deviation about 0.2.
    assert report.avm_interval() == pytest.approx((0.2 - 0.248414, 0.2 + 0.248414), abs=1e-5)
    assert half_width(np.array([1.0]), 0.95) == float("inf")
    with pytest.raises(BadInput, match="time_s: must be one of 1, 2; got 3"):
        report.interval(3.0)


def test_bad_input_is_refused(digital: nn.Module, digits: Data) -> None:
    images, labels = digits[2], digits[3]
    with pytest.raises(BadInput, match="no model at 3600"):
        evaluate(digital, RERAM, images, labels, (1.0, 3600.0), calibration=digits[0])
    with pytest.raises(BadInput, match="times_s: must ascend"):
        evaluate(digital, PCM, images, labels, (10.0, 1.0), calibration=digits[0])
    with pytest.raises(BadInput, match="calibration: images must be given to set the input ranges of 1, 3"):
        evaluate(digital, PCM, images, labels)
    with pytest.raises(BadInput, match="calibration: images must be given"):
        evaluate(to_analog(digital, PCM), PCM, images, labels)
    with pytest.raises(BadInput, match="images, labels: must be as many"):
        evaluate(digital, PCM, images, labels[:5], calibration=digits[0])
    with pytest.raises(BadInput, match="programmings: must be"):
        evaluate(digital, PCM, images, labels, programmings=0, calibration=digits[0])
    with pytest.raises(BadInput, match="race: its time"):
        evaluate(digital, PCM, images, labels, (1.0,), race=Race(against=0.5, time_s=2.0), calibration=digits[0])
    with pytest.raises(BadInput, match="confidence: must be"):
        Race(against=0.5, time_s=1.0, confidence=1.0)
