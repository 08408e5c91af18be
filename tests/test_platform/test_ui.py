"""`paretune ui` end to end: a real MLflow server on a mirrored study, ended without a trace."""

import os
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import psutil
import pytest

from paretune.core.errors import BadInput
from paretune.platform.mirror import sync
from paretune.platform.mirror.ui import serve_ui, spread, ui_server

pytestmark = pytest.mark.timeout(240)

PROGRAM = """
import sys
from pathlib import Path
from paretune.platform.mirror.ui import serve_ui
serve_ui(sys.argv[1], Path(sys.argv[2]))
print("ended", flush=True)
"""


def test_the_page_of_the_front_is_served_on_loopback_until_interrupted(sample_study: Any, tmp_path: Path) -> None:
    study, uri = sample_study("digits").search(12), f"sqlite:///{tmp_path}/mlflow.db"
    sync(study.folder, uri)
    command = [sys.executable, "-c", PROGRAM, uri, str(study.folder)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    program = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        env=environment,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # a shell's `&` has it ignored
    )
    try:
        assert program.stdout is not None
        url = program.stdout.readline()
        started = psutil.Process(program.pid).children(recursive=True)
        assert re.match(r"http://127\.0\.0\.1:\d+/#/compare-runs\?runs=%5B%22[0-9a-f]{32}", url), url
        base = url.partition("/#/")[0]
        with urllib.request.urlopen(base, timeout=10) as answer:
            assert b"MLflow" in answer.read()
        with pytest.raises(urllib.error.HTTPError) as refused:  # a page of another site that rebinds its name to 127.0.0.1
            urllib.request.urlopen(urllib.request.Request(base, headers={"Host": "evil.example"}), timeout=10)
        refused.value.close()
        assert refused.value.code == 403
        listening = [item.laddr.ip for process in started for item in process.net_connections("tcp") if item.status == psutil.CONN_LISTEN]
        assert set(listening) == {"127.0.0.1"}
        os.kill(program.pid, signal.SIGINT)
        assert program.stdout.read() == "ended\n"
    finally:
        program.kill()
        program.communicate()
    assert started
    assert psutil.wait_procs(started, timeout=10)[1] == []
    assert sorted(path.name for path in tmp_path.iterdir() if "mlruns" in path.name) == []


def test_a_large_front_is_compared_by_members_evenly_spaced_with_both_ends() -> None:
    members = [str(number) for number in range(10)]
    assert spread(members, 4) == ["0", "3", "6", "9"]
    assert spread(members, 2) == ["0", "9"]
    assert spread(members, 10) == spread(members, 20) == members
    assert len(set(spread([str(number) for number in range(21)], 20))) == 20


def test_a_store_that_is_not_there_and_a_taken_port_are_said(tmp_path: Path) -> None:
    import socket

    with pytest.raises(BadInput, match="nothing was logged"):
        serve_ui(f"sqlite:///{tmp_path}/none.db")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "mlflow.db").touch()
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        with pytest.raises(BadInput, match=f"port {port} cannot be used"), ui_server(f"sqlite:///{tmp_path}/mlflow.db", port=port):
            pass


def test_a_server_that_is_away_is_said_at_once(sample_study: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from paretune.core.errors import TemporaryError
    from paretune.platform.mirror.ui import SETTINGS

    for name in SETTINGS:
        monkeypatch.setenv(name, os.environ.get(name, ""))  # put back afterwards
    with pytest.raises(TemporaryError, match="does not answer") as away:
        serve_ui("http://127.0.0.1:9", sample_study("digits").folder)  # the discard port: nobody listens
    assert away.value.exit_code == 75
