"""Durable files: all or nothing, no temporary file left, no link followed."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from paretune.core.errors import StorageError
from paretune.core.files import read_regular, write_durably


def test_a_written_file_reads_back_and_leaves_no_temporary_file(tmp_path: Path) -> None:
    data = os.urandom(70_000)
    write_durably(tmp_path / "a.bin", b"older")
    write_durably(tmp_path / "a.bin", data)
    assert read_regular(tmp_path / "a.bin") == data
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.bin"]


def test_a_link_at_the_target_is_replaced_and_what_it_points_to_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "victim").write_bytes(b"precious")
    (tmp_path / "a.bin").symlink_to(tmp_path / "victim")
    write_durably(tmp_path / "a.bin", b"new")
    assert (tmp_path / "victim").read_bytes() == b"precious"
    assert read_regular(tmp_path / "a.bin") == b"new"


def test_a_missing_folder_is_a_storage_error_that_names_the_path_and_the_bytes(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"missing/a\.bin: No such file or directory; 3 bytes needed"):
        write_durably(tmp_path / "missing" / "a.bin", b"abc")


def test_a_full_disk_leaves_the_old_file_and_no_temporary_one(tmp_path: Path) -> None:
    # A file-size limit of the process makes write(2) fail with EFBIG part of the way, as a full disk does with ENOSPC.
    write_durably(tmp_path / "a.bin", b"old")
    program = textwrap.dedent(
        """
        import resource, signal, sys
        from pathlib import Path
        from paretune.core.errors import StorageError
        from paretune.core.files import write_durably
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
        try:
            write_durably(Path(sys.argv[1]), bytes(100_000))
        except StorageError as error:
            sys.exit(0 if "100,000 bytes needed" in str(error) and "bytes free" in str(error) else 3)
        """
    )
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path / "a.bin")], timeout=60, check=False)
    assert done.returncode == 0
    assert read_regular(tmp_path / "a.bin") == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.bin"]


def test_a_target_that_is_a_folder_is_refused_and_nothing_is_left(tmp_path: Path) -> None:
    (tmp_path / "a.bin").mkdir()
    with pytest.raises(StorageError, match="directory"):
        write_durably(tmp_path / "a.bin", b"abc")
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.bin"]


def test_links_pipes_and_folders_are_not_read(tmp_path: Path) -> None:
    (tmp_path / "real").write_bytes(b"x")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(StorageError, match="symbolic link"):
        read_regular(tmp_path / "link")
    for name in ("pipe", "."):
        with pytest.raises(StorageError, match="not a regular file"):
            read_regular(tmp_path / name)
    with pytest.raises(FileNotFoundError):
        read_regular(tmp_path / "nothing")
