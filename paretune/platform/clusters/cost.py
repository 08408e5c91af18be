"""What a study will cost on a cluster, from the prices in the cluster's file."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from paretune.core.errors import BadInput
from paretune.platform.clusters.demands import TRAINING, Demand
from paretune.platform.clusters.model import Cluster, NodeType

HOUR_S = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class CostLine:
    """One node type's part."""

    node_type: str
    nodes: int
    """Machines at the same time."""
    node_hours: float
    cost: float | None
    """None where the file has no price."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CostEstimate:
    """The search of a study, the final training of the front not counted."""

    num_trials: int
    trial_s: float
    slots: int
    """Candidates at the same time."""
    wall_s: float
    """With machines that are all there from the start."""
    lines: tuple[CostLine, ...]
    currency: str

    @property
    def total(self) -> float | None:
        """Sum over all node types; None where one has no price."""
        costs = [line.cost for line in self.lines]
        return None if None in costs else sum(cost for cost in costs if cost is not None)


def estimate_cost(
    cluster: Cluster, demands: Sequence[Demand], *, num_trials: int, trial_s: float, workers: int | None = None
) -> CostEstimate:
    """What a search costs: trials x time of a trial / candidates at a time, on the type that has the cheapest room for a candidate.

    Machines are paid for whole: each also for the idle timeout before it goes. The types that devices need are there all the time.

    Args:
        cluster: with prices.
        demands: of the study; every one is met.
        num_trials: candidates.
        trial_s: time of one.
        workers: candidates at the same time; None is as many as the type has room for.

    Raises:
        BadInput: no type has room for a candidate.
    """
    training = next(item for item in demands if item.what == TRAINING)
    chosen = cheapest(cluster, training)
    per_node = chosen.slots(training.resources)
    most = chosen.max_nodes if chosen.hosts or chosen.is_head else min(chosen.max_nodes, cluster.max_workers)
    slots = min(workers or per_node * most, per_node * most, num_trials)
    wall_s = math.ceil(num_trials / slots) * trial_s
    nodes = {chosen.name: math.ceil(slots / per_node)}
    for demand in demands:
        if demand is not training:
            holder = cheapest(cluster, demand, prefer=chosen)
            nodes[holder.name] = max(nodes.get(holder.name, 0), math.ceil(demand.count / holder.slots(demand.resources)))
    nodes.setdefault(cluster.head.name, 1)
    lines = tuple(_line(cluster, item, nodes[item.name], wall_s) for item in cluster.node_types if nodes.get(item.name))
    return CostEstimate(num_trials=num_trials, trial_s=trial_s, slots=slots, wall_s=wall_s, lines=lines, currency=cluster.currency)


def _line(cluster: Cluster, item: NodeType, nodes: int, wall_s: float) -> CostLine:
    goes_when_idle = not item.is_head and not item.hosts and item.min_nodes == 0
    hours = nodes * (wall_s + (cluster.idle_timeout_s if goes_when_idle else 0.0)) / HOUR_S
    return CostLine(
        node_type=item.name, nodes=nodes, node_hours=hours, cost=None if item.price_per_hour is None else hours * item.price_per_hour
    )


def cheapest(cluster: Cluster, demand: Demand, prefer: NodeType | None = None) -> NodeType:
    """The type that a demand comes to: `prefer` where it has room, else the one with the fewest resources that nobody asked for.

    So Ray's autoscaler chooses too. Among equals it is the one with the cheapest room.
    """
    fitting = [item for item in cluster.node_types if item.max_nodes > 0 and item.carries(demand.labels) and item.slots(demand.resources)]
    if not fitting:
        raise BadInput(f"no node type of {cluster.file} has room for {demand.what}, so there is nothing to estimate")
    if prefer is not None and prefer in fitting:
        return prefer

    def order(item: NodeType) -> tuple[int, float, str]:
        unasked = sum(1 for name, amount in item.resources.items() if amount > 0 and not demand.resources.get(name))
        price = math.inf if item.price_per_hour is None else item.price_per_hour / item.slots(demand.resources)
        return (unasked, price, item.name)

    return min(fitting, key=order)
