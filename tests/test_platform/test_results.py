"""Results of workers: durable, named, checked; a damaged one counts as absent and is kept aside."""

import hashlib
import logging
import os
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paretune.core.errors import BadInput, StorageError
from paretune.platform.record.results import list_results, read_result, result_bytes, result_path, write_result

A, B = (hashlib.sha256(name).hexdigest() for name in (b"a", b"b"))
BODY = {"outcome": "ok", "metrics": {"accuracy": 0.1 + 0.2, "latency_s": 1e-300}}


def test_a_result_reads_back_equal_and_lies_in_its_shard(tmp_path: Path) -> None:
    write_result(tmp_path, A, BODY)
    assert read_result(tmp_path, A) == BODY
    assert result_path(tmp_path, A) == tmp_path / "results" / A[:2] / f"{A}.json"
    assert result_path(tmp_path, A).is_file()
    assert read_result(tmp_path, B) is None


@settings(max_examples=50, deadline=None)
@given(
    body=st.dictionaries(
        st.text(max_size=5) | st.integers(),
        st.none() | st.floats(allow_nan=False, allow_infinity=False) | st.text() | st.lists(st.integers()),
    ).filter(lambda body: len({type(key) for key in body}) < 2)
)
def test_whatever_is_written_is_sound_when_it_is_read(tmp_path_factory: pytest.TempPathFactory, body: dict[str | int, object]) -> None:
    folder = tmp_path_factory.mktemp("results")
    write_result(folder, A, body)  # type: ignore[arg-type]
    assert read_result(folder, A) == {str(key): value for key, value in body.items()}


@pytest.mark.parametrize("bad", ["", "a" * 63, "a" * 65, "A" * 64, "../" + "a" * 61, "a" * 64 + "\n", "g" * 64])
def test_an_id_that_is_not_64_digits_is_refused_and_nothing_is_written(tmp_path: Path, bad: str) -> None:
    for action in (lambda: write_result(tmp_path, bad, BODY), lambda: read_result(tmp_path, bad)):
        with pytest.raises(BadInput, match="is no candidate id"):
            action()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("bad", [float("nan"), float("-inf"), {1, 2}])
def test_a_result_that_is_no_json_is_refused_and_nothing_is_written(tmp_path: Path, bad: object) -> None:
    with pytest.raises(BadInput, match=f"candidate {A} cannot be recorded"):
        write_result(tmp_path, A, {"accuracy": bad})
    assert list(tmp_path.iterdir()) == []


def test_the_same_result_may_be_written_again_and_another_one_may_not(tmp_path: Path) -> None:
    write_result(tmp_path, A, BODY)
    write_result(tmp_path, A, dict(reversed(BODY.items())))
    with pytest.raises(StorageError, match="another result of this candidate, so it was evaluated twice; the first result stands"):
        write_result(tmp_path, A, {**BODY, "outcome": "diverged"})
    assert read_result(tmp_path, A) == BODY


def test_a_damaged_result_counts_as_absent_is_kept_aside_with_a_warning_and_can_be_written_anew(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_result(tmp_path, A, BODY)
    path = result_path(tmp_path, A)
    for number in (1, 2):
        damaged = path.read_bytes().replace(b"ok", b"OK")
        path.write_bytes(damaged)
        with caplog.at_level(logging.WARNING):
            assert read_result(tmp_path, A) is None
        assert f"{A}.damaged-{number}" in caplog.text
        assert path.with_name(f"{A}.damaged-{number}").read_bytes() == damaged
        assert list(list_results(tmp_path)) == []
        write_result(tmp_path, A, BODY)
        assert read_result(tmp_path, A) == BODY


def test_every_cut_and_every_of_500_flipped_bits_is_found(tmp_path: Path) -> None:
    sound = result_bytes(A, BODY)
    path = result_path(tmp_path, A)
    path.parent.mkdir(parents=True)
    choose = random.Random(7)
    damaged = [sound[:length] for length in range(len(sound))]
    for _ in range(500):
        flipped = bytearray(sound)
        flipped[choose.randrange(len(sound))] ^= 1 << choose.randrange(8)
        damaged.append(bytes(flipped))
    for data in damaged:
        path.write_bytes(data)
        assert read_result(tmp_path, A) is None
        assert not path.exists()
        for aside in path.parent.iterdir():
            aside.unlink()


def test_a_result_of_another_candidate_is_not_taken(tmp_path: Path) -> None:
    path = result_path(tmp_path, A)
    path.parent.mkdir(parents=True)
    path.write_bytes(result_bytes(B, BODY))
    assert read_result(tmp_path, A) is None


@pytest.mark.parametrize("kind", ["link", "pipe", "folder"])
def test_a_link_pipe_or_folder_in_the_place_of_a_result_is_refused(tmp_path: Path, kind: str) -> None:
    write_result(tmp_path / "elsewhere", A, BODY)
    path = result_path(tmp_path / "s", A)
    path.parent.mkdir(parents=True)
    if kind == "link":
        path.symlink_to(result_path(tmp_path / "elsewhere", A))
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.mkdir()
    with pytest.raises(StorageError, match=r"symbolic link|regular file|directory"):
        read_result(tmp_path / "s", A)


def test_the_list_is_sorted_and_leaves_out_everything_that_is_no_result(tmp_path: Path) -> None:
    assert list(list_results(tmp_path)) == []
    ids = [hashlib.sha256(bytes([number])).hexdigest() for number in range(40)]
    for candidate in ids:
        write_result(tmp_path, candidate, BODY)
    shard = tmp_path / "results" / ids[0][:2]
    for name in (".paretune-1-abc", f"{ids[0]}.damaged-1", "note.json", f"{'f' * 64}.json.tmp"):
        (shard / name).write_text("x")
    (tmp_path / "results" / "README").write_text("x")
    (tmp_path / "results" / "zz").mkdir()
    assert list(list_results(tmp_path)) == sorted(ids)
