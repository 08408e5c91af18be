"""What a study used of a cluster: machines from their first candidate to their last, from the ledger alone."""

from pathlib import Path

import pytest

from paretune.core.trial import Outcome
from paretune.platform.clusters.demands import TRAINING, Demand
from paretune.platform.clusters.model import Cluster, NodeType
from paretune.platform.clusters.usage import cluster_use
from paretune.platform.record.history import Record
from paretune.platform.record.jobs import Evaluation, Job, Purpose

CANDIDATE = Demand(what=TRAINING, resources={"CPU": 1.0}, loc=("run", "workers"))
CLUSTER = Cluster(
    file=Path("cluster.yaml"),
    name="c",
    provider="aws",
    node_types=(
        NodeType(name="head", resources={"CPU": 0.0}, min_nodes=1, max_nodes=1, price_per_hour=0.2, is_head=True),
        NodeType(name="cpu", resources={"CPU": 16.0}, min_nodes=0, max_nodes=8, price_per_hour=3.6),
    ),
    max_workers=8,
    idle_timeout_s=300.0,
    currency="USD",
    storage="/shared/runs",
    ssh_user="",
    ssh_private_key="",
    values={},
)


def record(worker: str, start_s: float, end_s: float, *, screened: bool = False) -> Record:
    job = Job(id=f"{worker}{start_s}", purpose=Purpose.SEARCH, ask_index=0, genotype=(0,), choices={"a": 1}, seed=1)
    evaluation = Evaluation(outcome=Outcome.OK, duration_s=end_s - start_s, worker=worker)
    return Record(job=job, evaluation=evaluation, elapsed_s=end_s, screened=screened)


def test_a_machine_counts_from_its_first_candidate_to_its_last_and_its_idle_timeout() -> None:
    # Machine a, two processes: [0, 100] and [50, 150], then [250, 300]: span 300 s, of which [0, 150] and [250, 300] busy = 200 s.
    # Machine b: [100, 400]. Node-hours: (300 + 300) s + (300 + 300) s idle timeouts = 1200 s = 1/3 h, at 3.6 an hour 1.2.
    records = [record("a:1", 0, 100), record("a:2", 50, 150), record("a:1", 250, 300), record("b:9", 100, 400)]
    use = cluster_use(CLUSTER, [CANDIDATE], records)
    assert [(item.host, item.num_candidates, item.span_s, item.busy_s) for item in use.hosts] == [("a", 3, 300, 200), ("b", 1, 300, 300)]
    assert use.node_hours == pytest.approx(1200 / 3600)
    assert use.cost == pytest.approx(1.2)
    assert use.num_candidates == 4


def test_what_ran_nowhere_is_not_counted() -> None:
    records = [record("", 0, 0, screened=True), Record(job=record("a:1", 0, 1).job), record("a:1", 0, 10)]
    assert [item.num_candidates for item in cluster_use(CLUSTER, [CANDIDATE], records).hosts] == [1]
    assert cluster_use(CLUSTER, [CANDIDATE], []).num_candidates == 0
