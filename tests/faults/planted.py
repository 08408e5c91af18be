"""Deliberately bad ways of keeping records. Each has a defect that a real system had; the harness must find every one."""

import json
import os
from collections.abc import Mapping
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

from small_search import Record, Store, table

from paretune.core.errors import ParetuneError, StorageError
from paretune.platform.record.ledger import Ledger
from paretune.platform.record.results import result_path


class PlainWrite(Store):
    """Results written with `open("w")`: a kill between opening and writing leaves half a file."""

    def keep(self, candidate_id: str, metrics: Mapping[str, float]) -> None:
        path = result_path(self.folder, candidate_id)
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w") as file:
            json.dump(metrics, file)

    def recall(self, candidate_id: str) -> Mapping[str, float] | None:
        path = result_path(self.folder, candidate_id)
        return json.loads(path.read_text()) if path.exists() else None


class EarlyAcknowledge(Store):
    """Says `done` before the result is durable."""

    def evaluate(self, candidate: Record) -> Mapping[str, float]:
        metrics = table(candidate["genes"])  # type: ignore[arg-type]
        self.witness.say(f"done {candidate['id']} early")
        self.keep(str(candidate["id"]), metrics)
        return metrics


class NoAdoption(Store):
    """Results that the ledger does not know are ignored."""

    def recall(self, candidate_id: str) -> Mapping[str, float] | None:
        return None


class TwoTransactions(Store):
    """What belongs together is written in two transactions: a candidate finished with its accuracy, then its latency."""

    def finished(self, candidate: Record, metrics: Mapping[str, float]) -> None:
        record = {"index": candidate["index"], "id": candidate["id"]}
        self.append([("finished", {**record, "metrics": {"accuracy": metrics["accuracy"]}})])
        self.append([("latency", {**record, "metrics": {"latency_s": metrics["latency_s"]}})])

    def events(self) -> list[Any]:
        events = super().events()
        late = {event.body["id"]: event.body["metrics"] for event in events if event.kind == "latency"}
        return [
            replace(event, body={**event.body, "metrics": {**event.body["metrics"], **late.get(event.body["id"], {})}})
            if event.kind == "finished"
            else event
            for event in events
            if event.kind != "latency"
        ]


class TextLedger(Store):
    """JSON lines, each in two writes, without checksum and without a care for a torn last line."""

    def open(self) -> None:
        self.folder.mkdir(exist_ok=True)
        self._file = os.open(self.folder / "ledger.jsonl", os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)

    def events(self) -> list[Any]:
        lines = (self.folder / "ledger.jsonl").read_text().splitlines()
        return [SimpleNamespace(seq=i + 1, **json.loads(line)) for i, line in enumerate(lines)]

    def append(self, events: list[tuple[str, Record]]) -> None:
        for kind, body in events:
            os.write(self._file, f'{{"kind": "{kind}", "body": '.encode())
            os.write(self._file, json.dumps(body).encode() + b"}\n")
            os.fsync(self._file)

    def close(self) -> None:
        os.close(self._file)


class SwallowedError(Store):
    """Goes on after a failed append as if it had worked."""

    def append(self, events: list[tuple[str, Record]]) -> None:
        try:
            super().append(events)
        except StorageError:
            self.close()
            try:
                self.ledger = Ledger.open(self.folder)
            except ParetuneError:
                os._exit(0)


class UnflushedResult(Store):
    """The temporary file is renamed before it is flushed."""

    def keep(self, candidate_id: str, metrics: Mapping[str, float]) -> None:
        path = result_path(self.folder, candidate_id)
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(".tmp")
        temporary.write_text(json.dumps(metrics))
        temporary.rename(path)


class UnflushedLedger(Store):
    """`synchronous=OFF`: fast, and gone with the power."""

    def open(self) -> None:
        super().open()
        assert self.ledger is not None
        self.ledger._connection.execute("PRAGMA synchronous=OFF")


PLANTED: dict[str, type[Store]] = {
    "plain-write": PlainWrite,
    "early-acknowledge": EarlyAcknowledge,
    "no-adoption": NoAdoption,
    "two-transactions": TwoTransactions,
    "text-ledger": TextLedger,
    "swallowed-error": SwallowedError,
    "unflushed-result": UnflushedResult,
    "unflushed-ledger": UnflushedLedger,
}
