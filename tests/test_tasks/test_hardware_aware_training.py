"""Training for analog tiles within a task's own recipe: one result, however often it is interrupted and on however many threads."""

from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from torch import nn

from paretune.core.accuracy_devices import HookedTask, LabelledTask
from paretune.core.errors import CheckpointDamaged
from paretune.core.protocols import Fidelity
from paretune.hardware.analog.conversion import analog_layers
from paretune.hardware.analog.target import Analog
from paretune.spaces.resnet_analog import ResnetAnalog
from paretune.tasks.digits import Digits
from paretune.testing.task import same_bits, state_of

SPACE = ResnetAnalog(input_shape=(1, 8, 8), num_classes=10, first_widths=(8,), main_blocks=(1,), residual_blocks=(1,), branches=(1,))
DIGITAL = Digits()
JUDGE = Analog(preset="hermes", times_s=(1.0,), programmings=2, images=50)
HOOKS = Analog(preset="hermes").training_hooks(in_memory=False)
AWARE = DIGITAL.trained_for(HOOKS)


def build() -> nn.Module:
    return SPACE.build([0] * len(SPACE.decisions))


class Killed(Exception):
    """As a signal would."""


def test_the_task_keeps_its_data_and_its_digital_self() -> None:
    assert isinstance(AWARE, HookedTask)
    assert isinstance(AWARE, LabelledTask)
    assert AWARE.digest() == DIGITAL.digest()
    digital, _ = DIGITAL.train(build, seed=3, fidelity=Fidelity(epochs=1))
    assert not analog_layers(digital)


def test_interrupted_after_each_epoch_the_training_ends_with_the_same_bits(tmp_path: Path) -> None:
    whole, expected = AWARE.train(build, seed=3, fidelity=Fidelity(epochs=3))
    tested = AWARE.test(whole)

    def kill(done: int, record: Mapping[str, float]) -> None:
        raise Killed

    for _ in range(3):
        with pytest.raises(Killed):
            AWARE.train(build, seed=3, fidelity=Fidelity(epochs=3), checkpoint=tmp_path, on_epoch=kill)
    network, result = AWARE.train(build, seed=3, fidelity=Fidelity(epochs=3), checkpoint=tmp_path)  # nothing is left to train
    assert result == expected
    assert same_bits(state_of(network), state_of(whole))
    assert AWARE.test(network) == tested == AWARE.test(whole)
    assert all(layer.range_batches_seen > 0 and not layer.exact for layer in analog_layers(network).values())
    assert any("input_ranges" in name for name in network.state_dict())
    restored = AWARE.as_trained(build())
    restored.load_state_dict(whole.state_dict())
    examples = AWARE.examples()
    judged = [JUDGE.judge(item, examples.validation, calibration=examples.calibration) for item in (whole, restored)]
    assert judged[0] == judged[1]  # whoever has the weights alone can judge them


def test_rungs_and_threads_do_not_change_the_result(tmp_path: Path) -> None:
    whole, expected = AWARE.train(build, seed=4, fidelity=Fidelity(epochs=2))
    threads = torch.get_num_threads()
    torch.set_num_threads(2 if threads == 1 else 1)
    for epochs in (1, 2):
        network, result = AWARE.train(build, seed=4, fidelity=Fidelity(epochs=epochs, schedule_epochs=2), checkpoint=tmp_path)
    torch.set_num_threads(threads)
    assert result == expected
    assert same_bits(state_of(network), state_of(whole))


def test_a_checkpoint_of_another_target_is_refused(tmp_path: Path) -> None:
    AWARE.train(build, seed=3, fidelity=Fidelity(epochs=1, schedule_epochs=2), checkpoint=tmp_path)
    other = DIGITAL.trained_for(Analog(preset="hermes", weight_noise=0.1).training_hooks(in_memory=False))
    with pytest.raises(CheckpointDamaged, match="hooks is "):
        other.train(build, seed=3, fidelity=Fidelity(epochs=2), checkpoint=tmp_path)


def test_proxies_are_those_of_the_untrained_digital_network() -> None:
    scoring = Digits(proxies=("synflow", "naswot"))
    _, result = scoring.trained_for(HOOKS).train(build, seed=3, fidelity=Fidelity(epochs=1))
    scores = scoring.untrained_scores(build, seed=3)
    assert {name: result.metrics[name] for name in scores} == scores
    assert scores


def test_for_an_ideal_target_hardware_aware_training_without_noise_is_plain_training() -> None:
    ideal = Analog(preset="ideal", weight_noise=0.0)
    hooks = ideal.training_hooks(in_memory=False)
    plain, _ = DIGITAL.train(build, seed=3, fidelity=Fidelity(epochs=1))
    network = hooks.prepare(build(), seed=1)
    network.load_state_dict(plain.state_dict(), strict=False)
    assert DIGITAL.test(network) == DIGITAL.test(plain)
    judged = ideal.judge(plain, DIGITAL.examples().validation, calibration=DIGITAL.examples().calibration)
    assert judged.values["accuracy_1s"] == judged.values["digital_accuracy"]
    assert judged.values["avm"] == judged.values["deviation_30d"] == 0
