"""Training by rungs: some epochs of a longer schedule, continued later from the checkpoint."""

from pathlib import Path

import pytest
from torch import nn

from paretune.core.errors import BadInput, CheckpointDamaged
from paretune.core.protocols import Fidelity
from paretune.spaces.digits_conv import DigitsConv
from paretune.tasks.digits import Digits
from paretune.testing.task import same_bits, state_of

SPACE = DigitsConv(input_shape=(1, 8, 8), num_classes=10, stages=1)
TASK = Digits()


def build() -> nn.Module:
    return SPACE.build([0] * len(SPACE.decisions))


def test_trained_by_rungs_the_network_has_the_bits_of_one_training(tmp_path: Path) -> None:
    whole, expected = TASK.train(build, seed=5, fidelity=Fidelity(epochs=4))
    curve = []
    for epochs in (1, 2, 4):
        trained: list[int] = []
        network, result = TASK.train(
            build,
            seed=5,
            fidelity=Fidelity(epochs=epochs, schedule_epochs=4),
            checkpoint=tmp_path,
            on_epoch=lambda done, record, trained=trained: trained.append(done),  # type: ignore[misc]
        )
        assert trained == list(range(len(curve) + 1, epochs + 1))
        assert result.metrics["accuracy"] == result.curve[-1]["accuracy"]
        curve = list(result.curve)
    assert result == expected
    assert same_bits(state_of(network), state_of(whole))


def test_a_rung_is_not_the_end_of_a_short_training() -> None:
    _, rung = TASK.train(build, seed=5, fidelity=Fidelity(epochs=1, schedule_epochs=4))
    _, short = TASK.train(build, seed=5, fidelity=Fidelity(epochs=1))
    assert rung.curve != short.curve  # the learning rate of the short one has fallen already


def test_another_schedule_or_a_training_that_is_further_is_refused(tmp_path: Path) -> None:
    TASK.train(build, seed=5, fidelity=Fidelity(epochs=2, schedule_epochs=4), checkpoint=tmp_path)
    with pytest.raises(CheckpointDamaged, match="epochs is 4 there and 3 here"):
        TASK.train(build, seed=5, fidelity=Fidelity(epochs=3), checkpoint=tmp_path)
    with pytest.raises(CheckpointDamaged, match="further: 2 epochs there, 1 asked for"):
        TASK.train(build, seed=5, fidelity=Fidelity(epochs=1, schedule_epochs=4), checkpoint=tmp_path)


def test_a_schedule_that_ends_too_early_is_refused() -> None:
    with pytest.raises(BadInput, match=r"schedule_epochs: must be at least epochs \(3\)"):
        TASK.train(build, seed=5, fidelity=Fidelity(epochs=3, schedule_epochs=2))
