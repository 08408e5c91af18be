"""The contract check finds tasks that break it."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from paretune.core.protocols import Fidelity, TaskResult
from paretune.tasks.digits import Digits
from paretune.testing.task import check_task

OnEpoch = Callable[[int, Mapping[str, float]], None]


class Faulty(Digits):
    """Digits whose training one fault is planted in."""

    def train(
        self,
        build: Callable[[], nn.Module],
        *,
        seed: int,
        fidelity: Fidelity,
        checkpoint: Path | None = None,
        on_epoch: OnEpoch | None = None,
    ) -> tuple[nn.Module, TaskResult]:
        return super().train(build, seed=seed, fidelity=fidelity, checkpoint=checkpoint, on_epoch=on_epoch)


class IgnoresTheSeed(Faulty):
    def train(self, build, *, seed, fidelity, checkpoint=None, on_epoch=None):  # type: ignore[no-untyped-def]
        return super().train(build, seed=0, fidelity=fidelity, checkpoint=checkpoint, on_epoch=on_epoch)


class IgnoresTheCheckpoint(Faulty):
    def train(self, build, *, seed, fidelity, checkpoint=None, on_epoch=None):  # type: ignore[no-untyped-def]
        return super().train(build, seed=seed, fidelity=fidelity, on_epoch=on_epoch)


class IgnoresTheSchedule(Faulty):
    def train(self, build, *, seed, fidelity, checkpoint=None, on_epoch=None):  # type: ignore[no-untyped-def]
        short = Fidelity(epochs=fidelity.epochs)
        where = None if checkpoint is None else checkpoint / str(fidelity.epochs)
        return super().train(build, seed=seed, fidelity=short, checkpoint=where, on_epoch=on_epoch)


class StartsEveryRungAnew(Faulty):
    """Right at the first rung, and with other weights later."""

    def train(self, build, *, seed, fidelity, checkpoint=None, on_epoch=None):  # type: ignore[no-untyped-def]
        begun = checkpoint is not None and checkpoint.exists() and fidelity.schedule_epochs > 0
        return super().train(build, seed=seed + begun, fidelity=fidelity, checkpoint=None if begun else checkpoint, on_epoch=on_epoch)


class LeavesThreads(Faulty):
    def train(self, build, *, seed, fidelity, checkpoint=None, on_epoch=None):  # type: ignore[no-untyped-def]
        result = super().train(build, seed=seed, fidelity=fidelity, checkpoint=checkpoint, on_epoch=on_epoch)
        torch.set_num_threads(3)
        return result


class ReadsTheGlobalGenerator(Faulty):
    def train(self, build, *, seed, fidelity, checkpoint=None, on_epoch=None):  # type: ignore[no-untyped-def]
        noise = float(torch.rand(1, generator=torch.Generator().manual_seed(torch.initial_seed())))

        def noisy() -> nn.Module:
            network = build()
            with torch.no_grad():
                for parameter in network.parameters():
                    parameter += noise
            return network

        return super().train(noisy, seed=seed, fidelity=fidelity, checkpoint=checkpoint, on_epoch=on_epoch)


class OutOfRange(Faulty):
    def train(self, build, *, seed, fidelity, checkpoint=None, on_epoch=None):  # type: ignore[no-untyped-def]
        network, result = super().train(build, seed=seed, fidelity=fidelity, checkpoint=checkpoint, on_epoch=on_epoch)
        return network, replace(result, metrics={"accuracy": 97.0})


@pytest.mark.parametrize(
    ("task", "error", "message"),
    [
        (IgnoresTheSeed, AssertionError, "another seed gives the same weights"),
        (IgnoresTheCheckpoint, AssertionError, "training goes on with epochs"),
        (IgnoresTheSchedule, AssertionError, "the first 1 of 2 epochs of a schedule .* have another curve"),
        (StartsEveryRungAnew, AssertionError, "the first 2 of 2 epochs of a schedule .* have another curve"),
        (LeavesThreads, AssertionError, "leaves torch's threads"),
        (ReadsTheGlobalGenerator, AssertionError, "the same seed gives another result"),
        (OutOfRange, Exception, "'accuracy' is 97.0; expected 0.0 to 1.0"),
    ],
)
def test_contract_check_finds_the_fault(task: type[Digits], error: type[Exception], message: str, tmp_path: Path) -> None:
    with pytest.raises(error, match=message):
        check_task(task, tmp_path, epochs=2)
