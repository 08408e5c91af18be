"""Bad input and refusing systems: one clear message, the documented exit code, no traceback."""

import json
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from paretune.platform.record.lock import StudyLock

Command = Callable[..., Any]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["status", "nope"], "no study 'nope': runs holds no studies"),
        (["status", "--storage", "study.yaml"], "study.yaml: is no folder"),
        (["run", "stdy.yaml"], "Did you mean study.yaml?"),
        (["run", "study.yaml", "--set", "budget.trials"], "expected PATH=VALUE"),
        (["run", "study.yaml", "--set", "budget.trails=3"], "Did you mean 'trials'?"),
        (["run", "study.yaml", "--set", "budget.trials=4"], "population 16 needs at least 16 trials"),
        (["run", "study.yaml", "--set", "storage=study.yaml"], "study.yaml is no folder"),
        (["run", "study.yaml", "--name", "../x"], "may hold only letters"),
        (["run", "study.yaml", "--address", "ray://head:10001"], "expected HOST:PORT"),
        (["run", "study.yaml", "--set", "shared=runs"], "'runs' is relative; write the folder as every node sees it"),
        (["resume"], "paretune resume --from STORAGE"),
        (["resume", "--from", "nowhere"], "Is the shared storage mounted here?"),
        (["rnu", "study.yaml"], "Did you mean 'run'?"),
        (["list", "space"], "is not one of 'spaces'"),
        (["validate", "."], "is a directory"),
    ],
)
def test_wrong_words_are_refused_with_what_was_probably_meant(words: list[str], expected: str, paretune: Command, folder: Path) -> None:
    done = paretune(*words)
    assert (done.exit_code, done.stdout) == (2, "")
    assert expected in done.stderr
    assert not (folder / "runs").exists()


def test_unknown_study_names_the_near_one(paretune: Command, new_study: Command) -> None:
    new_study("digits")
    done = paretune("resume", "digts")
    assert done.exit_code == 2
    assert done.stderr == "paretune: unknown study 'digts'. Did you mean 'digits'? (digits)\n"


def test_taken_name_is_refused_with_both_ways_on_and_the_storage(paretune: Command, new_study: Command) -> None:
    shutil.move(new_study("digits").parent, "else where")
    done = paretune("run", "study.yaml", "--set", "storage=else where")
    assert done.exit_code == 2
    assert "paretune resume digits --storage 'else where'" in done.stderr
    assert "--name digits-2" in done.stderr


def test_address_where_nothing_listens_is_refused_at_once_and_no_study_is_made(paretune: Command, folder: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, but nobody listens
        done = paretune("run", "study.yaml", "--address", f"127.0.0.1:{taken.getsockname()[1]}")
    assert done.exit_code == 2
    assert "no Ray cluster answers at" in done.stderr
    assert "ray start --head" in done.stderr
    assert not (folder / "runs").exists()


def test_study_that_is_being_run_is_shown_as_running_and_refused_by_pid(paretune: Command, new_study: Command) -> None:
    import os

    lock = StudyLock.acquire(new_study("digits"))
    try:
        assert f"running by pid {os.getpid()}" in paretune("status", "digits").stdout
        assert json.loads(paretune("status", "--json").stdout)[0]["status"] == "running"
        done = paretune("resume", "digits", "--quiet")
    finally:
        lock.release()
    assert done.exit_code == 75
    assert f"being run by pid {os.getpid()}" in done.stderr
    assert "stopped" in paretune("status", "digits").stdout


def test_damaged_study_hides_no_other_and_names_the_repair(paretune: Command, new_study: Command) -> None:
    damaged = new_study("damaged") / "ledger.db"
    data = bytearray(damaged.read_bytes())
    data[4096:] = bytes(len(data) - 4096)
    damaged.write_bytes(data)
    new_study("whole")
    listing = paretune("status")
    assert listing.exit_code == 0
    assert "whole" in listing.stdout
    assert "--repair" in listing.stdout
    for words in (["status", "damaged"], ["report", "damaged"], ["resume", "damaged", "--quiet"]):
        done = paretune(*words)
        assert done.exit_code == 74
        assert "--repair" in done.stderr


def test_repair_says_what_it_kept_and_where_the_damaged_files_are(paretune: Command, new_study: Command) -> None:
    folder = new_study("digits")
    ledger = folder / "ledger.db"
    data = bytearray(ledger.read_bytes())
    data[4096:] = bytes(len(data) - 4096)
    ledger.write_bytes(data)
    done = paretune("resume", "digits", "--repair", "--quiet")
    assert done.exit_code == 74
    assert done.stderr.count("kept 0 events before the damage, moved aside: ledger.damaged-1.db") == 1
    assert f"lie in {folder / 'results'}" in done.stderr
    assert (folder / "ledger.damaged-1.db").read_bytes() == data


def test_secret_written_into_a_spec_is_refused_and_not_repeated(paretune: Command) -> None:
    done = paretune("validate", "study.yaml", "--set", "tracking.uri=http://me:s3cret-canary@127.0.0.1:5000")
    assert done.exit_code == 2
    assert "${env:" in done.stderr
    assert "s3cret" not in done.output


def test_export_of_an_unknown_candidate_and_onto_something_is_refused(paretune: Command, new_study: Command, folder: Path) -> None:
    new_study("digits")
    done = paretune("export", "digits", "--candidate", "3")
    assert done.exit_code == 2
    assert "has no candidate 3" in done.stderr


def test_a_candidate_without_a_trained_network_is_not_registered(paretune: Command, new_study: Command, folder: Path) -> None:
    new_study("digits")
    done = paretune("register", "digits", "--candidate", "3")
    assert done.exit_code == 2
    assert "candidate 3 of study 'digits' has no finally trained network" in done.stderr
    assert "paretune resume" in done.stderr


def test_json_of_a_refused_spec_has_the_places_and_nothing_else_is_printed(paretune: Command, folder: Path) -> None:
    text = (folder / "study.yaml").read_text()
    (folder / "bad.yaml").write_text(text.replace("goal: max", "goal: maxx").replace("trials: 64", "trails: 64"))
    done = paretune("validate", "bad.yaml", "--json")
    found = json.loads(done.stdout)
    assert (done.exit_code, done.stderr, found["ok"]) == (2, "", False)
    assert [problem["path"] for problem in found["problems"]] == ["objectives[0].goal", "budget.trails"]
    lines = (folder / "bad.yaml").read_text().splitlines()
    assert ["goal: maxx" in lines[problem["line"] - 1] for problem in found["problems"]] == [True, False]


@pytest.mark.parametrize(
    ("line", "code", "message"),
    [
        ("$PARETUNE list searchers | head -1; exit ${PIPESTATUS[0]}", 0, ""),
        ("$PARETUNE list searchers --json | head -1; exit ${PIPESTATUS[0]}", 0, ""),
        ("$PARETUNE list searchers > /dev/full", 74, "paretune: cannot write: No space left on device\n"),
        ("$PARETUNE init > /dev/full", 74, "paretune: cannot write: No space left on device\n"),
        ("$PARETUNE status >&-", 0, ""),
        ("$PARETUNE validate nope.yaml 2>&-", 2, ""),
    ],
)
def test_output_that_nobody_takes_ends_a_command_quietly(line: str, code: int, message: str, process: Command) -> None:
    done = process(line)
    assert (done.returncode, done.stderr) == (code, message)


def test_storage_that_cannot_be_written_is_named(process: Command, folder: Path) -> None:
    done = process("$PARETUNE run study.yaml --quiet --set storage=/proc/paretune")
    assert done.returncode == 74
    assert done.stderr.startswith("paretune: cannot make the folder /proc/paretune")
    assert "Traceback" not in done.stderr
