"""A trained network of a study in MLflow's model registry: the ONNX flavour, so that no pickle is stored or loaded."""

import os
import tempfile
import warnings
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from paretune.core.errors import BadInput, TemporaryError
from paretune.platform.mirror.address import shown, without_login
from paretune.platform.mirror.content import KEY_TAG, STUDY_ID_TAG
from paretune.platform.mirror.errors import Refused
from paretune.platform.mirror.state import study_id
from paretune.platform.mirror.ui import SETTINGS
from paretune.platform.spec.environment import resolve_env

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run
    from mlflow.models import ModelSignature

MODEL_FOLDER = "model"
"""Where the model lies among the artifacts of the run that trained it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisteredNetwork:
    """A version of a registered model."""

    name: str
    version: str
    run_id: str
    """Of the final training that made the network."""
    is_new: bool
    """Whether this call made it; False where the network was registered under this name before."""

    @property
    def uri(self) -> str:
        """What MLflow loads it by: `models:/digits/1`."""
        return f"models:/{self.name}/{self.version}"


def register_network(folder: Path, job_id: str, network: Path, *, name: str, tracking_uri: str, candidate: int) -> RegisteredNetwork:
    """Register an exported network as a new version of a model; one that is registered under the name already stays the version it is.

    Args:
        folder: of the study.
        job_id: of the final training whose run gets the model among its artifacts.
        network: folder with `network.onnx`.
        name: of the registered model, made where it is missing.
        tracking_uri: MLflow's, may hold `${env:NAME}`.
        candidate: number of the candidate, for the version's tags.

    Raises:
        BadInput: MLflow does not know the final training, or will not have the name.
        TemporaryError: MLflow does not answer.
    """
    os.environ.update(SETTINGS)
    from mlflow import MlflowClient  # 3 s

    from paretune.platform.mirror.answers import sorted_error

    uri = without_login(resolve_env(tracking_uri))
    try:
        client = MlflowClient(uri)
        run = _run(client, study_id(folder), job_id)
        if run is None:
            raise BadInput(
                f"MLflow at {shown(uri)} does not know the final training of candidate {candidate}. "
                f"Bring it there with 'paretune sync {folder.name}'"
            )
        return _register(client, run, network, name, candidate)
    except BadInput:
        raise
    except Exception as error:  # any class: database drivers raise their own
        found = sorted_error(error, uri)
        raise (BadInput if isinstance(found, Refused) else TemporaryError)(f"model '{name}': {found}") from error


def _run(client: "MlflowClient", study: str, job_id: str) -> "Run | None":
    experiments = [experiment.experiment_id for experiment in client.search_experiments(max_results=1000)]
    where = f"tags.`{STUDY_ID_TAG}` = '{study}' and tags.`{KEY_TAG}` = '{job_id}'"
    return next(iter(client.search_runs(experiments, where, max_results=1)), None)


def _register(client: "MlflowClient", run: "Run", network: Path, name: str, candidate: int) -> RegisteredNetwork:
    from mlflow.exceptions import MlflowException

    run_id = run.info.run_id
    try:
        client.create_registered_model(name, description="Networks that paretune found.")
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    known = client.search_model_versions(f"name = '{name}' and run_id = '{run_id}'")
    if known:
        return RegisteredNetwork(name=name, version=str(known[0].version), run_id=run_id, is_new=False)
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch, MODEL_FOLDER)
        _save(network / "network.onnx", path)
        client.log_artifacts(run_id, str(path), MODEL_FOLDER)
    tags = {name: str(run.data.tags[name]) for name in ("paretune.study", STUDY_ID_TAG, KEY_TAG) if name in run.data.tags}
    values = ", ".join(f"{metric} {value:.6g}" for metric, value in sorted(run.data.metrics.items()) if not metric.startswith("curve."))
    made = client.create_model_version(
        name,
        f"{run.info.artifact_uri}/{MODEL_FOLDER}",
        run_id,
        tags={**tags, "paretune.candidate": str(candidate)},
        description=f"Candidate {candidate}: {values}",
    )
    return RegisteredNetwork(name=name, version=str(made.version), run_id=run_id, is_new=True)


def _save(file: Path, path: Path) -> None:
    """The model folder: the ONNX file, its signature, and what to install; nothing that runs code when it is loaded."""
    import mlflow.onnx
    import onnx

    model = onnx.load(file)
    requirements = [f"{name}=={version(name)}" for name in ("onnx", "onnxruntime", "numpy")]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*Any type hint")  # about a function of MLflow's own
        mlflow.onnx.save_model(model, path, signature=_signature(model), pip_requirements=requirements, save_as_external_data=False)


def _signature(model: Any) -> "ModelSignature":
    """Inputs and outputs as the graph declares them, free dimensions -1."""
    import numpy as np
    from mlflow.models import ModelSignature
    from mlflow.types import Schema, TensorSpec
    from onnx.helper import tensor_dtype_to_np_dtype

    def spec(value: Any) -> TensorSpec:
        tensor = value.type.tensor_type
        shape = tuple(size.dim_value if size.HasField("dim_value") else -1 for size in tensor.shape.dim)
        return TensorSpec(np.dtype(tensor_dtype_to_np_dtype(tensor.elem_type)), shape, value.name)

    return ModelSignature(Schema([spec(value) for value in model.graph.input]), Schema([spec(value) for value in model.graph.output]))
