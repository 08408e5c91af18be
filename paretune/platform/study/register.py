"""Puts the network that people chose from a front into MLflow's model registry."""

from pathlib import Path

from paretune.core.errors import BadInput
from paretune.platform.mirror.register import RegisteredNetwork, register_network
from paretune.platform.record.summary import best_seed
from paretune.platform.study.study import read_history


def register_candidate(folder: Path, ask_index: int, *, tracking_uri: str, name: str | None = None) -> RegisteredNetwork:
    """Register the best seed of a retrained candidate as a model version.

    Args:
        folder: of the study.
        ask_index: number of the candidate.
        tracking_uri: of the MLflow that has the study's runs, may hold `${env:NAME}`.
        name: of the registered model; the study's where it is None.

    Raises:
        BadInput: the candidate was not retrained, or MLflow does not know it or will not have the name.
        TemporaryError: MLflow does not answer.
    """
    history = read_history(folder)
    finals = history.finals()
    best = best_seed(history.problem, finals.get(ask_index, []))
    network = None if best is None else folder / "work" / best.job.id / "network"
    if best is None or network is None or not (network / "network.onnx").is_file():
        having = [index for index, group in finals.items() if best_seed(history.problem, group) is not None]
        listed = ", ".join(map(str, having)) or "none yet; 'paretune resume' goes on to the final training"
        raise BadInput(
            f"candidate {ask_index} of study '{history.header.name}' has no finally trained network. Those that have one: {listed}"
        )
    return register_network(folder, best.job.id, network, name=name or history.header.name, tracking_uri=tracking_uri, candidate=ask_index)
