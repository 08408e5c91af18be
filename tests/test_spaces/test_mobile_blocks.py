"""Mobile blocks: layers worked by hand, and the same counted on the torch block."""

import numpy as np
import pytest
import torch

from paretune.networks.counting import count_macs, count_parameters
from paretune.spaces.layer_slots import LayerSlots
from paretune.spaces.mobile_blocks import MBConv
from paretune.spaces.mobile_layers import MBConvPlan, add_mbconv, make_divisible


def test_widths_are_rounded_as_in_mobile_networks() -> None:
    # To the nearest multiple of 8, but 8 would be less than 90 % of 11 and of 9.6: 12 rounds up, 11 goes on to 16.
    assert [make_divisible(channels) for channels in (3, 11, 12, 16, 19, 20, 33.6)] == [8, 16, 16, 16, 24, 24, 32]


def test_block_with_everything_has_the_layers_worked_by_hand() -> None:
    slots = LayerSlots(num_networks=1)
    one = np.ones(1, dtype=np.int64)
    yes = np.ones(1, dtype=np.bool_)
    add_mbconv(
        slots, "b", channels=(8, 8), hidden=16 * one, size=6 * one, kernel=5 * one, stride=1, expands=yes, shortcut=yes, present=yes,
        squeeze=4 * one, groups=2 * one,
    )  # fmt: skip
    batch = slots.batch()
    assert dict(zip(batch.names, batch.macs_L.tolist(), strict=True)) == {
        "b.expand": 36 * 16 * 8 // 2,
        "b.depthwise": 36 * 16 * 25,
        "b.squeeze": 0,
        "b.reduce": 16 * 4,
        "b.excite": 4 * 16,
        "b.scale": 0,
        "b.project": 36 * 8 * 16 // 2,
        "b.add": 0,
    }
    # Weights as above without the 36 positions, two for each channel of a batch norm, one for each bias.
    assert int(batch.parameters_L.sum()) == (64 + 32) + (400 + 32) + (64 + 4) + (64 + 16) + (64 + 16)
    live = dict(zip(batch.names, (batch.live_bytes_L // 4).tolist(), strict=True))
    assert live["b.expand"] == 8 * 36 + 16 * 36  # the shortcut's input is the input itself
    assert live["b.reduce"] == 16 + 4 + 16 * 36 + 8 * 36  # the map that will be scaled and the shortcut's input wait
    assert live["b.scale"] == 2 * 16 * 36 + 16 + 8 * 36


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("squeeze", [0, 4])
@pytest.mark.parametrize(("stride", "expansion"), [(1, 1), (2, 1), (2, 3), (1, 3)])
def test_layers_cost_what_the_block_does(groups: int, squeeze: int, stride: int, expansion: int) -> None:
    plan = MBConvPlan(
        in_channels=8,
        hidden_channels=8 * expansion,
        out_channels=8,
        kernel=3,
        stride=stride,
        expands=expansion > 1,
        shortcut=stride == 1,
        squeeze_channels=squeeze,
        groups=groups,
        activation="hard_swish",
        gate="hard_sigmoid",
    )
    slots = LayerSlots(num_networks=1)
    one = np.ones(1, dtype=np.int64)
    yes = np.ones(1, dtype=np.bool_)
    out = add_mbconv(
        slots,
        "b",
        channels=(8, 8),
        hidden=8 * expansion * one,
        size=7 * one,
        kernel=3 * one,
        stride=stride,
        expands=yes & (expansion > 1),
        shortcut=yes & (stride == 1),
        present=yes,
        squeeze=squeeze * one,
        groups=groups * one,
    )
    batch, block = slots.batch(), MBConv(plan)
    assert count_macs(block, (1, 8, 7, 7)) == batch.macs_L.sum()
    assert count_parameters(block) == batch.parameters_L.sum()
    assert block(torch.zeros((2, 8, 7, 7))).shape == (2, 8, out[0], out[0])
