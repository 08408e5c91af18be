"""What a study used of a cluster, read from its ledger: node-hours for each candidate after the search."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from paretune.platform.clusters.cost import HOUR_S, cheapest
from paretune.platform.clusters.demands import TRAINING, Demand
from paretune.platform.clusters.model import Cluster
from paretune.platform.record.history import Record


@dataclass(frozen=True, slots=True, kw_only=True)
class HostUse:
    """One machine's part."""

    host: str
    num_candidates: int
    """Evaluations that ended there."""
    span_s: float
    """From the start of the first to the end of the last, in the study's own time."""
    busy_s: float
    """Part of the span in which at least one ran."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterUse:
    """All machines'."""

    hosts: tuple[HostUse, ...]
    price_per_hour: float | None
    """Of the type that candidates are meant for."""
    idle_timeout_s: float
    """Each machine is paid for so much longer."""

    @property
    def node_hours(self) -> float:
        """Machine time from the first candidate on, with the idle timeout at its end."""
        return sum(item.span_s + self.idle_timeout_s for item in self.hosts) / HOUR_S

    @property
    def num_candidates(self) -> int:
        """Evaluations, those of the final training too."""
        return sum(item.num_candidates for item in self.hosts)

    @property
    def cost(self) -> float | None:
        """Of the machines that ran candidates; None where the file has no price."""
        return None if self.price_per_hour is None else self.node_hours * self.price_per_hour


def cluster_use(cluster: Cluster, demands: Sequence[Demand], records: Iterable[Record]) -> ClusterUse:
    """What the candidates of a study used.

    The head and machines of devices are not in it: the ledger has no times of theirs. A machine that went and came again between two
    candidates counts as one that stayed, so this is an upper bound.
    """
    by_host: dict[str, list[Record]] = {}
    for record in records:
        if record.evaluation is not None and record.evaluation.worker and not record.screened:
            by_host.setdefault(record.evaluation.worker.rpartition(":")[0], []).append(record)
    training = next(item for item in demands if item.what == TRAINING)
    return ClusterUse(
        hosts=tuple(_use(host, records) for host, records in sorted(by_host.items())),
        price_per_hour=cheapest(cluster, training).price_per_hour,
        idle_timeout_s=cluster.idle_timeout_s,
    )


def _use(host: str, records: Sequence[Record]) -> HostUse:
    spans = sorted((record.elapsed_s - record.evaluation.duration_s, record.elapsed_s) for record in records if record.evaluation)
    busy_s, until_s = 0.0, spans[0][0]
    for start_s, end_s in spans:
        busy_s += max(0.0, end_s - max(start_s, until_s))
        until_s = max(until_s, end_s)
    return HostUse(host=host, num_candidates=len(spans), span_s=until_s - spans[0][0], busy_s=busy_s)
