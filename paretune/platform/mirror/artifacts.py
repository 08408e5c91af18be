"""The files that go with a study into MLflow: spec, report, figures and table on the parent run, networks on the runs that trained them."""

import logging
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

from paretune.core.errors import StorageError
from paretune.core.files import read_regular
from paretune.platform.mirror.content import spec_text
from paretune.platform.mirror.errors import Gone, Refused
from paretune.platform.mirror.sink import Sink
from paretune.platform.mirror.state import Memory
from paretune.platform.mirror.table import TABLE_FILE, candidates_table
from paretune.platform.record.history import History
from paretune.platform.record.summary import best_seed

logger = logging.getLogger(__name__)

PAGES = ("report.html", "figures/pareto-front.html", "figures/parallel-coordinates.html")
"""In the study's folder, where they were written."""
NETWORK_FILES = ("network.onnx", "network.safetensors", "network.json")


def study_files(history: History, folder: Path) -> Iterator[tuple[str, bytes]]:
    """Artifacts of the parent run: names and contents."""
    yield "spec.yaml", spec_text(history.header).encode("utf-8", "replace")
    yield TABLE_FILE, candidates_table(history)
    for name in PAGES:
        content = _content(folder / name)
        if content is not None:
            yield name, content


def network_files(history: History, folder: Path) -> Iterator[tuple[str, str, bytes]]:
    """Of each member of the front the exported network of its best seed: job id, name, content."""
    finals = history.finals()
    for record in history.front():
        best = best_seed(history.problem, finals.get(record.job.ask_index, []))
        for name in NETWORK_FILES if best is not None else ():
            assert best is not None
            content = _content(folder / "work" / best.job.id / "network" / name)
            if content is not None:
                yield best.job.id, f"network/{name}", content


def _content(path: Path) -> bytes | None:
    try:
        return read_regular(path)
    except (FileNotFoundError, StorageError):
        return None


class Uploads:
    """Uploads what has changed since it was uploaded last."""

    def __init__(self, memory: Memory, sink: Sink) -> None:
        self._memory, self._sink = memory, sink

    def put(self, run_id: str, key: str, name: str, content: bytes) -> None:
        """Store one artifact of the run of a key.

        Raises:
            Unavailable: MLflow fails.
        """
        remembered = f"artifact.{name}" if key == "study" else f"artifact.{key}.{name}"
        digest = sha256(content).hexdigest()
        if self._memory.get(remembered) == digest:
            return
        try:
            self._sink.upload(run_id, name, content)
        except (Refused, Gone) as error:
            logger.error("MLflow refuses %s: %s", name, error)
            return
        self._memory.put(remembered, digest)
