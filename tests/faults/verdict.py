"""What was lost, repeated or wrong after a fault, judged by the witness and by the undisturbed run."""

import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from small_search import Store, front, run_search, table
from traced import STATE_CHANGING, run

from paretune.core.canonical import canonical_json
from paretune.core.errors import BadInput


@dataclass(slots=True, kw_only=True)
class Verdict:
    """Counts over one or many faults."""

    points: int = 0
    hit: int = 0
    """Faults that ended the program; the others did no harm to it."""
    lost: int = 0
    repeated: int = 0
    wrong: int = 0
    stuck: int = 0
    """Ended as it should not, or could not go on."""
    problems: list[str] = field(default_factory=list)

    @property
    def bad(self) -> int:
        return self.lost + self.repeated + self.wrong + self.stuck

    def figures(self) -> str:
        return f"{self.lost} lost, {self.repeated} repeated, {self.wrong} wrong, {self.stuck} stuck"

    def problem(self, text: str, kind: str = "stuck") -> None:
        setattr(self, kind, getattr(self, kind) + 1)
        self.problems.append(text)

    def add(self, other: "Verdict") -> None:
        for name in ("points", "hit", "lost", "repeated", "wrong", "stuck"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.problems += other.problems


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """The undisturbed run."""

    events: list[tuple[str, Mapping[str, Any]]]
    front: str

    @classmethod
    def of(cls, kind: type[Store], home: Path) -> "Baseline":
        home.mkdir()
        assert run_search(home / "study", home / "witness", kind) == 0
        events = told_events(kind(home / "study", None))
        baseline, verdict = cls(events=events, front=final_front(events)), Verdict()
        check_end(kind(home / "study", None), home / "witness", baseline, verdict, "undisturbed")
        assert not verdict.bad, verdict.problems  # also a bad store is good as long as nothing happens
        return baseline


def told_events(store: Store) -> list[tuple[str, Mapping[str, Any]]]:
    """What the ledger tells, without who opened it and when."""
    return [(event.kind, event.body) for event in store.events() if event.kind != "opened"]


def results_of(events: list[tuple[str, Mapping[str, Any]]]) -> dict[int, dict[str, float]]:
    """Metrics by candidate number."""
    return {body["index"]: body["metrics"] for kind, body in events if "metrics" in body}


def final_front(events: list[tuple[str, Mapping[str, Any]]]) -> str:
    """The canonical front file."""
    results = results_of(events)
    return canonical_json([[i, results[i]] for i in front(results)])


def check_halfway(store: Store, witness: Path, baseline: Baseline, verdict: Verdict, where: str, *, whole: bool = True) -> None:
    """After the fault: the ledger can be read, is the beginning of the undisturbed one and, if `whole`, has all that was acknowledged."""
    acked = [int(line.split()[1]) for line in _lines(witness) if line.startswith("acked ")]
    try:
        events = store.events()
    except (BadInput, FileNotFoundError):  # killed before the ledger was made
        events = []
    except Exception as error:
        verdict.problem(f"{where}: the ledger cannot be read: {error}")
        return
    told = [(event.kind, event.body) for event in events if event.kind != "opened"]
    if told != baseline.events[: len(told)]:
        verdict.problem(f"{where}: the events differ from the undisturbed run", "wrong")
    if whole and acked and acked[-1] > max((event.seq for event in events), default=0):
        verdict.problem(f"{where}: event {acked[-1]} was acknowledged and is not there", "lost")


def check_end(store: Store, witness: Path, baseline: Baseline, verdict: Verdict, where: str) -> None:
    """At the end: nothing lost, nothing evaluated twice, every value and the front as in the undisturbed run."""
    events = told_events(store)
    finished = {body["id"]: body["metrics"] for kind, body in events if kind == "finished"}
    done = Counter(line.split()[1] for line in _lines(witness) if line.startswith("done "))
    verdict_lost = [candidate for candidate in done if candidate not in finished]
    for candidate in verdict_lost:
        verdict.problem(f"{where}: candidate {candidate[:12]} was done and is not in the ledger", "lost")
    for candidate, times in done.items():
        if times > 1:
            verdict.problem(f"{where}: candidate {candidate[:12]} was evaluated to the end {times} times", "repeated")
    for kind, body in events:
        if kind == "asked" and body["id"] in finished and finished[body["id"]] != table(body["genes"]):
            verdict.problem(f"{where}: candidate {body['index']} has metrics that its evaluation did not give", "wrong")
    if events != baseline.events or final_front(events) != baseline.front:
        verdict.problem(f"{where}: events or front differ from the undisturbed run", "wrong")


def _lines(witness: Path) -> list[str]:
    return witness.read_text().splitlines() if witness.exists() else []


def flush_order(action: Callable[[], int], root: Path) -> Verdict:
    """From the log of one run: whether all data was flushed before it was acknowledged, and a file before it was renamed."""
    ended = run(action, strace=["-y", "-s", "16", "-e", "trace=openat," + ",".join(f"?{call}" for call in STATE_CHANGING)])
    assert ended.code == 0, ended.stderr
    verdict, dirty, logs = Verdict(), set[str](), set[str]()
    for line in ended.log.splitlines():
        call = re.match(r"^(?:\d+ +)?(\w+)\((.*)\) += (?!-)", line)
        if call is not None:
            _follow(call[1], call[2], dirty, logs, verdict, str(root))
    return verdict


def _follow(call: str, arguments: str, dirty: set[str], logs: set[str], verdict: Verdict, root: str) -> None:
    """One system call: keeps the set of files and folders that hold something not flushed."""
    described = re.match(r"\d+<([^>]*)>", arguments)
    quoted = [path for path in re.findall(r'"([^"]*)"', arguments) if path.startswith(root)]
    path = described[1] if described else ""
    if call in ("write", "pwrite64", "ftruncate") and path.endswith("/witness"):
        _acknowledged(arguments, dirty, verdict)
    elif call in ("fsync", "fdatasync"):
        dirty.discard(path)
    elif call in ("write", "pwrite64", "ftruncate"):
        if path.endswith("-wal") and re.search(r", (32, )?0$", arguments) and path.removesuffix("-wal") in dirty:
            verdict.problem("the log is begun anew before the ledger was flushed", "lost")
        if not path.endswith(("-shm", "/LOCK")):  # both are made anew after a power cut
            dirty.add(path)
    elif call.startswith("rename"):
        if quoted[0] in dirty:
            verdict.problem(f"{Path(quoted[1]).name[:20]} is renamed before it was flushed", "lost")
        dirty.discard(quoted[0])
        dirty.add(str(Path(quoted[1]).parent))
    elif call.startswith("mkdir") and quoted:
        dirty.add(str(Path(quoted[0]).parent))
    elif call == "openat" and "O_CREAT" in arguments and quoted and quoted[0].endswith("-wal") and quoted[0] not in logs:
        logs.add(quoted[0])  # made now; later openings find it
        dirty.add(str(Path(quoted[0]).parent))


def _acknowledged(arguments: str, dirty: set[str], verdict: Verdict) -> None:
    said = re.search(r'"(done|acked) ', arguments)
    if said is None:
        return
    # A result says "done" in the evaluator; the ledger's file itself is folded later, its log is what must be on the disk.
    open_ends = {path for path in dirty if not path.endswith("ledger.db")}
    verdict.points += 1
    verdict.hit += not open_ends
    if open_ends:
        verdict.problem(f"{said[1]} was said before {', '.join(sorted(open_ends))} was flushed", "lost")
