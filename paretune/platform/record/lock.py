"""The lock that lets one process at a time run a study, and the record of who holds it.

The lock is `flock` on `LOCK` in the study's folder: the kernel drops it when the holder dies, however it dies. A take-over
puts a new `LOCK` file in the place of the old one, so it succeeds although a stopped process still holds the old; what that
process writes after it wakes up is refused by the ledger's epoch.
"""

import contextlib
import errno
import fcntl
import getpass
import json
import os
import secrets
import socket
import stat
import time
import weakref
from dataclasses import asdict, dataclass
from pathlib import Path

from paretune.core.errors import BadInput, StorageError, StudyLocked
from paretune.core.files import TEMPORARY_PREFIX, space

LOCK_FILE = "LOCK"
OWNER_BYTES = 4096
"""Longest owner record that is read."""
TRIES = 100
"""How often to look again after a take-over replaced the file between opening and locking it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """The process that runs a study."""

    host: str
    boot_id: str
    """Which start of the host; empty where the system does not tell."""
    pid: int
    started: int
    """Start of the process in clock ticks since boot, since process numbers are used again; 0 where the system does not tell."""
    user: str
    since_s: float
    """Wall clock when the lock was taken, for people only."""

    def describe(self) -> str:
        """`pid 4711 on host a since 14:02`, with the date when that was not today."""
        since, now = time.localtime(self.since_s), time.localtime()
        same_day = (since.tm_year, since.tm_yday) == (now.tm_year, now.tm_yday)
        return f"pid {self.pid} on host {self.host} since {time.strftime('%H:%M' if same_day else '%Y-%m-%d %H:%M', since)}"


def this_process() -> Owner:
    """The owner record of the running process."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a user id without a name, as in many containers
        user = str(os.getuid())
    return Owner(
        host=socket.gethostname(), boot_id=_boot_id(), pid=os.getpid(), started=_started(os.getpid()), user=user, since_s=time.time()
    )


def read_owner(folder: Path) -> Owner | None:
    """Who holds or last held the lock of a study; None where the record is missing or cannot be read."""
    try:
        descriptor = os.open(folder / LOCK_FILE, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        return _parse(os.read(descriptor, OWNER_BYTES))
    except OSError:
        return None
    finally:
        os.close(descriptor)


def is_held(folder: Path) -> bool:
    """Whether a process of this host runs the study, as far as the kernel tells; the lock is not touched."""
    try:
        status = (folder / LOCK_FILE).lstat()
        locks = Path("/proc/locks").read_text().splitlines()
    except OSError:
        return False
    place = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}"
    return any(fields[1] == "FLOCK" and place in fields for fields in map(str.split, locks) if len(fields) > 1)


class StudyLock:
    """A held lock; call `release` to give it back. The death of the process gives it back too."""

    def __init__(self, *, descriptor: int, owner: Owner, replaced: Owner | None) -> None:
        self._descriptor: int | None = descriptor
        self.owner = owner
        self.replaced = replaced
        """Whom a take-over put aside, where it was known."""
        _held.add(self)

    @classmethod
    def acquire(cls, folder: Path, *, takeover: bool = False) -> "StudyLock":
        """Lock a study's folder, without waiting.

        Args:
            folder: the study's folder.
            takeover: take the lock even if a process holds it; that process can append nothing to the ledger after the next open.

        Raises:
            StudyLocked: another process holds it; the message says which.
            BadInput: the folder is not there or no folder.
            StorageError: the lock file cannot be opened, written or locked.
        """
        path, owner = folder / LOCK_FILE, this_process()
        for _ in range(TRIES):
            descriptor = _open(path, os.O_CREAT)
            kept = False
            try:
                if not _try_lock(descriptor, path):
                    current = _parse(os.pread(descriptor, OWNER_BYTES, 0))
                    if not takeover:
                        raise StudyLocked(_locked_message(folder, current))
                    return cls(descriptor=_replace(path, owner), owner=owner, replaced=current)
                if _is_at(descriptor, path):
                    _write(descriptor, owner, path)
                    kept = True
                    return cls(descriptor=descriptor, owner=owner, replaced=None)
            finally:
                if not kept:
                    os.close(descriptor)
        raise StudyLocked(f"study '{folder.name}' is being taken over again and again; try again")

    def release(self) -> None:
        """Give the lock back; more than once is fine. The file stays, because deleting it would let two processes in."""
        descriptor, self._descriptor = self._descriptor, None
        _held.discard(self)
        if descriptor is not None:
            os.close(descriptor)

    def forget(self) -> None:
        """In a forked child: close the inherited descriptor, so that the parent's death frees the lock. The parent keeps it."""
        self.release()


_held: "weakref.WeakSet[StudyLock]" = weakref.WeakSet()


def _forget_all() -> None:
    for lock in list(_held):
        lock.forget()


os.register_at_fork(after_in_child=_forget_all)


def _open(path: Path, flags: int) -> int:
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | flags, 0o600)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise BadInput(f"{path.parent}: no such folder") from error
    except OSError as error:
        reason = "it is a symbolic link" if path.is_symlink() else error.strerror
        raise StorageError(f"cannot lock the study in {path.parent}: {path.name}: {reason}") from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise StorageError(f"cannot lock the study in {path.parent}: {path.name} is not a regular file")
    return descriptor


def _try_lock(descriptor: int, path: Path) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        hint = (
            " The file system has no file locks; put the study on one that has." if error.errno in (errno.ENOLCK, errno.EOPNOTSUPP) else ""
        )
        raise StorageError(f"cannot lock {path}: {error.strerror}.{hint}") from error
    return True


def _is_at(descriptor: int, path: Path) -> bool:
    """Whether the open file is still the one at `path`: a take-over may have put another there."""
    try:
        there = path.lstat()
    except OSError:
        return False
    return os.path.samestat(os.fstat(descriptor), there)


def _replace(path: Path, owner: Owner) -> int:
    """Put a new locked file in the place of the one that another process holds."""
    temporary = path.with_name(f"{TEMPORARY_PREFIX}{os.getpid()}-{secrets.token_hex(8)}")
    descriptor = _open(temporary, os.O_CREAT | os.O_EXCL)
    try:
        _try_lock(descriptor, temporary)
        _write(descriptor, owner, path)
        try:
            temporary.replace(path)
        except OSError as error:
            raise StorageError(f"cannot replace {path}: {error.strerror}") from error
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        os.close(descriptor)
        raise
    return descriptor


def _write(descriptor: int, owner: Owner, path: Path) -> None:
    data = json.dumps(asdict(owner)).encode()
    try:
        os.pwrite(descriptor, data, 0)
        os.ftruncate(descriptor, len(data))
    except OSError as error:
        raise StorageError(f"cannot write {path}: {error.strerror}; {space(path.parent, len(data))}") from error


def _parse(data: bytes) -> Owner | None:
    try:
        record = json.loads(data)
        owner = Owner(
            host=_printable(record["host"]),
            boot_id=_printable(record["boot_id"]),
            pid=int(record["pid"]),
            started=int(record["started"]),
            user=_printable(record["user"]),
            since_s=float(record["since_s"]),
        )
        time.localtime(owner.since_s)
    except (ValueError, TypeError, KeyError, RecursionError, OverflowError, OSError):
        return None
    return owner


def _printable(text: object) -> str:
    """Without control characters, which could steer the terminal of whoever reads the message."""
    return "".join(character for character in str(text)[:255] if character.isprintable())


def _locked_message(folder: Path, owner: Owner | None) -> str:
    if owner is None:
        return f"study '{folder.name}' is being run by another process. Wait, or take over with --takeover"
    if _is_gone(owner):
        return (
            f"study '{folder.name}' was being run by {owner.describe()}; that process is gone, but a process it started still holds "
            f"{folder / LOCK_FILE}. End that one, or take over with --takeover"
        )
    return f"study '{folder.name}' is being run by {owner.describe()}. Wait, or take over with --takeover"


def _is_gone(owner: Owner) -> bool:
    """Whether the owner ran here, since the last start of the host, and runs no longer."""
    here = bool(owner.boot_id) and owner.boot_id == _boot_id() and owner.host == socket.gethostname()
    return here and owner.started != 0 and _started(owner.pid) != owner.started


def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def _started(pid: int) -> int:
    """Field 22 of `/proc/PID/stat`; the second field, the name, may hold spaces and parentheses."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    except (OSError, ValueError, IndexError):
        return 0
