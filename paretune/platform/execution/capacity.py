"""What the Ray cluster that this process is connected to has, and what its autoscaler may add."""

import contextlib
import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil
import ray
from ray._private.state import state

from paretune.platform.execution.demands import ClusterFacts, Node, NodeType

OPTION = "--autoscaling-config="


def cluster_facts(*, nodes_come: bool = False, without: frozenset[str] = frozenset()) -> ClusterFacts:
    """The nodes that are alive, and the node types that may join.

    Args:
        nodes_come: whether the user says that nodes join by themselves, in a way that cannot be seen from here.
        without: ids of nodes that may not be used.
    """
    alive = [node for node in ray.nodes() if node["Alive"]]
    nodes = tuple(Node(resources=node["Resources"], labels=_labels(node)) for node in alive if node["NodeID"] not in without)
    types = _told_types() or _configured_types()
    num_refused = len(alive) - len(nodes)
    return ClusterFacts(nodes=nodes, node_types=types, nodes_come=nodes_come or types is not None, num_refused=num_refused)


def gcs_address() -> str:
    """`HOST:PORT` of the head."""
    return str(ray.get_runtime_context().gcs_address)


def is_draining() -> bool:
    """Whether the node of this process will go away soon."""
    return ray.get_runtime_context().get_node_id() in draining_nodes()


def draining_nodes() -> frozenset[str]:
    """Ids of the nodes that will go away soon: preempted, or drained by hand."""
    return frozenset(state.get_draining_nodes())


def _labels(node: Mapping[str, Any]) -> dict[str, str]:
    return {name: str(value) for name, value in (node.get("Labels") or {}).items()}


def _told_types() -> tuple[NodeType, ...]:
    """From the cluster configuration that managed clusters keep in the GCS; the open-source autoscaler does not."""
    config = state.get_cluster_config()
    groups = [] if config is None else config.node_group_configs
    return tuple(
        NodeType(
            name=group.name,
            node=Node(resources={name: float(amount) for name, amount in group.resources.items()}),
            max_count=group.max_count,
        )
        for group in groups
        if group.max_count != 0
    )


@functools.cache
def _configured_types() -> tuple[NodeType, ...] | None:
    """From the file that the autoscaler of this cluster was started with, where it runs on this host; None where it does not."""
    path = _autoscaling_file(gcs_address())
    if path is None:
        return None
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        values = YAML(typ="safe", pure=True).load(path.read_text())
    except (OSError, YAMLError):
        return ()
    return node_types(values if isinstance(values, dict) else {})


def node_types(config: Mapping[str, Any]) -> tuple[NodeType, ...]:
    """The node types of a cluster file that may have workers."""
    most = config.get("max_workers", -1)
    found = []
    for name, item in (config.get("available_node_types") or {}).items():
        count = item.get("max_workers", most)
        resources = {key: float(amount) for key, amount in (item.get("resources") or {}).items() if isinstance(amount, int | float)}
        if count != 0:
            found.append(NodeType(name=str(name), node=Node(resources=resources, labels=item.get("labels") or {}), max_count=count))
    return tuple(found)


def _autoscaling_file(gcs_address: str) -> Path | None:
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            line = process.cmdline()
            ours = any(gcs_address in part for part in line) and any("monitor.py" in part for part in line)
            given = [part.removeprefix(OPTION) for part in line if part.startswith(OPTION)] if ours else []
            if given and given[0]:
                return Path(given[0]).expanduser()
    return None
