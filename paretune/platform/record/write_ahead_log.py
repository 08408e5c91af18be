"""Damage in the middle of SQLite's write-ahead log, which SQLite itself takes for the end of the log.

SQLite reads the log up to the first frame whose checksum is wrong, since that is what a crash in the middle of a write leaves. A
flipped bit does the same to transactions that were on the disk and acknowledged. The two can be told apart: each transaction is
flushed before the next one begins, so after a crash no frame of the current log follows the transaction that was cut off.

Source: sqlite.org/fileformat2.html, section 4 (the WAL format).
"""

import struct
from pathlib import Path

from paretune.core.errors import StorageError
from paretune.platform.record.sqlite_file import LOG_SUFFIX, damaged

HEADER = struct.Struct(">8I")
"""Magic, version, page size, number of the log, two salts, two checksums."""
FRAME = struct.Struct(">6I")
"""Page number, size of the database after a commit or 0, two salts, two checksums."""
MAGIC = {0x377F0682: "<", 0x377F0683: ">"}
"""Byte order of the checksums."""


def check_log(path: Path) -> None:
    """Refuse a ledger whose log is damaged before its last transaction.

    Args:
        path: the ledger; its log lies beside it, or there is none.

    Raises:
        LedgerDamaged: transactions follow the damage.
        StorageError: the log cannot be read.
    """
    log = path.with_name(path.name + LOG_SUFFIX)
    # Twice: a process that is being taken over may have written between the first and the last byte that were read.
    if _damage(_content(log)) and (reason := _damage(_content(log))):
        raise damaged(path, f"its log {log.name} {reason}")


def _content(log: Path) -> bytes:
    try:
        return log.read_bytes()
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise StorageError(f"cannot read {log}: {error.strerror}") from error


def _damage(data: bytes) -> str:
    """What is wrong with a log; empty for a log that is sound or only cut off."""
    if len(data) < HEADER.size + FRAME.size:
        return ""
    magic, _, page_bytes, _, *salts, sum_1, sum_2 = HEADER.unpack_from(data)
    order = MAGIC.get(magic)
    if order is None or _checksum(data[: HEADER.size - 8], (0, 0), order) != (sum_1, sum_2):
        return "has a damaged header"
    starts = range(HEADER.size, len(data) - FRAME.size - page_bytes + 1, FRAME.size + page_bytes)
    bad = _first_bad(data, starts, page_bytes, order)
    ends = [number for number in range(bad, len(starts)) if FRAME.unpack_from(data, starts[number])[1]]
    for number in range(ends[0] + 1, len(starts)) if ends else ():
        if list(FRAME.unpack_from(data, starts[number])[2:4]) == salts:  # an older log that lies behind has other salts
            return f"is damaged at frame {bad + 1}, and a later transaction follows in frame {number + 1}"
    return ""


def _first_bad(data: bytes, starts: range, page_bytes: int, order: str) -> int:
    """Index of the first frame that does not belong to the log; the number of frames where all do."""
    salts, running = HEADER.unpack_from(data)[4:6], HEADER.unpack_from(data)[6:8]
    for number, start in enumerate(starts):
        frame = FRAME.unpack_from(data, start)
        running = _checksum(data[start : start + 8], running, order)
        running = _checksum(data[start + FRAME.size : start + FRAME.size + page_bytes], running, order)
        if frame[2:4] != salts or frame[4:6] != running:
            return number
    return len(starts)


def _checksum(data: bytes, running: tuple[int, ...], order: str) -> tuple[int, int]:
    """The running checksum of the log over more data, whose length is a multiple of 8 bytes."""
    first, second = running
    words = struct.unpack(f"{order}{len(data) // 4}I", data)
    for even, odd in zip(words[::2], words[1::2], strict=True):
        first = (first + even + second) & 0xFFFFFFFF
        second = (second + odd + first) & 0xFFFFFFFF
    return first, second
