"""The contract of `core.accuracy_devices.AccuracyDevice`, sentence by sentence, as a check that takes a factory.

Use it for hardware of your own that changes what networks compute::

    def test_my_tiles_keep_the_contract():
        check_accuracy_device(lambda: MyTiles())
"""

import json
import pickle
from collections.abc import Callable

import numpy as np

from paretune.core.accuracy_devices import AccuracyDevice, LabelledExamples, RacingHardware
from paretune.core.contest import Contest
from paretune.core.errors import DeviceError
from paretune.core.metrics import checked_metrics
from paretune.core.rng import stream
from paretune.testing.device import listed, small_network, torch_state, weight_bytes

NUM_EXAMPLES = 40


def check_accuracy_device(factory: Callable[[], AccuracyDevice], *, input_shape: tuple[int, ...] = (1, 8, 8)) -> None:
    """Check every sentence of the protocol by really judging a small network.

    Args:
        factory: makes the hardware; called twice.
        input_shape: of one example.

    Raises:
        AssertionError: saying which sentence is broken.
    """
    device, twin = factory(), factory()
    assert isinstance(device, AccuracyDevice), f"{type(device).__name__} lacks a member of the AccuracyDevice protocol"
    names = [metric.name for metric in device.metrics]
    assert len(set(names)) == len(names) > 0, f"metrics share a name, or there are none: {names}"
    assert device.metrics == twin.metrics, "two with the same options have different metrics"
    assert not any("." in name for name in names), f"names carry a prefix: {names}"
    assert not any(metric.free for metric in device.metrics), "a metric is marked free, but it is judged"
    _check_judging(device, twin, input_shape)
    _check_refusal(device, input_shape)


def _examples(input_shape: tuple[int, ...]) -> LabelledExamples:
    rng = stream(0, index=0, purpose="testing.examples")
    inputs = rng.standard_normal((NUM_EXAMPLES, *input_shape)).astype(np.float32)
    return LabelledExamples(inputs=inputs, labels=rng.integers(0, 10, NUM_EXAMPLES))


def _check_judging(device: AccuracyDevice, twin: AccuracyDevice, input_shape: tuple[int, ...]) -> None:
    examples, network = _examples(input_shape), small_network((1, *input_shape)).eval()
    before = weight_bytes(network), torch_state()
    first = device.judge(network, examples, calibration=examples.inputs)
    assert weight_bytes(network) == before[0], "judging changes weights or buffers"
    assert torch_state() == before[1], "judging leaves torch's threads, deterministic mode, gradients or random state changed"
    travelled = pickle.loads(pickle.dumps(twin)).judge(network, examples, calibration=examples.inputs)  # noqa: S301 - our own
    assert first == travelled == device.judge(network, examples, calibration=examples.inputs), (
        "the same network is not judged the same again"
    )
    expected = {metric.name: metric for metric in device.metrics}
    assert set(first.values) == set(expected), f"judge gives {sorted(first.values)}; metrics has {sorted(expected)}"
    checked_metrics(first.values, expected, producer="the hardware")
    if isinstance(device, RacingHardware) and device.racing:
        alone = device.judge_against(network, examples, calibration=examples.inputs, contest=Contest(rivals=np.zeros((0, 0))))
        assert alone == first, "without rivals and limits a candidate is judged otherwise than by judge"
    exported, facts = device.export(network)
    assert weight_bytes(network) == before[0], "exporting changes weights or buffers"
    assert exported is not network, "exporting gives the network itself; give a copy"
    for what, told in (("details", first.details), ("facts of the export", facts)):
        try:
            again = json.loads(json.dumps(dict(told), allow_nan=False))
        except (TypeError, ValueError) as error:
            raise AssertionError(f"{what} are no JSON: {error}") from error
        assert again == listed(told), f"{what} do not survive JSON; use text keys, numbers, texts and lists"


def _check_refusal(device: AccuracyDevice, input_shape: tuple[int, ...]) -> None:
    from torch import Tensor, nn

    class Failing(nn.Linear):
        def forward(self, inputs: Tensor) -> Tensor:  # noqa: ARG002 - torch's signature
            raise RuntimeError("this network cannot run")

    examples = _examples(input_shape)
    network = nn.Sequential(nn.Flatten(), nn.Linear(int(np.prod(input_shape)), 4), Failing(4, 10))
    try:
        device.judge(network, examples, calibration=examples.inputs)
    except DeviceError:
        return
    except Exception as error:
        raise AssertionError(f"a network that cannot run gives {type(error).__name__}; expected DeviceError") from error
    raise AssertionError("a network that cannot run was judged all the same")
