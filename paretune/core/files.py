"""Files that are either there completely or not at all, also after a power cut, and reads that follow no link."""

import contextlib
import os
import secrets
import shutil
import stat
from pathlib import Path

from paretune.core.errors import StorageError

TEMPORARY_PREFIX = ".paretune-"
"""Start of the name of a file that is being written; a crash may leave one behind, and it may be deleted at any time."""


def write_durably(path: Path, data: bytes) -> None:
    """Write a file so that `path` holds either what it held before or all of `data`, whatever happens meanwhile.

    The data goes to a temporary file in the same folder, is flushed to the disk, renamed to `path`, and the folder is flushed.

    Raises:
        StorageError: the storage refuses; nothing is left behind and `path` is as it was (after a failed flush of the folder it may
            already hold `data`, which then may not survive a power cut).
    """
    temporary = path.with_name(f"{TEMPORARY_PREFIX}{os.getpid()}-{secrets.token_hex(8)}")
    try:
        _write_and_sync(temporary, data)
        temporary.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise StorageError(f"cannot write {path}: {error.strerror or error}; {space(path.parent, len(data))}") from error
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise


def sync_folder(folder: Path) -> None:
    """Flush a folder's entries to the disk, so that a rename in it survives a power cut.

    Raises:
        OSError: as the system gives it.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folder(folder: Path, mode: int = 0o777) -> None:
    """Make a folder, and the folders above it that are missing, so that they survive a power cut; one that is there is left alone.

    Args:
        folder: what to make.
        mode: permissions of `folder`, less those that the process masks; the folders above get the usual ones.

    Raises:
        StorageError: the storage refuses, or something else is there.
    """
    if folder.is_dir():
        return
    if not folder.parent.is_dir():
        make_folder(folder.parent)
    try:
        folder.mkdir(mode=mode, exist_ok=True)
        sync_folder(folder.parent)
    except OSError as error:
        raise StorageError(f"cannot make the folder {folder}: {error.strerror}; {space(folder.parent, 0)}") from error


def read_regular(path: Path) -> bytes:
    """All bytes of a regular file.

    Raises:
        FileNotFoundError: there is none.
        StorageError: it is a link, a device, a pipe or a folder, or the storage fails.
    """
    try:
        # O_NONBLOCK: opening a pipe that nobody writes to would wait for ever.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise
    except OSError as error:
        reason = "it is a symbolic link" if path.is_symlink() else error.strerror
        raise StorageError(f"cannot read {path}: {reason}") from error
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise StorageError(f"cannot read {path}: it is not a regular file")
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            return file.read()
    except OSError as error:
        raise StorageError(f"cannot read {path}: {error.strerror}") from error
    finally:
        os.close(descriptor)


def _write_and_sync(path: Path, data: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def space(folder: Path, needed_bytes: int) -> str:
    """How much was needed and how much is free, for the message of a storage error."""
    needed = f"{needed_bytes:,} bytes needed, " if needed_bytes else ""
    try:
        return f"{needed}{shutil.disk_usage(folder).free:,} bytes free in {folder}"
    except OSError:
        return f"{needed}{folder} cannot be read"
