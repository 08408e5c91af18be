"""What one more copy in a probe adds is the layer: counted in MACs, and seen in the graph that ONNX Runtime makes of it."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import onnx
import pytest
import torch
from onnxruntime import InferenceSession, SessionOptions

from paretune.core.errors import BadInput
from paretune.core.workload import Kind, Layer, WorkloadBatch
from paretune.networks.counting import count_macs
from paretune.networks.layer_probes import CARRIED, baseline, input_shape, probe
from paretune.networks.onnx_conversion import to_onnx

MAP = {"in_height": 8, "in_width": 8, "out_height": 8, "out_width": 8}
LAYERS = [
    Layer(kind=Kind.CONV, in_channels=16, out_channels=24, kernel=3, padding=1, **MAP),
    Layer(kind=Kind.CONV, in_channels=16, out_channels=24, kernel=1, stride=2, in_height=8, in_width=8, out_height=4, out_width=4),
    Layer(kind=Kind.CONV, in_channels=16, out_channels=32, groups=2, **MAP),
    Layer(kind=Kind.DEPTHWISE, in_channels=16, out_channels=16, groups=16, kernel=5, padding=2, **MAP),
    Layer(kind=Kind.LINEAR, in_channels=16, out_channels=10),
    Layer(kind=Kind.LINEAR, in_channels=16, out_channels=10, in_width=7, in_height=1, out_width=7),
    Layer(kind=Kind.POOL, in_channels=16, out_channels=16, kernel=8, in_height=8, in_width=8),
    Layer(kind=Kind.POOL, in_channels=16, out_channels=16, kernel=2, stride=2, in_height=8, in_width=8, out_height=4, out_width=4),
    Layer(kind=Kind.POOL, in_channels=16, out_channels=16, in_height=8, in_width=8, out_height=12, out_width=12),
    Layer(kind=Kind.ACTIVATION, in_channels=16, out_channels=16, **MAP),
]


def name(layer: Layer) -> str:
    return f"{layer.kind.name.lower()}-{layer.kernel}-{layer.out_height}-{layer.groups}"


@pytest.mark.parametrize("layer", LAYERS, ids=name)
def test_each_further_copy_adds_the_macs_of_the_layer(layer: Layer) -> None:
    layer = replace(layer, batch=2)
    shape = input_shape(layer)
    added = count_macs(probe(layer, 4), shape) - count_macs(probe(layer, 1), shape)
    if layer.kind in CARRIED:
        added -= count_macs(baseline(layer, 4), shape) - count_macs(baseline(layer, 1), shape)
    assert added == 3 * WorkloadBatch.from_layers([[layer]]).macs_L[0]


@pytest.mark.parametrize("layer", LAYERS, ids=name)
def test_a_probe_has_the_output_of_its_layer(layer: Layer) -> None:
    outputs = probe(layer, 1).eval()(torch.zeros(input_shape(layer)))
    if layer.kind is Kind.LINEAR:
        assert outputs.shape[-1] == layer.out_channels
    else:
        assert tuple(outputs.shape) == (1, layer.out_channels, layer.out_height, layer.out_width)


def optimised(layer: Layer, copies: int, folder: Path) -> Counter[str]:
    """Operators that ONNX Runtime runs."""
    options = SessionOptions()
    options.optimized_model_filepath = str(folder / f"{copies}.onnx")
    options.log_severity_level = 3
    InferenceSession(to_onnx(probe(layer, copies), input_shape(layer)), sess_options=options, providers=["CPUExecutionProvider"])
    return Counter(node.op_type for node in onnx.load(folder / f"{copies}.onnx").graph.node)


@pytest.mark.parametrize("layer", [LAYERS[0], LAYERS[3]], ids=name)
def test_a_further_copy_of_a_convolution_is_one_kernel_with_batch_norm_sum_and_relu(layer: Layer, tmp_path: Path) -> None:
    one, four = optimised(layer, 1, tmp_path), optimised(layer, 4, tmp_path)
    more = four - one
    assert sum(more.values()) == 3, more
    assert all("Conv" in operator for operator in more)


@pytest.mark.parametrize("layer", [LAYERS[6], LAYERS[9]], ids=name)
def test_copies_without_weights_are_not_computed_once_for_all(layer: Layer, tmp_path: Path) -> None:
    one, four = optimised(layer, 1, tmp_path), optimised(layer, 4, tmp_path)
    wanted = "Pool" if layer.kind is Kind.POOL else "Mul"
    assert sum(count for operator, count in (four - one).items() if wanted in operator) == 3, four


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (Layer(kind=Kind.FFT, in_channels=8, out_channels=8), "kind fft cannot be measured by itself; kinds that can: conv, depthwise"),
        (replace(LAYERS[0], taps=4), "pruned kernels"),
        (replace(LAYERS[4], rank=3), "low rank"),
    ],
)
def test_layers_without_a_probe_are_refused(layer: Layer, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        probe(layer, 1)
