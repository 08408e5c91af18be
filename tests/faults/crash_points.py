"""Kill a small search at every state-changing system call, or make every write and flush fail, and see what is left.

    python tests/faults/crash_points.py kill      SIGKILL at every call of a whole search, then go on
    python tests/faults/crash_points.py resume    SIGKILL at every call of a search that goes on after a kill, then go on again
    python tests/faults/crash_points.py repair    SIGKILL at every call of a repair, then repair again and go on
    python tests/faults/crash_points.py errors    ENOSPC and EIO at every write and flush, then go on
    python tests/faults/crash_points.py flushes   the order of writes, flushes and acknowledgements of one search

Options: `--every K` takes every K-th point, `--store NAME` one of the bad stores in `planted.py`, `--jobs J`, `--folder DIR`, `--discard`.
Prints one line of figures for each kind of fault; the exit code is 1 if anything was lost, repeated or wrong.

A kill is no power cut: what the system had not yet written to the disk survives it. `flushes` stands in for that half.
"""

import argparse
import multiprocessing
import os
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

from planted import PLANTED
from small_search import Store, run_repair, run_search
from traced import count_calls, fail_at, kill_at, missing_strace, run
from verdict import Baseline, Verdict, check_end, check_halfway, flush_order

FAILING = ("write", "pwrite64", "fsync", "fdatasync", "ftruncate", "fallocate", "rename", "renameat", "renameat2", "mkdir", "mkdirat")
KILLED, OUT_OF_STORAGE = -9, 74


class Point(NamedTuple):
    """One fault."""

    call: str
    number: int
    """Occurrence of the call, from 1."""
    error: str = ""
    """Errno name; empty for a kill."""
    lasting: bool = False
    """Whether all later occurrences fail too."""

    def __str__(self) -> str:
        return f"{self.error or 'SIGKILL'} at {self.call} {self.number}{' and after' if self.lasting else ''}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is run and how."""

    kind: type[Store]
    root: Path
    baseline: Baseline
    prepared: Path | None = None
    """Folder to copy before each run: a killed or damaged study."""

    def place(self, name: str) -> tuple[Path, Path]:
        """Study and witness of a run."""
        home = self.root / name
        shutil.rmtree(home, ignore_errors=True)
        if self.prepared is None:
            home.mkdir(parents=True)
        else:
            shutil.copytree(self.prepared, home)
        return home / "study", home / "witness"


def killed(plan: Plan, point: Point) -> Verdict:
    """Kill a search at a point, go on, and judge the end."""
    study, witness = plan.place(f"{point.call}-{point.number}")
    action = partial(run_search, study, witness, plan.kind)
    hit = kill_at(action, point.call, point.number).code == KILLED
    return _finish(plan, study, witness, point, Verdict(points=1, hit=int(hit)))


def killed_repair(plan: Plan, point: Point) -> Verdict:
    """Kill a repair at a point, repair, go on, and judge the end."""
    study, witness = plan.place(f"{point.call}-{point.number}")
    damaged = (study / "ledger.db").read_bytes()
    verdict = Verdict(points=1, hit=int(kill_at(partial(run_repair, study), point.call, point.number).code == KILLED))
    again = run(partial(run_repair, study))
    if again.code != 0:
        verdict.problem(f"{point}: the second repair ended with {again.code}: {again.stderr}")
    if not any(path.read_bytes() == damaged for path in study.glob("ledger.damaged-*.db")):
        verdict.problem(f"{point}: the damaged file is gone")
    return _finish(plan, study, witness, point, verdict, whole=False)


def failed(plan: Plan, point: Point) -> Verdict:
    """Let a system call fail, judge what is there, go on without the fault, and judge the end."""
    study, witness = plan.place(f"{point.call}-{point.number}-{point.error}-{point.lasting}")
    ended = fail_at(partial(run_search, study, witness, plan.kind), point.call, point.number, point.error, from_then_on=point.lasting)
    verdict = Verdict(points=1, hit=int(ended.code == OUT_OF_STORAGE))
    told_on_stderr = point.call == "write" and point.lasting
    if ended.code not in (0, OUT_OF_STORAGE) or "Traceback" in ended.stderr:
        verdict.problem(f"{point}: ended with {ended.code}: {ended.stderr}")
    elif ended.code == OUT_OF_STORAGE and not ended.stderr.strip() and not told_on_stderr:
        verdict.problem(f"{point}: ended without a message")
    check_halfway(plan.kind(study, None), witness, plan.baseline, verdict, str(point))
    if ended.code == 0:  # absorbed, as a failed early fold of the log into the ledger may be: then everything must be there
        check_end(plan.kind(study, None), witness, plan.baseline, verdict, f"{point} (absorbed)")
    return _finish(plan, study, witness, point, verdict)


def _finish(plan: Plan, study: Path, witness: Path, point: Point, verdict: Verdict, *, whole: bool = True) -> Verdict:
    check_halfway(plan.kind(study, None), witness, plan.baseline, verdict, str(point), whole=whole)
    ended = run(partial(run_search, study, witness, plan.kind))
    if ended.code != 0:
        verdict.problem(f"{point}: cannot go on: {ended.code}: {ended.stderr}")
    else:
        check_end(plan.kind(study, None), witness, plan.baseline, verdict, str(point))
    if not verdict.bad:
        shutil.rmtree(study.parent)
    return verdict


def kill_points(counts: Counter[str], every: int) -> list[Point]:
    """Every K-th of all occurrences of all calls."""
    points = [Point(call, number) for call in sorted(counts) for number in range(1, counts[call] + 1)]
    return points[::every]


def error_points(counts: Counter[str], every: int) -> list[Point]:
    """Full disk and broken disk once at each call, and a disk that stays full."""
    points = []
    for call in (call for call in FAILING if call in counts):
        for number in range(1, counts[call] + 1):
            points += [Point(call, number, "ENOSPC"), Point(call, number, "EIO")]
            points += [Point(call, number, "ENOSPC", True)] if call in ("write", "pwrite64") else []
    return points[::every]


def total(verdicts: Iterable[Verdict]) -> Verdict:
    """All verdicts as one."""
    result = Verdict()
    for verdict in verdicts:
        result.add(verdict)
    return result


def prepare_killed(plan: Plan) -> Plan:
    """A study killed in the middle of a transaction."""
    study, witness = plan.place("prepared")
    action = partial(run_search, study, witness, plan.kind)
    middle = count_calls(partial(run_search, *plan.place("counted"), plan.kind))["pwrite64"] // 2
    assert kill_at(action, "pwrite64", middle).code == KILLED
    return Plan(kind=plan.kind, root=plan.root, baseline=plan.baseline, prepared=study.parent)


def prepare_damaged(plan: Plan) -> Plan:
    """A finished study, one bit of an event in the middle flipped."""
    study, witness = plan.place("prepared")
    assert run_search(study, witness, plan.kind) == 0
    ledger = study / "ledger.db"
    data = bytearray(ledger.read_bytes())
    data[data.index(b'"index":5,"metrics"')] ^= 1
    ledger.write_bytes(data)
    return Plan(kind=plan.kind, root=plan.root, baseline=plan.baseline, prepared=study.parent)


def enumerate_faults(command: str, plan: Plan, *, every: int, jobs: int) -> Verdict:
    """Run one family of faults and print its figures."""
    if command == "flushes":
        verdict = flush_order(partial(run_search, *plan.place("flushes"), plan.kind), plan.root)
        print(f"flushes: {verdict.points} acknowledgements, {verdict.points - verdict.hit} before their data was flushed")
        return verdict
    if command == "resume":
        plan = prepare_killed(plan)
    if command == "repair":
        plan = prepare_damaged(plan)
    study, witness = plan.place("counted")
    counts = count_calls(partial(run_repair, study) if command == "repair" else partial(run_search, study, witness, plan.kind))
    points = error_points(counts, every) if command == "errors" else kill_points(counts, every)
    judge = partial({"repair": killed_repair, "errors": failed}.get(command, killed), plan)
    with multiprocessing.get_context("fork").Pool(jobs) as pool:
        verdict = total(pool.imap_unordered(judge, points))
    share = "" if every == 1 else f" (every {every}. one)"
    if command == "errors":
        print(f"errors: {verdict.points} failing system calls{share}, {verdict.hit} ended it with exit code 74: {verdict.figures()}")
    else:
        print(f"{command}: killed at {verdict.hit} of {verdict.points} system calls{share}: {verdict.figures()}")
    if command != "errors" and verdict.hit != verdict.points:
        verdict.problem("some kills did not happen, so the program does not make the same calls each time")
    return verdict


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=["kill", "resume", "repair", "errors", "flushes"])
    parser.add_argument("--store", default="good", choices=["good", *PLANTED])
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--discard", action="store_true", help="leave nothing behind, whatever is found")
    parser.add_argument("--folder", type=Path, default=Path("/dev/shm") if Path("/dev/shm").is_dir() else None)
    arguments = parser.parse_args()
    missing = missing_strace()
    if missing:
        print(missing)
        return 77
    kind = PLANTED.get(arguments.store, Store)
    root = Path(tempfile.mkdtemp(prefix="paretune-faults-", dir=arguments.folder))
    baseline = Baseline.of(kind, root / "baseline")
    plan = Plan(kind=kind, root=root, baseline=baseline)
    verdict = enumerate_faults(arguments.command, plan, every=arguments.every, jobs=arguments.jobs)
    for text in verdict.problems[:20]:
        print(f"  {text}")
    if verdict.bad and not arguments.discard:
        print(f"left for inspection: {root}")
    else:
        shutil.rmtree(root)
    return 1 if verdict.bad else 0


if __name__ == "__main__":
    sys.exit(main())
