"""What a study needs of a cluster against what it has or may get: refused before the first candidate, or waited for. Knows no Ray."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches

from paretune.core.errors import BadInput

PENDING_AT_LEAST = 4
"""Candidates that an autoscaler sees where nobody says how many, and it does not say how far it goes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A node, or what every node of a type is."""

    resources: Mapping[str, float]
    """Ray's names: `CPU`, `GPU`, custom resources."""
    labels: Mapping[str, str] = field(default_factory=dict)

    def fits(self, needed: "Demand") -> int:
        """How many of a demand it can hold at once."""
        if any(self.labels.get(name) != value for name, value in needed.labels.items()):
            return 0
        rooms = [math.floor(self.resources.get(name, 0.0) / amount + 1e-9) for name, amount in needed.resources.items() if amount > 0]
        return min(rooms, default=1_000_000)


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeType:
    """What an autoscaler may start."""

    name: str
    node: Node
    max_count: int
    """Nodes; -1 is no limit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterFacts:
    """A cluster as it is now."""

    nodes: tuple[Node, ...]
    node_types: tuple[NodeType, ...] | None = None
    """What may come by itself; None where nobody says."""
    nodes_come: bool = False
    """Whether nodes join by themselves."""
    num_refused: int = 0
    """Further nodes, which do not fit to the others and may not be used."""

    def amount(self, name: str) -> float:
        """How much of a resource it has."""
        return sum(node.resources.get(name, 0.0) for node in self.nodes)

    def room(self, needed: "Demand") -> int:
        """How many of a demand it can hold now."""
        return sum(node.fits(needed) for node in self.nodes)

    def room_later(self, needed: "Demand") -> int:
        """How many of a demand its autoscaler can make room for."""
        return sum(item.node.fits(needed) * (item.max_count if item.max_count >= 0 else PENDING_AT_LEAST) for item in self.node_types or ())


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """What one stage of a candidate takes."""

    name: str
    """The stage, as users know it."""
    resources: Mapping[str, float]
    labels: Mapping[str, str] = field(default_factory=dict)
    count: int = 1
    """How many at the same time, at most."""

    def __str__(self) -> str:
        parts = [f"{amount:g} {name}" for name, amount in self.resources.items() if amount > 0]
        parts += [f"label {name}={value}" for name, value in self.labels.items()]
        return ", ".join(parts) or "nothing"


def check_demands(demands: Sequence[Demand], cluster: ClusterFacts) -> list[str]:
    """Refuse what can never run; what must be waited for, in words.

    Raises:
        BadInput: every stage that no node and no node type has room for, with the nearest thing that there is.
    """
    problems, notes = [], []
    for needed in demands:
        now = cluster.room(needed)
        later = cluster.room_later(needed)
        blind = cluster.nodes_come and not cluster.node_types
        if now == 0 and later == 0 and not blind:
            problems.append(f"{needed.name} needs {needed} on one node; {_nearest(needed, cluster)}")
        elif now == 0:
            notes.append(f"{needed.name} needs {needed}: no node has it now; waiting for the autoscaler")
    for name, names in _shared(demands).items():
        wanted, there = wanted_of(name, demands), cluster.amount(name)
        if there and wanted > there and not cluster.nodes_come:
            problems.append(f"{' and '.join(names)} need {wanted:g} {name} together; the cluster has {there:g}, so one would wait for ever")
    if problems:
        raise BadInput("this cluster cannot run the study:\n  " + "\n  ".join(problems))
    return notes


def wanted_of(name: str, demands: Sequence[Demand]) -> float:
    """How much of a resource stages take together."""
    return sum(needed.count * needed.resources.get(name, 0.0) for needed in demands)


def _shared(demands: Sequence[Demand]) -> dict[str, list[str]]:
    """GPU or custom resource -> stages that take it, where there are several. Processors a node may have more of than it says."""
    found: dict[str, list[str]] = {}
    for needed in demands:
        for name, amount in needed.resources.items():
            if name != "CPU" and amount > 0:
                found.setdefault(name, []).append(needed.name)
    return {name: names for name, names in found.items() if len(names) > 1}


def _nearest(needed: Demand, cluster: ClusterFacts) -> str:
    """Why it does not fit, in the words of what there is."""
    nodes = [*cluster.nodes, *(item.node for item in cluster.node_types or ())]
    known = sorted({name for node in nodes for name in node.resources if ":" not in name})
    for name, amount in needed.resources.items():
        if amount <= 0:
            continue
        most = max((node.resources.get(name, 0.0) for node in nodes), default=0.0)
        if most < amount and name not in known:
            custom = [item for item in known if item not in ("CPU", "GPU", "memory", "object_store_memory")]
            near = get_close_matches(name, custom, n=1, cutoff=0.6)
            hint = f" Did you mean '{near[0]}'?" if near else ""
            return (
                f"no node has '{name}'.{hint} Tags there are: {', '.join(custom) or 'none'}. "
                f"""Start the device's node with ray start --address=HEAD --num-cpus=0 --resources='{{"{name}": 1}}'"""
            )
        if most < amount:
            return f"the largest node has {most:g}"
    if needed.labels:
        labels = ",".join(f"{name}={value}" for name, value in needed.labels.items())
        return f"no node with those labels has it. Labels are given by ray start --labels={labels}"
    return "no single node has all of it"


def training_slots(needed: Demand, cluster: ClusterFacts) -> int:
    """Candidates to train at once where nobody says how many: what there is room for, now or once the autoscaler has grown the cluster."""
    blind = PENDING_AT_LEAST if cluster.nodes_come and not cluster.node_types else 1
    return max(blind, cluster.room(needed), cluster.room_later(needed))
