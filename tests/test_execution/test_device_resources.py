"""What device actors take from the cluster."""

from paretune.platform.execution.device_resources import DeviceResources, device_resources
from paretune.platform.spec.plugins import TargetSpec


def test_a_remote_device_takes_nothing_and_targets_on_one_gpu_share_it() -> None:
    found = device_resources(
        {
            "pi": TargetSpec(kind="remote", options={"processor": "cuda"}),
            "here": TargetSpec(kind="host", options={"processor": "cpu"}),
            "fast": TargetSpec(kind="host", options={"processor": "cuda", "runtime": "onnxruntime"}),
            "eager": TargetSpec(kind="host", options={"processor": "cuda", "runtime": "torch"}),
            "own": TargetSpec(kind="someones_board"),
        }
    )
    assert found == {
        "pi": DeviceResources(processors=0),
        "here": DeviceResources(processors=1),
        "fast": DeviceResources(processors=1, gpus=0.5),
        "eager": DeviceResources(processors=1, gpus=0.5),
        "own": DeviceResources(processors=1),
    }
