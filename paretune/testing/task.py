"""The contract of `core.protocols.Task`, sentence by sentence, as a check that takes a factory.

Use it for a task of your own::

    def test_my_task_keeps_the_contract(tmp_path):
        check_task(lambda: MyTask(), tmp_path)
"""

import math
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from paretune.core.metrics import checked_metrics
from paretune.core.protocols import Fidelity, Task, TaskResult
from paretune.core.trial import Outcome

if TYPE_CHECKING:
    from torch import Tensor, nn

Factory = Callable[[], Task]
Build = Callable[[], "nn.Module"]


class _Stopped(Exception):
    """Ends a training in the middle, as a kill does."""


def check_task(factory: Factory, folder: Path, *, build: Build | None = None, epochs: int = 3) -> None:
    """Check every sentence of the task protocol with a small network.

    Args:
        factory: makes the task; called often.
        folder: an empty one, for checkpoints.
        build: makes a network for the task; None for a linear one behind batch norm.
        epochs: at least 2.

    Raises:
        AssertionError: saying which sentence is broken.
    """
    task = factory()
    assert isinstance(task, Task), f"{type(task).__name__} lacks a member of the Task protocol"
    digest = task.digest()
    assert re.fullmatch("[0-9a-f]{64}", digest), f"digest is {digest!r}; expected SHA-256 in hexadecimal"
    assert digest == factory().digest(), "two tasks with the same options have different digests"
    build = build or (lambda: linear_network(task))
    with _kept_torch():
        whole, weights = _check_training(factory, build, epochs)
        _check_seeds(factory, build, epochs, weights)
        for stop_after in range(1, epochs):
            where = folder / f"stopped-{stop_after}"
            _check_resume(factory, build, where, epochs=epochs, stop_after=stop_after, whole=whole, weights=weights)
        _check_rungs(factory, build, folder / "rungs", epochs=epochs, whole=whole, weights=weights)
        _check_divergence(factory, build, epochs)


def linear_network(task: Task) -> "nn.Module":
    """Batch norm over the flattened input and one linear layer."""
    from torch import nn

    size = math.prod(task.input_shape)
    return nn.Sequential(nn.Flatten(), nn.BatchNorm1d(size), nn.Linear(size, task.num_classes))


def state_of(network: "nn.Module") -> "dict[str, Tensor]":
    """Copies of all weights and buffers."""
    return {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}


def same_bits(first: "Mapping[str, Tensor]", second: "Mapping[str, Tensor]") -> bool:
    """Whether two states have the same names and bits."""
    return list(first) == list(second) and all(first[name].numpy().tobytes() == second[name].numpy().tobytes() for name in first)


def _check_training(factory: Factory, build: Build, epochs: int) -> "tuple[TaskResult, dict[str, Tensor]]":
    """Train twice; gives the result and the weights."""
    import torch

    torch.manual_seed(98)
    torch_state = _torch_state()
    calls: list[tuple[int, Mapping[str, float]]] = []
    task = factory()
    network, result = task.train(
        build, seed=11, fidelity=Fidelity(epochs=epochs), on_epoch=lambda done, record: calls.append((done, record))
    )
    assert _torch_state() == torch_state, "training leaves torch's threads, deterministic mode or random state changed"
    assert result.outcome is Outcome.OK, f"a plain network ends as '{result.outcome}'"
    checked_metrics(result.metrics, {metric.name: metric for metric in task.metrics}, producer=f"task '{task.name}'")
    assert len(result.curve) == epochs, f"the curve has {len(result.curve)} records for {epochs} epochs"
    assert [done for done, _ in calls] == list(range(1, epochs + 1)), f"on_epoch was called with {[done for done, _ in calls]}"
    assert [record for _, record in calls] == list(result.curve), "on_epoch's records are not those of the curve"
    tested = task.test(network)
    assert tested, "test gives no metric"
    assert all(math.isfinite(value) for value in tested.values()), f"test gives {dict(tested)}"
    torch.manual_seed(99)  # not 98 as before: a training that reads the global generator without seeding it shows here
    second_network, second = factory().train(build, seed=11, fidelity=Fidelity(epochs=epochs))
    assert second == result, "the same seed gives another result"
    assert same_bits(state_of(network), state_of(second_network)), "the same seed gives other weights"
    return result, state_of(network)


def _check_seeds(factory: Factory, build: Build, epochs: int, weights: "Mapping[str, Tensor]") -> None:
    network, _ = factory().train(build, seed=12, fidelity=Fidelity(epochs=epochs))
    assert not same_bits(weights, state_of(network)), "another seed gives the same weights"


def _check_resume(
    factory: Factory, build: Build, folder: Path, *, epochs: int, stop_after: int, whole: TaskResult, weights: "Mapping[str, Tensor]"
) -> None:
    """Stop after some epochs, go on, and compare with the training that was never stopped."""

    def stop(done: int, _record: Mapping[str, float]) -> None:
        if done == stop_after:
            raise _Stopped

    try:
        factory().train(build, seed=11, fidelity=Fidelity(epochs=epochs), checkpoint=folder, on_epoch=stop)
    except _Stopped:
        pass
    else:
        raise AssertionError("an exception in on_epoch does not end the training")
    calls: list[int] = []
    network, result = factory().train(
        build, seed=11, fidelity=Fidelity(epochs=epochs), checkpoint=folder, on_epoch=lambda done, _record: calls.append(done)
    )
    assert calls == list(range(stop_after + 1, epochs + 1)), f"after epoch {stop_after} training goes on with epochs {calls}"
    assert result == whole, f"stopped after epoch {stop_after} and continued, training gives another result"
    assert same_bits(weights, state_of(network)), f"stopped after epoch {stop_after} and continued, training gives other weights"


def _check_rungs(factory: Factory, build: Build, folder: Path, *, epochs: int, whole: TaskResult, weights: "Mapping[str, Tensor]") -> None:
    """Train an epoch at a time within the schedule of the whole training, and compare with the training that was done at once."""
    for done in range(1, epochs + 1):
        fidelity = Fidelity(epochs=done, schedule_epochs=epochs)
        network, result = factory().train(build, seed=11, fidelity=fidelity, checkpoint=folder)
        assert result.outcome is Outcome.OK, f"the first {done} of {epochs} epochs end as '{result.outcome}'"
        assert result.curve == whole.curve[:done], (
            f"the first {done} of {epochs} epochs of a schedule (Fidelity.schedule_epochs) have another curve than the whole training"
        )
    assert result == whole, "trained by rungs, a network has another result than trained at once"
    assert same_bits(weights, state_of(network)), "trained by rungs, a network has other weights than trained at once"


def _check_divergence(factory: Factory, build: Build, epochs: int) -> None:
    """A network whose weights are no numbers is an outcome, found in the first epoch."""
    import torch

    def build_broken() -> "nn.Module":
        network = build()
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.fill_(math.nan)
        return network

    _, result = factory().train(build_broken, seed=11, fidelity=Fidelity(epochs=epochs))
    assert result.outcome is Outcome.DIVERGED, f"a loss that is NaN ends as '{result.outcome}'; expected 'diverged'"
    assert not result.metrics, f"a diverged training has metrics {dict(result.metrics)}"
    assert not result.curve, f"a loss that is NaN from the start is noticed after {len(result.curve)} epochs"


@contextmanager
def _kept_torch() -> Iterator[None]:
    """Put back what a faulty task leaves changed."""
    import torch

    threads, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    with torch.random.fork_rng(devices=[]):
        try:
            yield
        finally:
            torch.set_num_threads(threads)
            torch.use_deterministic_algorithms(deterministic)


def _torch_state() -> tuple[object, ...]:
    import torch

    return (
        torch.get_num_threads(),
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
        torch.get_rng_state().numpy().tobytes(),
        torch.is_grad_enabled(),
    )
