"""The whole ledger, verified before anybody writes to it."""

import contextlib
from dataclasses import dataclass
from pathlib import Path

from paretune.platform.record.format import check_first, check_pages, read_identity, verified_rows
from paretune.platform.record.sqlite_file import connect_to_read
from paretune.platform.record.write_ahead_log import check_log


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """Up to where a ledger was verified."""

    seq: int
    crc: int
    newest_epoch: int


def verify(path: Path) -> Checked:
    """Verify everything through a connection that cannot write, so that a damaged ledger stays as it was found.

    Raises:
        LedgerDamaged: an event fails its checksum or is missing, or the file is damaged.
        StorageError: the storage cannot be read.
    """
    check_log(path)
    with contextlib.closing(connect_to_read(path)) as connection:
        connection.execute("BEGIN")
        identity = read_identity(connection, path)
        check_pages(connection, path)
        seq, crc, newest = 0, 0, 0
        for row in verified_rows(connection, path):
            if row[0] == 1:
                check_first(row, identity, path)
            seq, crc, newest = row[0], row[3], max(newest, row[1])
    return Checked(seq=seq, crc=crc, newest_epoch=newest)
