"""The manifests for Kubernetes against KubeRay's own definitions, strictly: a field that the operator does not know is an error."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft7Validator

ROOT = Path(__file__).parents[2]
MANIFESTS = {"deploy/kuberay-cluster.yaml": "crd_rayclusters.yaml", "deploy/kuberay-job.yaml": "crd_rayjobs.yaml"}


def strict(schema: Any) -> Any:
    """The schema with unknown fields refused, as `kubectl --validate=strict` does."""
    if isinstance(schema, list):
        return [strict(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    if schema.get("x-kubernetes-int-or-string"):
        return {"type": ["integer", "string"]}
    made = {name: strict(item) for name, item in schema.items()}
    closed = isinstance(made.get("properties"), dict) and schema.get("type") == "object" and "additionalProperties" not in made
    return {**made, "additionalProperties": False} if closed and not schema.get("x-kubernetes-preserve-unknown-fields") else made


@pytest.fixture(scope="module")
def validators(data_folder: Path) -> dict[str, Draft7Validator]:
    """Manifest -> its definition."""
    found = {}
    for manifest, file in MANIFESTS.items():
        crd = yaml.load((data_folder / "kuberay_crds" / file).read_text(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        version = next(item for item in crd["spec"]["versions"] if item["name"] == "v1")
        schema = strict(version["schema"]["openAPIV3Schema"])
        schema["properties"]["metadata"] = {"type": "object"}
        found[manifest] = Draft7Validator(schema)
    return found


def manifest(name: str) -> dict[str, Any]:
    values: dict[str, Any] = yaml.safe_load((ROOT / name).read_text())
    return values


def cluster_of(values: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = values["spec"].get("rayClusterSpec", values["spec"])
    return found


@pytest.mark.parametrize("name", MANIFESTS)
def test_manifest_is_what_the_operator_takes(name: str, validators: dict[str, Draft7Validator]) -> None:
    assert [error.message for error in validators[name].iter_errors(manifest(name))] == []


CHANGES: list[Callable[[dict[str, Any]], object]] = [
    lambda c: c["workerGroupSpecs"][0].update(group_name="x"),
    lambda c: c["workerGroupSpecs"][0].update(maxReplicas="8"),
    lambda c: c["authOptions"].update(mode="basic"),
    lambda c: c["headGroupSpec"]["rayStartParams"].update({"num-cpus": 0}),
    lambda c: c["headGroupSpec"]["template"]["spec"]["containers"][0].pop("name"),
    lambda c: c["autoscalerOptions"].update(version="v3"),
]


@pytest.mark.parametrize("change", CHANGES)
def test_the_check_finds_planted_mistakes(change: Callable[[dict[str, Any]], object], validators: dict[str, Draft7Validator]) -> None:
    values = copy.deepcopy(manifest("deploy/kuberay-cluster.yaml"))
    change(cluster_of(values))
    assert list(validators["deploy/kuberay-cluster.yaml"].iter_errors(values))


@pytest.mark.parametrize("name", MANIFESTS)
def test_manifest_has_the_types_of_the_cluster_file(name: str) -> None:
    file = yaml.safe_load((ROOT / "cluster.yaml").read_text())
    spec = cluster_of(manifest(name))
    assert {group["groupName"] for group in spec["workerGroupSpecs"]} == {"cpu", "gpu", "analog", "edge"}
    for group in spec["workerGroupSpecs"]:
        tags = json.loads(json.loads(group["rayStartParams"].get("resources", '"{}"')))
        known = {**file["available_node_types"], **file["metadata"]["paretune"]["static_hosts"]}[group["groupName"]]["resources"]
        assert tags == {tag: amount for tag, amount in known.items() if tag not in ("CPU", "GPU")}
    assert spec["authOptions"] == {"mode": "token"}
    assert spec["headGroupSpec"]["serviceType"] == "ClusterIP"
