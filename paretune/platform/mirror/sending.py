"""Several candidates on their way to MLflow at a time; what the mirror remembers of them is written by its own thread alone."""

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from threading import Event

from paretune.platform.mirror.content import FRONT_TAG, RunContent
from paretune.platform.mirror.errors import Gone, Refused, Unavailable
from paretune.platform.mirror.sink import Sink
from paretune.platform.mirror.state import RunRow


@dataclass(frozen=True, slots=True, kw_only=True)
class Parcel:
    """One run to be written."""

    row: RunRow
    """What is known of the run; brought up to date on the way."""
    content: RunContent
    look_first: bool
    """Whether an earlier request may have made the run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """What became of a parcel: `row` says how far it came."""

    parcel: Parcel
    error: Exception | None = None
    """`Unavailable`, `Refused` or `Gone`."""


class Sender:
    """Writes runs over as many connections as the store bears, each run over one of them: create, fill, end.

    After the first failure of the server the parcels that are not under way stay where they are.
    """

    def __init__(self, sink: Sink, study_id: str) -> None:
        self._sink, self._study_id = sink, study_id
        self._failed = Event()
        self._pool: ThreadPoolExecutor | None = None

    def send(self, parcels: Iterable[Parcel], parent_id: str) -> Iterator[Delivery]:
        """Write runs; the deliveries come as they end, and those that never began do not come.

        Raises:
            Unavailable: MLflow fails before the first.
        """
        self._failed.clear()
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self._sink.num_connections, thread_name_prefix="mirror")
        futures = [self._pool.submit(self._deliver, parcel, parent_id) for parcel in parcels]
        for future in as_completed(futures):
            delivery = future.result()
            if delivery is not None:
                yield delivery

    def make(self, parcel: Parcel, parent_id: str | None) -> None:
        """Make the run of a parcel, unless an earlier life made it.

        Raises:
            Unavailable: MLflow fails; the run may exist or not.
            Refused: MLflow will not have it.
        """
        row = parcel.row
        if parcel.look_first:
            row.doubtful = True
            found = self._sink.find(self._study_id, row.key)
            if found:
                row.run_id, row.start_ms = found[0]
        if row.run_id is None:
            row.run_id = self._sink.create(parcel.content, parent_id=parent_id, start_ms=row.start_ms)
            row.front = parcel.content.tags.get(FRONT_TAG, "")
        row.state = "created"

    def _deliver(self, parcel: Parcel, parent_id: str) -> Delivery | None:
        if self._failed.is_set():
            return None
        row = parcel.row
        try:
            if row.run_id is None:
                self.make(parcel, parent_id)
            assert row.run_id is not None
            self._sink.complete(row.run_id, parcel.content, start_ms=row.start_ms)
        except Gone as error:
            row.run_id, row.state = None, "sending"  # somebody removed it for good: make it again
            return Delivery(parcel=parcel, error=error)
        except Refused as error:
            row.state = "refused"
            return Delivery(parcel=parcel, error=error)
        except Unavailable as error:
            self._failed.set()
            return Delivery(parcel=parcel, error=error)
        row.state = "done"
        return Delivery(parcel=parcel)
