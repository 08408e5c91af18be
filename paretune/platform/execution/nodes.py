"""The nodes of a Ray cluster: the same versions everywhere, one storage, clocks that agree. Looked at before they are used."""

import contextlib
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from paretune.core.errors import BadInput, ClusterLost

PACKAGES = ("torch", "ray", "numpy")
CODE = "paretune code"
COMPARED = ("paretune", CODE, "python", *PACKAGES)
PROBE_TIMEOUT_S = 120.0
"""A node whose worker has to start first takes seconds; one with a slow disk, a minute."""
MAX_CLOCK_SKEW_S = 5.0
"""Leases of the study's lock and times in the ledger stand more; TLS and cloud signatures stand minutes."""
SUBMITTED_FROM = "PARETUNE_SUBMITTED_FROM"
"""Environment variable of a submitted job: the versions on the machine that it was submitted from, as JSON."""
MARK = ".paretune-shared"


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeFacts:
    """What one node says of itself."""

    address: str
    resources: Mapping[str, float]
    versions: Mapping[str, str]
    """Package, `python` and `paretune code` -> version, `not installed`."""
    clock_s: float = 0.0
    """Its clock minus the driver's; 0 where the call took longer than they differ."""
    sees_storage: bool = True
    node_id: str = ""
    """Ray's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What a node that joins later is held against; travels to the workers."""

    driver: NodeFacts
    folder: str
    """Of the study, which every node must see."""
    mark: str
    """A file in it that is there as long as the driver is."""
    checked: frozenset[str] = frozenset()
    """Ids of nodes that fit: their workers need not look again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Misfit:
    """A node that does not fit."""

    node_id: str
    address: str
    told: str
    """What is wrong with it, with a table."""

    @property
    def message(self) -> str:
        """Why something cannot run there, in short."""
        return f"its node {self.address} joined later and does not fit"


@contextlib.contextmanager
def checked_nodes(folder: Path) -> Iterator[Expected]:
    """Ask every node of the connected cluster and refuse to start where the nodes do not fit together; what a later one must be like.

    Args:
        folder: of the study, which every node must see; a file that nodes look for lies there until the end.

    Raises:
        BadInput: versions differ, a node does not see the folder, or clocks disagree; with a table.
        ClusterLost: a node does not answer.
    """
    for left in folder.glob(f"{MARK}-*"):  # by a driver that was killed
        left.unlink(missing_ok=True)
    mark = folder.absolute() / f"{MARK}-{os.getpid()}-{time.monotonic_ns()}"
    mark.touch()
    try:
        nodes = ask_nodes(mark)
        refuse_differences(nodes, submitter=submitted_from(), folder=folder)
        yield Expected(driver=nodes[0], folder=str(folder), mark=str(mark), checked=frozenset(node.node_id for node in nodes))
    finally:
        mark.unlink(missing_ok=True)


def ask_nodes(mark: Path | None = None) -> tuple[NodeFacts, ...]:
    """Facts of every node that is alive, this one first; a node that leaves while it is asked is none of them.

    Raises:
        ClusterLost: a node does not answer.
    """
    import ray

    here = ray.get_runtime_context().get_node_id()
    questions = [begin_asking(node, str(mark or "")) for node in sorted(alive_nodes(), key=lambda node: node["NodeID"] != here)]
    return tuple(facts for facts in map(answer, questions) if facts is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A node that is being asked."""

    node: Mapping[str, Any]
    """As Ray lists it."""
    call: Any
    """Ray's reference to what it will say."""


def begin_asking(node: Mapping[str, Any], mark: str) -> Question:
    """Send a node, as Ray lists it, what it must run; `mark` is a file that it must see, or empty."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    there = NodeAffinitySchedulingStrategy(node_id=node["NodeID"], soft=False)
    probe = ray.remote(make_probe()).options(num_cpus=0, max_retries=1, scheduling_strategy=there)
    return Question(node=node, call=probe.remote(PACKAGES, mark, time.time()))


def answer(question: Question) -> NodeFacts | None:
    """What a node says, waited for; None where it has left.

    Raises:
        ClusterLost: it does not answer.
    """
    import ray

    try:
        return _facts(question.node, ray.get(question.call, timeout=PROBE_TIMEOUT_S))
    except (ray.exceptions.RayError, ray.exceptions.GetTimeoutError) as error:
        if question.node["NodeID"] not in [other["NodeID"] for other in alive_nodes()]:
            return None
        told = str(error).strip().rpartition("\n")[2]
        raise ClusterLost(f"node {question.node['NodeManagerAddress']} does not answer: {told or type(error).__name__}") from error


def alive_nodes() -> list[dict[str, Any]]:
    """The nodes of the connected cluster as Ray lists them."""
    import ray

    return [node for node in ray.nodes() if node["Alive"]]


def _facts(node: Mapping[str, Any], found: Mapping[str, Any]) -> NodeFacts:
    resources = {
        name: amount for name, amount in node["Resources"].items() if not name.startswith(("node:", "memory", "object_store_memory"))
    }
    return NodeFacts(
        address=node["NodeManagerAddress"],
        resources=dict(sorted(resources.items())),
        versions=found["versions"],
        clock_s=_clock_difference(found["asked_s"], found["clock_s"], time.time()),
        sees_storage=found["sees"],
        node_id=node["NodeID"],
    )


def misfit(node: NodeFacts, expected: Expected) -> Misfit | None:
    """What is wrong with a node that joined; None where it fits."""
    told = differences((expected.driver, node), submitter={}, folder=Path(expected.folder))
    return Misfit(node_id=node.node_id, address=node.address, told="\n".join(told)) if told else None


def misfit_here(expected: Expected | None) -> Misfit | None:
    """What is wrong with the node of this worker; None where it fits, or nothing is expected.

    Its clock is not looked at: that takes the driver, who asks every node that joins.
    """
    import ray

    node_id = ray.get_runtime_context().get_node_id()
    if expected is None or node_id in expected.checked:
        return None
    node = next((node for node in alive_nodes() if node["NodeID"] == node_id), None)
    return None if node is None else misfit(_facts(node, make_probe()(PACKAGES, expected.mark, time.time())), expected)


def _clock_difference(asked_s: float, told_s: float, answered_s: float) -> float:
    """How far a clock is outside the time in which it was read: 0 where it may be right."""
    return min(told_s - asked_s, 0.0) + max(told_s - answered_s, 0.0)


def make_probe() -> Callable[[Sequence[str], str, float], dict[str, Any]]:
    """What runs on every node. Made here so that Ray sends its code: the node's paretune is what is in question."""

    def probe(packages: Sequence[str], mark: str, asked_s: float) -> dict[str, Any]:
        import hashlib
        import platform
        import re
        import time
        from importlib.metadata import PackageNotFoundError, version
        from importlib.util import find_spec
        from pathlib import Path

        versions = {"python": platform.python_version(), "paretune": "not installed", "paretune code": "not installed"}
        for package in packages:
            try:
                versions[package] = version(package).partition("+")[0]  # torch 2.12.1+cpu and 2.12.1+cu128 are one version
            except PackageNotFoundError:
                versions[package] = "not installed"
        found = find_spec("paretune")
        for folder in map(Path, found.submodule_search_locations or [] if found else []):
            named = re.search(r'^__version__ = "(.+)"', (folder / "__init__.py").read_text(), re.MULTILINE)
            versions["paretune"] = named[1] if named else "unknown"
            digest = hashlib.sha256()
            for path in sorted(folder.rglob("*.py")):
                digest.update(str(path.relative_to(folder)).encode() + path.read_bytes())
            versions["paretune code"] = digest.hexdigest()[:12]
        return {"versions": versions, "clock_s": time.time(), "asked_s": asked_s, "sees": not mark or Path(mark).exists()}

    return probe


def versions_here() -> dict[str, str]:
    """Versions of this process, as a node tells them."""
    versions: dict[str, str] = make_probe()(PACKAGES, "", 0.0)["versions"]
    return versions


def submitted_from() -> dict[str, str]:
    """Versions of the machine that this job was submitted from; empty where it was not submitted."""
    try:
        told = json.loads(os.environ.get(SUBMITTED_FROM, "{}"))
    except ValueError:
        return {}
    return {str(name): str(value) for name, value in told.items()} if isinstance(told, dict) else {}


def refuse_differences(nodes: Sequence[NodeFacts], *, submitter: Mapping[str, str], folder: Path | None) -> None:
    """Refuse nodes that do not fit together; the first one is the driver's.

    Args:
        nodes: the driver's first.
        submitter: versions of where the study was submitted; only its paretune must be the same, since it checked the spec.
        folder: that all nodes must see.

    Raises:
        BadInput: what differs, with a table.
    """
    told = differences(nodes, submitter=submitter, folder=folder)
    if told:
        raise BadInput("\n".join(told))


def differences(nodes: Sequence[NodeFacts], *, submitter: Mapping[str, str], folder: Path | None) -> list[str]:
    """In what nodes do not fit together, the first one being the driver's; arguments as of `refuse_differences`."""
    return [*_version_problems(nodes, submitter), *_storage_problems(nodes, folder), *_clock_problems(nodes)]


def _version_problems(nodes: Sequence[NodeFacts], submitter: Mapping[str, str]) -> list[str]:
    columns = {f"{node.address}{' (driver)' if index == 0 else ''}": node.versions for index, node in enumerate(nodes)}
    differing = [name for name in COMPARED if len({_compared(name, node.versions) for node in nodes}) > 1]
    if nodes and submitter and submitter.get(CODE) != nodes[0].versions.get(CODE):
        differing = [*dict.fromkeys(("paretune", CODE, *differing))]
        columns["submitted from"] = submitter
    if not differing:
        return []
    told = "versions differ between the nodes, so their candidates would not be comparable:"
    return [f"{told}\n{version_table(columns, differing)}\n{_advice(differing)}"]


def _compared(name: str, versions: Mapping[str, str]) -> str:
    """Of Python the first two numbers: 3.11.7 and 3.11.9 run the same code."""
    version = versions.get(name, "unknown")
    return ".".join(version.split(".")[:2]) if name == "python" else version


def _storage_problems(nodes: Sequence[NodeFacts], folder: Path | None) -> list[str]:
    blind = [node.address for node in nodes if not node.sees_storage]
    where = f"storage: the driver's folder {folder} is not seen on {', '.join(blind)}"
    return [f"{where}. Results must lie on storage that every node shares: --set storage=/shared/runs"] if blind else []


def _clock_problems(nodes: Sequence[NodeFacts]) -> list[str]:
    wrong = [f"{node.address} by {node.clock_s:+.1f} s" for node in nodes if abs(node.clock_s) > MAX_CLOCK_SKEW_S]
    told = f"clocks disagree by more than {MAX_CLOCK_SKEW_S:g} s with the driver's: {', '.join(wrong)}"
    return [f"{told}. Start time synchronisation there (chrony or ntpd)"] if wrong else []


def version_table(columns: Mapping[str, Mapping[str, str]], names: Sequence[str]) -> str:
    """Rows of versions, one column for each distinct node."""
    rows = [["", *names], *([node, *(versions.get(name, "unknown") for name in names)] for node, versions in columns.items())]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join("  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows)


def _advice(differing: Sequence[str]) -> str:
    if set(differing) <= {"paretune", CODE}:
        return "Install the same wheel everywhere, or send this code along: paretune submit --ship-code"
    return "Install the same versions everywhere, for example from constraints.txt"
