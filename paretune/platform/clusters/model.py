"""What a cluster file says, as far as paretune needs it: node types, what they offer and cost."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Resources = Mapping[str, float]
"""Ray resource (`CPU`, `GPU`, a tag such as `edge_pi4`) -> amount."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeType:
    """Machines of one kind."""

    name: str
    resources: Resources
    """What one machine offers."""
    min_nodes: int
    max_nodes: int
    """The head counts as one."""
    price_per_hour: float | None
    """Of one machine; None where the file does not say."""
    labels: Mapping[str, str] = field(default_factory=dict)
    is_head: bool = False
    hosts: tuple[str, ...] = ()
    """Addresses, where the machines are there already and are not started by Ray."""
    ssh_user: str = ""
    """Who logs in on `hosts`; empty is the cluster's own user."""

    def carries(self, labels: Mapping[str, str]) -> bool:
        """Whether its machines have all these labels."""
        return all(self.labels.get(name) == value for name, value in labels.items())

    def slots(self, demand: Resources) -> int:
        """How often `demand` fits on one machine; 0 where it does not. A demand of nothing fits without end, told as 1,000,000."""
        counts = [int(self.resources.get(name, 0.0) / amount + 1e-9) for name, amount in demand.items() if amount > 0]
        return min(counts, default=1_000_000)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """A cluster file that was found in order."""

    file: Path
    name: str
    provider: str
    node_types: tuple[NodeType, ...]
    max_workers: int
    """Machines that Ray may start, the head not counted."""
    idle_timeout_s: float
    """After this time without work a machine goes."""
    currency: str
    storage: str
    """Folder that all nodes share; empty where the file does not say."""
    ssh_user: str
    ssh_private_key: str
    values: Mapping[str, Any]
    """The whole file."""

    @property
    def head(self) -> NodeType:
        """The type of the head."""
        return next(item for item in self.node_types if item.is_head)

    @property
    def workers(self) -> tuple[NodeType, ...]:
        """All types but the head's."""
        return tuple(item for item in self.node_types if not item.is_head)
