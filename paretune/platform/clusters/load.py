"""Reads a cluster file: Ray's schema, Amazon's fields and our own checks -> `Cluster`, or one `SpecError` with every mistake."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from paretune.core.errors import SpecError, SpecProblem
from paretune.platform.clusters.aws import aws_findings, is_botocore_there
from paretune.platform.clusters.checks import example_values, own_findings
from paretune.platform.clusters.findings import as_problems
from paretune.platform.clusters.model import Cluster, NodeType
from paretune.platform.clusters.ray_schema import refusal_of_ray, schema_findings
from paretune.platform.clusters.section import ParetuneSection, read_section
from paretune.platform.spec.nodes import MapNode, dotted, place
from paretune.platform.spec.reader import read_nodes
from paretune.platform.spec.source import read_text

DEFAULT_IDLE_MINUTES = 5.0
"""Ray's own."""
HEAD = "head"


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedCluster:
    """A cluster file in order, and what the user should still know."""

    cluster: Cluster
    notes: tuple[str, ...]
    """One line each; nothing in them keeps the file from being valid."""
    blockers: tuple[str, ...]
    """What has to be filled in or brought about before the cluster can start, one line each."""
    root: MapNode = field(repr=False)


def load_cluster(path: Path | str) -> LoadedCluster:
    """Read and check a cluster file; nothing is sent anywhere.

    Raises:
        SpecError: with every mistake, sorted by line.
    """
    path = Path(path)
    text = read_text(path)
    root, problems = read_nodes(text, file=str(path))
    values = _values(text, str(path))
    section, findings = read_section(values)
    findings += schema_findings(values)
    findings += own_findings(values, section)
    provider = values.get("provider")
    kind = str(provider.get("type", "")) if isinstance(provider, Mapping) else ""
    if kind == "aws" and is_botocore_there():
        findings += aws_findings(values)
    problems = [*problems, *as_problems(root, findings)]
    if not problems and (refusal := refusal_of_ray(values)):
        problems.append(SpecProblem(line=0, column=0, path="", message=f"Ray refuses it: {refusal}"))
    if problems:
        raise SpecError(str(path), problems)
    cluster = _cluster(path, values, section, kind)
    return LoadedCluster(cluster=cluster, notes=tuple(_notes(cluster, section)), blockers=tuple(_blockers(cluster, root)), root=root)


def _values(text: str, file: str) -> dict[str, Any]:
    """The file as Ray reads it, with PyYAML, whose YAML is an older one than ours."""
    import yaml

    try:
        values = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line, column = (mark.line + 1, mark.column + 1) if mark else (0, 0)
        told = getattr(error, "problem", None) or str(error)
        raise SpecError(file, [SpecProblem(line=line, column=column, path="", message=f"Ray's YAML reader refuses it: {told}")]) from error
    assert isinstance(values, dict)  # our own reader saw a mapping
    return {str(name): value for name, value in values.items()}


def _cluster(path: Path, values: dict[str, Any], section: ParetuneSection, kind: str) -> Cluster:
    prices = section.prices.per_hour
    types = values.get("available_node_types") or {HEAD: {"resources": {}}}  # on premises the head's resources are found when it starts
    head = values.get("head_node_type", HEAD)
    total = int(values.get("max_workers", sum(len(item.hosts) for item in section.static_hosts.values())))
    started = [
        NodeType(
            name=str(name),
            resources={tag: float(amount) for tag, amount in (item.get("resources") or {}).items()},
            min_nodes=1 if name == head else int(item.get("min_workers", 0)),
            max_nodes=1 if name == head else min(total, int(item.get("max_workers", total))),
            price_per_hour=prices.get(str(name)),
            labels=dict(item.get("labels") or {}),
            is_head=name == head,
        )
        for name, item in types.items()
    ]
    static = [
        NodeType(
            name=name,
            resources=dict(item.resources),
            min_nodes=len(item.hosts),
            max_nodes=len(item.hosts),
            price_per_hour=prices.get(name, 0.0),
            hosts=tuple(item.hosts),
            ssh_user=item.ssh_user,
        )
        for name, item in section.static_hosts.items()
    ]
    auth = values.get("auth") or {}
    return Cluster(
        file=path,
        name=values["cluster_name"],
        provider=kind,
        node_types=(*started, *static),
        max_workers=total,
        idle_timeout_s=60.0 * float(values.get("idle_timeout_minutes", DEFAULT_IDLE_MINUTES)),
        currency=section.prices.currency,
        storage=section.storage,
        ssh_user=str(auth.get("ssh_user", "")),
        ssh_private_key=str(auth.get("ssh_private_key", "")),
        values=values,
    )


def _notes(cluster: Cluster, section: ParetuneSection) -> list[str]:
    notes = []
    if cluster.provider == "aws" and not is_botocore_there():
        notes.append("node_config is not checked, since botocore is not installed: pip install boto3")
    if cluster.provider in ("gcp", "azure"):
        notes.append(f"node_config is not checked: the fields of {cluster.provider} are known to it alone")
    unpriced = [item.name for item in cluster.node_types if item.price_per_hour is None]
    if section.prices.per_hour and unpriced:
        notes.append(f"metadata.paretune.prices: no price for {', '.join(unpriced)}, so estimates leave it out")
    if not section.storage:
        notes.append("metadata.paretune.storage: not given; studies need a folder that every node shares")
    return notes


def _blockers(cluster: Cluster, root: MapNode) -> list[str]:
    found = []
    for loc, value in example_values(cluster.values):
        line, column = place(root, loc)
        found.append(f"{cluster.file}:{line}:{column}: {dotted(loc)}: {value} is the example's; write yours")
    for remote, local in (cluster.values.get("file_mounts") or {}).items():
        if not Path(str(local)).expanduser().exists():
            line, column = place(root, ("file_mounts", remote))
            hint = _how_to_make(str(local))
            found.append(f"{cluster.file}:{line}:{column}: file_mounts: there is no {local} here{hint}")
    return found


def _how_to_make(local: str) -> str:
    if local.endswith("auth_token"):
        return "; make it: ray get-auth-token --generate"
    return "; make it: pip wheel --no-deps --wheel-dir dist ." if local.endswith(".whl") else ""
