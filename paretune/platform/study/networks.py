"""The trained networks of the front, each in a folder people can find: `networks/<rank>-candidate-<ask>/`."""

import shutil
from pathlib import Path

from paretune.platform.record.history import History
from paretune.platform.record.summary import best_seed

FILES = ("network.onnx", "network.safetensors", "network.json")


def publish_networks(folder: Path, history: History) -> list[Path]:
    """Put the best seed of every finally trained network under `networks/`, replacing what an earlier session put there.

    The best seed is the one with the best validation value of the first objective: the test set decides nothing.
    """
    finals = history.finals()
    ranked = [record.job.ask_index for record in history.front() if record.job.ask_index in finals]
    target = folder / "networks"
    staging = folder / "networks.new"
    shutil.rmtree(staging, ignore_errors=True)
    names = []
    for rank, ask_index in enumerate(ranked, start=1):
        best = best_seed(history.problem, finals[ask_index])
        source = None if best is None else folder / "work" / best.job.id / "network"
        if source is not None and source.is_dir():
            name = f"{rank:02d}-candidate-{ask_index}"
            shutil.copytree(source, staging / name)
            names.append(name)
    if not names:
        return []
    shutil.rmtree(target, ignore_errors=True)
    staging.rename(target)
    return [target / name for name in names]
