"""Exported networks: three files that agree with torch, or a refusal."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from onnxruntime import InferenceSession
from safetensors.torch import load_file
from torch import Tensor, nn

from paretune.core.errors import BadInput, StorageError
from paretune.networks.evaluation import evaluating
from paretune.networks.onnx_conversion import INPUT_NAME
from paretune.tasks.export import export_network


def trained() -> nn.Module:
    torch.manual_seed(2)
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 10))
    network(torch.randn(16, 1, 8, 8))  # moves batch norm's statistics
    return network


def test_exported_files_give_what_torch_gives(tmp_path: Path) -> None:
    network = trained()
    files = export_network(network, (1, 1, 8, 8), tmp_path / "out", {"decisions": {"stem.width": 8}, "accuracy": 0.5})
    images = torch.randn(7, 1, 8, 8)
    with evaluating(network):
        expected = network(images)
    found = InferenceSession(files.onnx, providers=["CPUExecutionProvider"]).run(None, {INPUT_NAME: images.numpy()})[0]
    np.testing.assert_allclose(found, expected.numpy(), rtol=1e-4, atol=1e-5)
    rebuilt = trained()
    rebuilt.load_state_dict(load_file(files.weights))
    with evaluating(rebuilt):
        assert torch.equal(rebuilt(images), expected)
    assert network.training


def test_description_holds_metadata_shape_and_digests_of_the_files(tmp_path: Path) -> None:
    files = export_network(trained(), (1, 1, 8, 8), tmp_path, {"decisions": {"stem.width": 8}})
    description = json.loads(files.description.read_text())
    assert description["metadata"] == {"decisions": {"stem.width": 8}}
    assert description["input_shape"] == ["batch", 1, 8, 8]
    for path in (files.weights, files.onnx):
        assert description["files"][path.name]["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert description["onnx_check"]["largest_difference"] == files.largest_difference < 1e-4
    assert {path.name for path in tmp_path.iterdir()} == {"network.safetensors", "network.onnx", "network.json"}


def test_a_forward_that_depends_on_values_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    class Moody(nn.Module):
        def forward(self, inputs: Tensor) -> Tensor:
            # .tolist() leaves torch, so the conversion freezes what it saw for zeros.
            return inputs * (2.0 if sum(inputs.flatten().tolist()) else 1.0)

    with pytest.raises(BadInput, match=r"computes something else|cannot be converted"):  # the latter with torch 2.15 on Python 3.13
        export_network(Moody(), (1, 4), tmp_path / "out", {})
    assert not (tmp_path / "out").exists()


def test_metadata_that_is_no_json_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises((TypeError, ValueError)):
        export_network(trained(), (1, 1, 8, 8), tmp_path / "out", {"accuracy": float("nan")})
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_made_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot make the folder"):
        export_network(trained(), (1, 1, 8, 8), tmp_path / "file" / "out", {})
