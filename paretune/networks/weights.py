"""The weights of a trained network on their way from the process that trained it to those that measure it: safetensors, nothing pickled."""

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from paretune.core.errors import CheckpointDamaged, EvaluationError
from paretune.core.files import make_folder, read_regular, write_durably

if TYPE_CHECKING:
    from torch import nn


def write_weights(network: "nn.Module", path: Path) -> str:
    """Write the state of a network durably; the SHA-256 of the file.

    Raises:
        StorageError: the storage refuses.
    """
    from safetensors.torch import save  # torch takes a second to import; the driver does without
    from torch import contiguous_format

    tensors = {name: tensor.detach().cpu().clone(memory_format=contiguous_format) for name, tensor in network.state_dict().items()}
    data = save(tensors)
    make_folder(path.parent)
    write_durably(path, data)
    return hashlib.sha256(data).hexdigest()


def read_weights(network: "nn.Module", path: Path, *, sha256: str) -> "nn.Module":
    """The network with the weights of a file, in evaluation mode.

    Args:
        network: as the space builds it.
        path: written by `write_weights`.
        sha256: of the file.

    Raises:
        CheckpointDamaged: the file is gone or is not what was written.
        EvaluationError: the weights are those of another network.
    """
    from safetensors.torch import load

    try:
        data = read_regular(path)
    except FileNotFoundError as error:
        raise CheckpointDamaged(f"{path} is gone") from error
    if hashlib.sha256(data).hexdigest() != sha256:
        raise CheckpointDamaged(f"{path} is not what was written")
    try:
        network.load_state_dict(load(data), strict=True)
    except RuntimeError as error:
        raise EvaluationError(
            f"the task trained another network than the one that the space builds, so nobody else can build it to measure it: {error}"
        ) from error
    return network.eval()
