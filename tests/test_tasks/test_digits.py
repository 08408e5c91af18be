"""The digits task: a fixed split, training that is the same to the bit, divergence as an outcome."""

import math
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from paretune.core.errors import BadInput, CheckpointDamaged
from paretune.core.protocols import Fidelity
from paretune.core.trial import Outcome
from paretune.tasks.digits import Digits
from paretune.testing.task import check_task, same_bits, state_of

DIGEST = "60c50e52a0d1aa92bc317bc45680c7db1086cc01b7fcdc41392733bc01b45651"


def small_network(width: int = 8) -> Callable[[], nn.Module]:
    """Convolutions with batch norm, and dropout, so that the random state within an epoch matters too."""
    return lambda: nn.Sequential(
        nn.Conv2d(1, width, 3, padding=1, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(),
        nn.Conv2d(width, 2 * width, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(2 * width),
        nn.ReLU(),
        nn.Dropout(0.1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(2 * width, 10),
    )


def test_digits_keep_the_contract(tmp_path: Path) -> None:
    check_task(Digits, tmp_path)


def test_digits_keep_the_contract_with_convolutions_and_dropout(tmp_path: Path) -> None:
    check_task(Digits, tmp_path, build=small_network())


def test_the_split_is_for_ever_disjoint_complete_and_in_proportion() -> None:
    task = Digits()
    data = task._data
    parts = [data.training, data.validation, data.test]
    assert [len(part) for part in parts] == [1_077, 360, 360]
    assert np.array_equal(np.sort(np.concatenate(parts)), np.arange(1_797))
    whole = np.bincount(data.labels) / len(data.labels)
    for part in parts:
        # Every digit within one and a half images of its share.
        assert np.abs(np.bincount(data.labels[part]) - whole * len(part)).max() <= 1.5
    assert task.digest() == DIGEST
    assert Digits(batch_size=32, learning_rate=0.1).digest() == DIGEST


def test_inputs_are_standardised_by_the_training_images_alone() -> None:
    task = Digits()
    training, validation = task._images(task._data.training), task._images(task._data.validation)
    assert training.inputs.shape == (1_077, *task.input_shape)
    assert float(training.inputs.mean()) == pytest.approx(0, abs=1e-5)
    assert float(training.inputs.std()) == pytest.approx(1, abs=1e-3)
    assert float(validation.inputs.mean()) != pytest.approx(0, abs=1e-5)


def test_a_small_network_learns_the_digits() -> None:
    task = Digits()
    network, result = task.train(small_network(16), seed=0, fidelity=Fidelity(epochs=8))
    assert result.metrics["accuracy"] > 0.93
    assert task.test(network)["accuracy"] > 0.90
    losses = [record["train_loss"] for record in result.curve]
    assert losses[-1] < 0.5 * losses[0]
    assert result.curve[-1]["accuracy"] == result.metrics["accuracy"]


def test_length_decides_the_schedule_so_a_longer_training_is_no_continuation() -> None:
    task = Digits()
    _, short = task.train(small_network(4), seed=0, fidelity=Fidelity(epochs=1))
    _, long = task.train(small_network(4), seed=0, fidelity=Fidelity(epochs=2))
    assert short.curve[0] != long.curve[0]


def test_a_killed_process_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    program = """
import os, sys
from pathlib import Path
from paretune.core.protocols import Fidelity
from paretune.tasks.digits import Digits
sys.path.insert(0, sys.argv[2])
from test_digits import small_network
def kill(done, record):
    if done == 2:
        os.kill(os.getpid(), 9)
Digits().train(small_network(4), seed=5, fidelity=Fidelity(epochs=4), checkpoint=Path(sys.argv[1]), on_epoch=kill)
"""
    command = [sys.executable, "-c", program, str(tmp_path), str(Path(__file__).parent)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == -9, done.stderr
    whole, expected = Digits().train(small_network(4), seed=5, fidelity=Fidelity(epochs=4))
    calls: list[int] = []
    resumed, result = Digits().train(
        small_network(4), seed=5, fidelity=Fidelity(epochs=4), checkpoint=tmp_path, on_epoch=lambda epoch, _record: calls.append(epoch)
    )
    assert calls == [3, 4]
    assert result == expected
    assert same_bits(state_of(resumed), state_of(whole))


def test_a_damaged_checkpoint_costs_an_epoch_and_no_bit(tmp_path: Path) -> None:
    whole, expected = Digits().train(small_network(4), seed=5, fidelity=Fidelity(epochs=3), checkpoint=tmp_path)
    (tmp_path / "epoch-000003.safetensors").write_bytes(b"")
    calls: list[int] = []

    def note(epoch: int, record: Mapping[str, float]) -> None:
        calls.append(epoch)

    resumed, result = Digits().train(small_network(4), seed=5, fidelity=Fidelity(epochs=3), checkpoint=tmp_path, on_epoch=note)
    assert (calls, result) == ([3], expected)
    assert same_bits(state_of(resumed), state_of(whole))
    for path in tmp_path.iterdir():
        path.write_bytes(b"")
    again, result = Digits().train(small_network(4), seed=5, fidelity=Fidelity(epochs=3), checkpoint=tmp_path, on_epoch=note)
    assert (calls, result) == ([3, 1, 2, 3], expected)
    assert same_bits(state_of(again), state_of(whole))


def test_a_finished_training_is_not_repeated(tmp_path: Path) -> None:
    _, expected = Digits().train(small_network(4), seed=5, fidelity=Fidelity(epochs=2), checkpoint=tmp_path)
    calls: list[int] = []
    _, result = Digits().train(
        small_network(4), seed=5, fidelity=Fidelity(epochs=2), checkpoint=tmp_path, on_epoch=lambda epoch, _record: calls.append(epoch)
    )
    assert (calls, result) == ([], expected)


def test_a_checkpoint_of_another_network_or_training_is_refused_by_name(tmp_path: Path) -> None:
    fidelity = Fidelity(epochs=2)
    Digits().train(small_network(4), seed=5, fidelity=fidelity, checkpoint=tmp_path)
    with pytest.raises(CheckpointDamaged, match=r"another network: 'model\.0\.weight' is float32 \(4, 1, 3, 3\), this network has"):
        Digits().train(small_network(6), seed=5, fidelity=fidelity, checkpoint=tmp_path)
    with pytest.raises(CheckpointDamaged, match="another training: seed is 5 there and 6 here"):
        Digits().train(small_network(4), seed=6, fidelity=fidelity, checkpoint=tmp_path)
    with pytest.raises(CheckpointDamaged, match="another training: epochs is 2 there and 3 here"):
        Digits().train(small_network(4), seed=5, fidelity=Fidelity(epochs=3), checkpoint=tmp_path)
    with pytest.raises(CheckpointDamaged, match="another training: recipe"):
        Digits(momentum=0.5).train(small_network(4), seed=5, fidelity=fidelity, checkpoint=tmp_path)


@pytest.mark.parametrize("learning_rate", [1e9, 1e38])
def test_a_mad_learning_rate_diverges_within_the_first_epoch(learning_rate: float, tmp_path: Path) -> None:
    task = Digits(learning_rate=learning_rate, warmup=0.0)
    _, result = task.train(small_network(4), seed=0, fidelity=Fidelity(epochs=5), checkpoint=tmp_path)
    assert (result.outcome, dict(result.metrics), result.curve) == (Outcome.DIVERGED, {}, ())


def test_a_network_that_breaks_in_a_later_epoch_keeps_the_curve_until_then() -> None:
    class BreaksLater(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner, self.steps = small_network(4)(), 0

        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            self.steps += self.training
            # 17 steps an epoch: the second epoch's tenth.
            return self.inner(inputs) * (math.inf if self.steps > 26 else 1.0)

    _, result = Digits().train(BreaksLater, seed=0, fidelity=Fidelity(epochs=3))
    assert result.outcome is Outcome.DIVERGED
    assert [record["epoch"] for record in result.curve] == [1.0]


def test_a_users_error_is_not_swallowed_and_torch_is_put_back() -> None:
    def broken() -> nn.Module:
        raise LookupError("no such layer")

    state = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled(), torch.get_rng_state()
    with pytest.raises(LookupError, match="no such layer"):
        Digits().train(broken, seed=0, fidelity=Fidelity(epochs=1))
    assert (torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()) == state[:2]
    assert torch.equal(torch.get_rng_state(), state[2])


def test_a_last_batch_of_one_image_joins_the_one_before() -> None:
    # 1,077 = 4 * 269 + 1: batch norm over one image of 1x1 would raise.
    network = lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 4), nn.BatchNorm1d(4), nn.Linear(4, 10))  # noqa: E731
    _, result = Digits(batch_size=269, learning_rate=0.01).train(network, seed=0, fidelity=Fidelity(epochs=1))
    assert result.outcome is Outcome.OK


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 1}, "batch_size: must be a whole number of at least 2"),
        ({"batch_size": 8.0}, "batch_size"),
        ({"learning_rate": math.nan}, "learning_rate: must be a finite number"),
        ({"learning_rate": math.inf}, "learning_rate: must be a finite number"),
        ({"momentum": 1.5}, "momentum: must be a finite number from 0 to 1"),
        ({"label_smoothing": -0.1}, "label_smoothing"),
        ({"warmup": 2.0}, "warmup"),
    ],
)
def test_unusable_options_are_refused_by_name(options: dict[str, object], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        Digits(**options)  # type: ignore[arg-type]


def test_no_epochs_are_refused() -> None:
    with pytest.raises(BadInput, match="epochs: must be at least 1"):
        Digits().train(small_network(4), seed=0, fidelity=Fidelity(epochs=0))
