"""Analog layers in training: exact targets, gradients, splits, clipping and remapping, repeatable noise."""

import copy
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from paretune.core.errors import BadInput
from paretune.hardware.analog.conversion import after_each_step, analog_layers, calibrate, put_on, reseed, to_analog
from paretune.hardware.analog.converters import quantised_inputs, quantised_outputs
from paretune.hardware.analog.noise import OutputNoise
from paretune.hardware.analog.presets import IDEAL, PCM
from paretune.hardware.analog.tiling import even_parts, tile_layer
from paretune.hardware.analog.training import HardwareAwareTraining

QUIET = HardwareAwareTraining(weight_noise=0, clip="none", remap="none")
FINE = replace(PCM, dac_bits=20, adc_bits=24, output_noise=0.0, output_bound=100.0)


def inputs(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))


def test_ideal_target_trains_as_the_digital_network(convolutional: nn.Module) -> None:
    images = inputs(8, 1, 8, 8)
    analog = to_analog(convolutional, IDEAL, options=QUIET)
    digital = copy.deepcopy(convolutional).train()
    analog.train()
    expected, found = digital(images), analog(images)
    assert torch.equal(expected, found)
    expected.square().sum().backward()
    found.square().sum().backward()
    for ours, theirs in zip([p for p in analog.parameters() if p.grad is not None], digital.parameters(), strict=True):
        assert torch.equal(ours.grad, theirs.grad)


@pytest.mark.parametrize("rows", [256, 100, 64])
def test_splits_of_rows_add_up_to_the_layer(rows: int) -> None:
    # 144 rows of 16 channels x 3 x 3: on 100 rows in the middle (8 channels), on 64 rows 48 each (5 1/3 channels).
    layer = nn.Conv2d(16, 8, 3, padding=1)
    images = inputs(4, 16, 6, 6)
    analog = to_analog(nn.Sequential(layer), replace(FINE, rows=rows), options=QUIET)
    calibrate(analog, images, deviations=8)
    (found,) = analog_layers(analog).values()
    assert len(found.tiling.splits) == {256: 1, 100: 2, 64: 3}[rows]
    assert torch.allclose(analog.eval()(images), layer(images), atol=2e-3)


def test_fine_converters_have_the_digital_gradients() -> None:
    layer, images = nn.Conv2d(16, 8, 3), inputs(2, 16, 6, 6)
    analog = to_analog(nn.Sequential(layer), replace(FINE, rows=64), options=QUIET)
    calibrate(analog, images, deviations=8)
    ours, theirs = images.clone().requires_grad_(), images.clone().requires_grad_()
    target = inputs(2, 8, 4, 4)
    (analog.train()(ours) * target).sum().backward()
    (layer(theirs) * target).sum().backward()
    assert torch.allclose(ours.grad, theirs.grad, atol=1e-4)
    assert torch.allclose(analog.get_parameter("0.weight").grad, layer.weight.grad, atol=2e-2)
    assert torch.allclose(analog.get_parameter("0.bias").grad, layer.bias.grad, atol=1e-4)


def test_gradient_within_the_range_agrees_with_finite_differences_over_many_steps_of_the_dac() -> None:
    # Straight through is the slope of the staircase: over 40 steps it is 1 in inputs, hence levels / r = 10 in codes.
    values, input_range = torch.tensor([0.3, -5.0, 7.0]), torch.tensor(12.7)
    step = 2.0

    def codes(at: Tensor) -> Tensor:
        return quantised_inputs(at, input_range, levels=127, decay=0.0, widest_clipped=0.05)

    slope = (codes(values + step) - codes(values - step)) / (2 * step)
    leaf = values.clone().requires_grad_()
    codes(leaf).sum().backward()
    assert torch.allclose(leaf.grad, slope, atol=0.05)
    assert torch.equal(leaf.grad, torch.full((3,), 10.0))


def test_range_only_widens_by_clipped_inputs_and_decays_otherwise() -> None:
    # r = 2, levels 127. Inputs 3 and -4 are clipped. Gradients of codes: 3 wants to grow (-1), -4 wants to shrink in size (-1 at
    # a negative code), 1 is within. Only the first widens: 127 * -1. Half are within, fewer than 0.95: no decay.
    input_range = torch.tensor(2.0, requires_grad=True)
    codes = quantised_inputs(torch.tensor([3.0, -4.0, 1.0, 0.0]), input_range, levels=127, decay=0.001, widest_clipped=0.05)
    assert codes.tolist() == [127, -127, 64, 0]
    codes.backward(torch.tensor([-1.0, -1.0, 5.0, 5.0]))
    assert input_range.grad.item() == -127
    within = torch.tensor(2.0, requires_grad=True)
    quantised_inputs(torch.tensor([1.0, 0.5]), within, levels=127, decay=0.001, widest_clipped=0.05).backward(torch.tensor([-1.0, -1.0]))
    assert within.grad.item() == pytest.approx(0.001 * 2)


def test_clipped_outputs_pass_no_gradient() -> None:
    outputs = torch.tensor([3.4, 200.0, -300.0], requires_grad=True)
    codes = quantised_outputs(outputs, 127)
    assert codes.tolist() == [3, 127, -127]
    codes.sum().backward()
    assert outputs.grad.tolist() == [1, 0, 0]


def test_quantising_before_gathering_patches_is_quantising_patches() -> None:
    images, layer = inputs(2, 3, 5, 5), nn.Conv2d(3, 4, 3, padding=1, bias=False)
    preset = replace(PCM, adc_bits=None, output_noise=0.0)
    analog = to_analog(nn.Sequential(layer), preset, options=QUIET).eval()
    calibrate(analog, images)
    (found,) = analog_layers(analog).values()
    patches = nn.functional.unfold(images, 3, padding=1)
    reach = found.input_ranges.item()
    coarse = (patches.clamp(-reach, reach) * 127 / reach).round() * reach / 127
    expected = (layer.weight.flatten(1) @ coarse).view(2, 4, 5, 5)
    assert torch.allclose(analog(images), expected, atol=1e-5)


def test_clipping_then_remapping_after_a_step() -> None:
    layer = nn.Linear(4, 2, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[1.0, -1.0, 1.0, -1.0], [1.0, -1.0, 1.0, -9.0]]))
    options = HardwareAwareTraining(weight_noise=0, clip="gaussian", clip_deviations=1.0, remap="channel")
    analog = to_analog(nn.Sequential(layer), PCM, options=options)
    optimizer = torch.optim.SGD(analog.parameters(), lr=0.0)
    after_each_step(analog, optimizer)
    (found,) = analog_layers(analog).values()
    found.remap("layer")
    optimizer.step()
    # Deviation of the eight weights 4x(1), 3x(-1), -9: mean -1, squares 4*4 + 3*0 + 64 = 80, / 7.
    limit = (80 / 7) ** 0.5
    assert found.weight.min().item() == pytest.approx(-limit)
    assert found.scales.tolist()[0] == pytest.approx([1.0, limit])
    fixed = to_analog(nn.Sequential(layer), PCM, options=replace(options, clip="fixed", clip_value=0.5, remap="none"))
    (found,) = analog_layers(fixed).values()
    found.after_step()
    assert (found.weight.min().item(), found.scales.max().item()) == (-4.5, 9.0)


def test_weight_noise_has_the_asked_deviation_of_the_largest_weight() -> None:
    layer = nn.Linear(200, 200, bias=False)
    options = HardwareAwareTraining(weight_noise=0.06)
    analog = to_analog(nn.Sequential(layer), replace(PCM, rows=100), options=options).train()
    (found,) = analog_layers(analog).values()
    noise = (found._noisy(found.weight) - found.weight).detach()
    for split, scales in zip(found.tiling.splits, found.scales, strict=True):
        assert noise[:, split.start : split.stop].std().item() == pytest.approx(0.06 * scales[0].item(), rel=0.05)


def test_output_noise_is_repeatable_and_normal() -> None:
    for pooled in (True, False):
        noise = OutputNoise(seed=3, pooled=pooled)
        first = noise.add_to(torch.zeros(100_000), 0.5)
        second = noise.add_to(torch.zeros(100_000), 0.5)
        assert not torch.equal(first, second)
        assert first.std().item() == pytest.approx(0.5, rel=0.02)
        assert first.mean().item() == pytest.approx(0, abs=0.01)
        noise.reseed()
        noise.add_to(torch.zeros(2_000_000), 0.5)  # a larger pool begins with the smaller one
        assert torch.equal(noise.add_to(torch.zeros(100_000), 0.5), second)
        assert torch.equal(copy.deepcopy(OutputNoise(seed=3, pooled=pooled)).add_to(torch.zeros(100_000), 0.5), first)


def test_interrupted_training_goes_on_with_the_same_noise(digital: nn.Module) -> None:
    images = inputs(4, 1, 8, 8)
    whole = to_analog(digital, PCM).train()
    reseed(whole, "epoch", 0)
    whole(images)
    state = copy.deepcopy(whole.state_dict())
    reseed(whole, "epoch", 1)
    expected = whole(images)
    resumed = to_analog(digital, PCM).train()
    resumed.load_state_dict(state)
    reseed(resumed, "epoch", 1)
    assert torch.equal(resumed(images), expected)


def test_trains_under_automatic_mixed_precision(digital: nn.Module) -> None:
    analog = to_analog(digital, PCM).train()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = analog(inputs(16, 1, 8, 8)).square().mean()
    loss.backward()
    assert all(torch.isfinite(p.grad).all() and p.grad.dtype == p.dtype for p in analog.parameters() if p.grad is not None)
    assert sum(p.grad is not None for p in analog.parameters()) == 6


def test_a_layer_may_run_twice_before_its_gradients_and_lie_channels_last_in_memory() -> None:
    layer = nn.Conv2d(4, 4, 3, padding=1).to(memory_format=torch.channels_last)
    analog = to_analog(nn.Sequential(layer, nn.ReLU(), layer), PCM).train()
    assert len(analog_layers(analog)) == 1  # one layer, one set of tiles
    optimizer = torch.optim.SGD(analog.parameters(), lr=0.01)
    after_each_step(analog, optimizer)
    analog(inputs(2, 4, 5, 5).to(memory_format=torch.channels_last)).square().sum().backward()
    optimizer.step()
    (found,) = analog_layers(analog).values()
    assert found.scales.max() == found.weight.abs().max()


def test_moving_to_smaller_tiles_keeps_the_widest_range(digital: nn.Module) -> None:
    analog = to_analog(digital, PCM)
    calibrate(analog, inputs(32, 1, 8, 8))
    moved = put_on(analog, replace(PCM, rows=32))
    (before, _), (after, _) = analog_layers(analog).values(), analog_layers(moved).values()
    assert after.input_ranges.tolist() == [before.input_ranges.item()] * 2


def test_converting_leaves_the_network_alone_and_shares_nothing(digital: nn.Module) -> None:
    analog = to_analog(digital, PCM)
    assert not analog_layers(digital)
    assert analog.get_parameter("1.weight") is not digital.get_parameter("1.weight")
    assert isinstance(to_analog(nn.Linear(3, 2), PCM), nn.Linear)


@given(size=st.integers(1, 5000), limit=st.integers(1, 600))
@settings(max_examples=50, deadline=None)
def test_parts_are_even_and_as_few_as_can_be(size: int, limit: int) -> None:
    parts = even_parts(size, limit)
    lengths = [stop - start for start, stop in parts]
    assert sum(lengths) == size
    assert len(parts) == -(-size // limit)
    assert max(lengths) <= limit
    assert max(lengths) - min(lengths) <= 1


def test_tiles_of_resnet8s_widest_layer_and_of_a_depthwise_one() -> None:
    # 64 x 3 x 3 = 576 rows are 3 x 192, cut in the middle of channel 21; 16 groups of 9 rows fit 144 rows.
    found = tile_layer(channels=64, kernel=(3, 3), columns=64, groups=1, tile_rows=256, tile_columns=256, layer="conv")
    assert [(split.start, split.first_channel, split.stop_channel) for split in found.splits] == [(0, 0, 22), (192, 21, 43), (384, 42, 64)]
    depthwise = tile_layer(channels=1, kernel=(3, 3), columns=32, groups=32, tile_rows=144, tile_columns=256, layer="conv")
    assert depthwise.blocks == ((0, 16), (16, 32))


def test_layers_that_do_not_fit_are_refused() -> None:
    with pytest.raises(BadInput, match=r"a tile must hold at least a row of the kernel \(5 in layer '0'\); got 4"):
        to_analog(nn.Sequential(nn.Conv2d(1, 4, 5)), replace(PCM, rows=4))
    with pytest.raises(BadInput, match="must hold a group of layer '0'"):
        to_analog(nn.Sequential(nn.Conv2d(64, 4, 3, groups=2)), replace(PCM, rows=128))
    with pytest.raises(BadInput, match="pad with zeros; got padding_mode 'circular'"):
        to_analog(nn.Sequential(nn.Conv2d(1, 4, 3, padding=1, padding_mode="circular")), PCM)
    with pytest.raises(BadInput, match=r"no convolution or nn\.Linear"):
        to_analog(nn.Sequential(nn.ReLU()), PCM)
    with pytest.raises(BadInput, match="layer '0': analog tiles know Conv1d, Conv2d and Linear; got ConvTranspose2d"):
        to_analog(nn.Sequential(nn.ConvTranspose2d(1, 4, 3), nn.Linear(4, 2)), PCM)
    with pytest.raises(BadInput, match="all its inputs are equal over the 4 images"):
        calibrate(to_analog(nn.Sequential(nn.Flatten(), nn.Linear(4, 2)), PCM), torch.zeros(4, 4))


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("weight_noise", -1.0),
        ("clip", "average"),
        ("clip_deviations", 0.0),
        ("remap", "rows"),
        ("initial_range", 0.0),
        ("range_batches", -1),
        ("range_unclipped", 1.5),
    ],
)
def test_training_options_refuse_what_cannot_be(option: str, value: object) -> None:
    with pytest.raises(BadInput, match=f"{option}: "):
        HardwareAwareTraining(**{option: value})
