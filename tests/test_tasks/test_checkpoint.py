"""Checkpoints: every damage is found before use, the generation before it serves, and other networks are refused by name."""

import json
import random
from pathlib import Path

import pytest
import torch
from torch import Tensor

from paretune.core.errors import CheckpointDamaged, StorageError
from paretune.core.files import TEMPORARY_PREFIX
from paretune.tasks.checkpoint import Checkpoint, check_tensors, load_checkpoint, save_checkpoint

RUN = {"seed": 3, "recipe": {"learning_rate": 0.1}}


def checkpoint_after(epochs_done: int) -> Checkpoint:
    torch.manual_seed(epochs_done)
    return Checkpoint(
        epochs_done=epochs_done,
        tensors={"model.weight": torch.randn(4, 3), "model.steps": torch.tensor(epochs_done), "momentum.weight": torch.randn(4, 3)},
        curve=tuple({"epoch": float(epoch), "train_loss": 1 / epoch} for epoch in range(1, epochs_done + 1)),
        run=RUN,
    )


def same(found: Checkpoint | None, expected: Checkpoint) -> bool:
    return (
        found is not None
        and (found.epochs_done, found.curve, found.run) == (expected.epochs_done, expected.curve, expected.run)
        and {name: tensor.numpy().tobytes() for name, tensor in found.tensors.items()}
        == {name: tensor.numpy().tobytes() for name, tensor in expected.tensors.items()}
    )


def save_up_to(folder: Path, epochs_done: int) -> None:
    for epoch in range(1, epochs_done + 1):
        save_checkpoint(folder, checkpoint_after(epoch))


def test_the_newest_checkpoint_comes_back_and_two_generations_stay(tmp_path: Path) -> None:
    save_up_to(tmp_path / "a", 5)
    assert same(load_checkpoint(tmp_path / "a"), checkpoint_after(5))
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == [
        "epoch-000004.json",
        "epoch-000004.safetensors",
        "epoch-000005.json",
        "epoch-000005.safetensors",
    ]


def test_no_folder_and_an_empty_folder_hold_no_checkpoint(tmp_path: Path) -> None:
    assert load_checkpoint(tmp_path) is None
    assert load_checkpoint(tmp_path / "missing") is None


def test_every_bit_flip_in_the_newest_falls_back_to_the_one_before(tmp_path: Path) -> None:
    save_up_to(tmp_path, 3)
    draw = random.Random(1)
    files = [tmp_path / "epoch-000003.json", tmp_path / "epoch-000003.safetensors"]
    before = checkpoint_after(2)
    for trial in range(300):
        path = files[trial % 2]
        original = path.read_bytes()
        bit = draw.randrange(8 * len(original))
        path.write_bytes(original[: bit // 8] + bytes([original[bit // 8] ^ (1 << bit % 8)]) + original[bit // 8 + 1 :])
        assert same(load_checkpoint(tmp_path), before), f"bit {bit} of {path.name} flipped unseen"
        path.write_bytes(original)
    assert same(load_checkpoint(tmp_path), checkpoint_after(3))


def test_every_truncation_and_extension_falls_back_to_the_one_before(tmp_path: Path) -> None:
    save_up_to(tmp_path, 3)
    draw = random.Random(2)
    for path in (tmp_path / "epoch-000003.json", tmp_path / "epoch-000003.safetensors"):
        original = path.read_bytes()
        for length in [0, 1, len(original) - 1, *(draw.randrange(len(original)) for _ in range(47))]:
            path.write_bytes(original[:length])
            assert same(load_checkpoint(tmp_path), checkpoint_after(2)), f"{path.name} cut to {length} bytes unseen"
        path.write_bytes(original + b" ")
        assert same(load_checkpoint(tmp_path), checkpoint_after(2))
        path.write_bytes(original)


def test_files_of_two_generations_do_not_pass_for_one(tmp_path: Path) -> None:
    save_up_to(tmp_path, 3)
    (tmp_path / "epoch-000003.safetensors").write_bytes((tmp_path / "epoch-000002.safetensors").read_bytes())
    assert same(load_checkpoint(tmp_path), checkpoint_after(2))


def test_damage_in_both_generations_is_an_error_that_names_both(tmp_path: Path) -> None:
    save_up_to(tmp_path, 3)
    (tmp_path / "epoch-000002.json").write_text("{}")
    (tmp_path / "epoch-000003.safetensors").unlink()
    with pytest.raises(CheckpointDamaged, match=r"epoch-000003\.safetensors is missing; .*epoch-000002\.json is damaged"):
        load_checkpoint(tmp_path)


def test_what_a_crash_leaves_is_passed_over_and_cleared(tmp_path: Path) -> None:
    save_up_to(tmp_path, 2)
    # Killed between the two files of epoch 3, and in the middle of one.
    (tmp_path / "epoch-000003.safetensors").write_bytes(b"no json yet")
    (tmp_path / f"{TEMPORARY_PREFIX}1-abc").write_bytes(b"half")
    assert same(load_checkpoint(tmp_path), checkpoint_after(2))
    save_checkpoint(tmp_path, checkpoint_after(3))
    save_checkpoint(tmp_path, checkpoint_after(4))
    assert {path.stem for path in tmp_path.iterdir()} == {"epoch-000003", "epoch-000004"}


def test_training_that_starts_over_outlives_damaged_later_generations(tmp_path: Path) -> None:
    save_up_to(tmp_path, 6)
    for path in tmp_path.glob("*.json"):
        path.write_bytes(b"")
    save_checkpoint(tmp_path, checkpoint_after(1))
    assert same(load_checkpoint(tmp_path), checkpoint_after(1))


def test_links_are_not_followed(tmp_path: Path) -> None:
    save_up_to(tmp_path / "real", 2)
    (tmp_path / "linked").mkdir()
    for name in ("epoch-000002.json", "epoch-000002.safetensors"):
        (tmp_path / "linked" / name).symlink_to(tmp_path / "real" / name)
    with pytest.raises(CheckpointDamaged, match="symbolic link"):
        load_checkpoint(tmp_path / "linked")


def test_hostile_json_is_damage_and_nothing_else(tmp_path: Path) -> None:
    for text in ("[" * 100_000, "NaN", '{"content": 1, "sha256": 2}', '{"content": {}, "content": {}}', "\x80\x04pickle"):
        (tmp_path / "epoch-000001.json").write_text(text)
        with pytest.raises(CheckpointDamaged):
            load_checkpoint(tmp_path)


def test_a_later_format_is_refused_by_name(tmp_path: Path) -> None:
    from paretune.core.genotype import canonical_json, fingerprint

    save_checkpoint(tmp_path, checkpoint_after(1))
    content = json.loads((tmp_path / "epoch-000001.json").read_text())["content"] | {"format": "paretune-checkpoint-9"}
    (tmp_path / "epoch-000001.json").write_text(canonical_json({"content": content, "sha256": fingerprint(content)}))
    with pytest.raises(CheckpointDamaged, match="'paretune-checkpoint-9'; this version reads 'paretune-checkpoint-1'"):
        load_checkpoint(tmp_path)


def test_tied_and_transposed_tensors_are_saved_by_value(tmp_path: Path) -> None:
    weight = torch.arange(6.0).reshape(2, 3)
    save_checkpoint(
        tmp_path, Checkpoint(epochs_done=1, tensors={"a": weight, "b": weight, "c": weight.T}, curve=({"epoch": 1.0},), run=RUN)
    )
    found = load_checkpoint(tmp_path)
    assert found is not None
    assert found.tensors["b"].equal(weight)
    assert found.tensors["c"].equal(weight.T)


@pytest.mark.parametrize(
    ("found", "message"),
    [
        ({"a": torch.zeros(2), "b": torch.zeros(9, 1)}, r"another network: 'b' is float32 \(9, 1\), this network has float32 \(3, 1\)"),
        ({"a": torch.zeros(2), "b": torch.zeros(3, 1, dtype=torch.float64)}, "'b' is float64"),
        ({"b": torch.zeros(3, 1)}, r"it has no tensor 'a' \(float32 \(2,\)\)"),
        ({"a": torch.zeros(2), "b": torch.zeros(3, 1), "c": torch.zeros(1)}, "this network has no tensor 'c'"),
    ],
)
def test_another_network_is_refused_naming_the_first_tensor_that_differs(found: dict[str, Tensor], message: str) -> None:
    with pytest.raises(CheckpointDamaged, match=message) as caught:
        check_tensors(found, {"a": torch.zeros(2), "b": torch.zeros(3, 1)}, where="epoch 3")
    assert "\n" not in str(caught.value)


def test_a_file_where_the_folder_should_be_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("")
    with pytest.raises(StorageError, match="cannot make the checkpoint folder"):
        save_checkpoint(tmp_path / "a", checkpoint_after(1))
