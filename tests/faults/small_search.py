"""A small deterministic search on the ledger and the worker results, without Ray: the program that the fault harness kills.

Twelve candidates, two a generation, evaluated in this process from a table; what is asked depends on what was told. Started
again after a crash it goes on where it was. Beside the study it keeps a witness that paretune does not know:

    start ID PID       before the evaluation
    done ID DIGEST     after the result is durable, flushed to the disk
    acked SEQ          after the ledger said that event SEQ is durable

Run it by hand: `python small_search.py FOLDER WITNESS`. `planted.py` has deliberately bad ways of keeping records in the place
of `Store`; the harness must find each of them out.
"""

import contextlib
import hashlib
import os
import sys
from collections.abc import Mapping
from pathlib import Path

from paretune.core.canonical import canonical_json, fingerprint
from paretune.core.errors import ParetuneError, StorageError
from paretune.platform.record import ledger as ledger_module
from paretune.platform.record.ledger import Event, Ledger, read_events, repair
from paretune.platform.record.results import read_result, write_result

NUM_CANDIDATES = 12
GENERATION = 2
SMALL_LOG_PAGES = 8  # so that the log is folded into the ledger several times in this short search

Record = dict[str, object]


def table(genes: list[int]) -> dict[str, float]:
    """What an evaluation gives: two made-up metrics."""
    digest = hashlib.sha256(canonical_json(genes).encode()).digest()
    return {"accuracy": int.from_bytes(digest[:3], "big") / 2**24, "latency_s": (1 + digest[3]) * 1e-5 / 3}


def front(told: Mapping[int, Mapping[str, float]]) -> list[int]:
    """Candidates that no other one beats in both metrics."""

    def beats(a: Mapping[str, float], b: Mapping[str, float]) -> bool:
        no_worse = a["accuracy"] >= b["accuracy"] and a["latency_s"] <= b["latency_s"]
        return no_worse and dict(a) != dict(b)

    return sorted(i for i in told if not any(beats(told[j], told[i]) for j in told))


def propose(index: int, told: Mapping[int, Mapping[str, float]]) -> Record:
    """Candidate number `index`, given all results of the generations before."""
    digest = hashlib.sha256(canonical_json([index, [[i, dict(told[i])] for i in front(told)]]).encode()).digest()
    genes = [byte % 8 for byte in digest[:6]]
    return {"index": index, "genes": genes, "id": fingerprint([index, genes])}


class Witness:
    """Appends lines to a file beside the study."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def say(self, line: str, *, flush: bool = True) -> None:
        try:
            os.write(self._descriptor, line.encode() + b"\n")
            if flush:
                os.fsync(self._descriptor)
        except OSError as error:
            raise StorageError(f"the witness cannot write: {error.strerror}") from error


class Store:
    """How the search keeps its records: paretune's ledger and results, as they are meant to be used."""

    def __init__(self, folder: Path, witness: Witness) -> None:
        self.folder, self.witness = folder, witness
        self.ledger: Ledger | None = None

    def open(self) -> None:
        exists = os.path.lexists(self.folder / "ledger.db")
        self.ledger = Ledger.open(self.folder) if exists else Ledger.create(self.folder, {"search": "small"})

    def events(self) -> list[Event]:
        return read_events(self.folder)

    def append(self, events: list[tuple[str, Record]]) -> None:
        assert self.ledger is not None
        for event in self.ledger.append(events):
            self.witness.say(f"acked {event.seq}", flush=False)

    def asked(self, candidates: list[Record]) -> None:
        self.append([("asked", candidate) for candidate in candidates])

    def finished(self, candidate: Record, metrics: Mapping[str, float]) -> None:
        self.append([("finished", {"index": candidate["index"], "id": candidate["id"], "metrics": dict(metrics)})])

    def recall(self, candidate_id: str) -> Mapping[str, float] | None:
        return read_result(self.folder, candidate_id)

    def evaluate(self, candidate: Record) -> Mapping[str, float]:
        candidate_id = str(candidate["id"])
        self.witness.say(f"start {candidate_id} {os.getpid()}")
        metrics = table(candidate["genes"])  # type: ignore[arg-type]
        self.keep(candidate_id, metrics)
        self.witness.say(f"done {candidate_id} {fingerprint(metrics)}")
        return metrics

    def keep(self, candidate_id: str, metrics: Mapping[str, float]) -> None:
        write_result(self.folder, candidate_id, metrics)

    def close(self) -> None:
        if self.ledger is not None:
            self.ledger.close()


def search(store: Store) -> None:
    """Run to the end from wherever the records are."""
    asked: dict[int, Record] = {}
    told: dict[int, Mapping[str, float]] = {}
    for event in store.events():
        if event.kind == "asked":
            asked[event.body["index"]] = dict(event.body)
        elif event.kind == "finished":
            told[event.body["index"]] = event.body["metrics"]
    for first in range(0, NUM_CANDIDATES, GENERATION):
        generation = range(first, first + GENERATION)
        known = {i: told[i] for i in range(first)}
        new = [propose(i, known) for i in generation if i not in asked]
        if new:
            store.asked(new)
            asked |= {int(str(candidate["index"])): candidate for candidate in new}
        for i in generation:
            if i not in told:
                metrics = store.recall(str(asked[i]["id"]))
                told[i] = store.evaluate(asked[i]) if metrics is None else metrics
                store.finished(asked[i], told[i])


def run_search(folder: Path, witness: Path, kind: type[Store] = Store) -> int:
    """Start or go on; returns the exit code of the error, or 0 at the end of the search."""
    ledger_module.LOG_PAGES = SMALL_LOG_PAGES
    try:
        store = kind(folder, Witness(witness))
        try:
            store.open()
            search(store)
        finally:
            store.close()
    except ParetuneError as error:
        return _report(error)
    return 0


def run_repair(folder: Path) -> int:
    """Repair the study's ledger; returns the exit code."""
    ledger_module.LOG_PAGES = SMALL_LOG_PAGES
    try:
        repair(folder)
    except ParetuneError as error:
        return _report(error)
    return 0


def _report(error: ParetuneError) -> int:
    with contextlib.suppress(OSError):  # the injected fault may hit this write
        os.write(2, f"{error}\n".encode())
    return error.exit_code


if __name__ == "__main__":
    sys.exit(run_search(Path(sys.argv[1]), Path(sys.argv[2])))
