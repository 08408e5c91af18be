"""Clusters that ask nobody for a token: real Ray heads with and without one, on loopback, which the tests take for a network."""

import os
import secrets
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from paretune.core.errors import BadInput
from paretune.platform.clusters import jobs
from paretune.platform.clusters.jobs import JobServer
from paretune.platform.execution import credentials
from paretune.platform.execution.cluster import check_address
from paretune.platform.execution.credentials import is_loopback


@pytest.mark.parametrize(
    ("host", "alone"),
    [
        ("127.0.0.1", True),
        ("127.8.0.1", True),
        ("localhost", True),
        ("[::1]", True),
        ("10.0.0.5", False),
        ("head", False),
        ("0.0.0.0", False),
    ],
)
def test_only_addresses_of_this_machine_alone_are_loopback(host: str, alone: bool) -> None:
    assert is_loopback(host) is alone


@pytest.fixture(scope="module")
def open_head(ray_of_its_own: Callable[[str], Any]) -> Iterator[Any]:
    """A head without a token."""
    made = ray_of_its_own(f"pt-{secrets.token_hex(3)}")
    made.start(
        "--num-cpus=0",
        f"--dashboard-port={made.job_server.rpartition(':')[2]}",
        "--dashboard-host=127.0.0.1",
        RAY_AUTH_MODE="disabled",
        RAY_AUTH_TOKEN=None,
    )
    yield made
    made.end()


@pytest.fixture
def as_if_a_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine whose loopback interface counts as a network."""
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")  # commands set it; what is set here is undone after the test
    for name in [name for name in os.environ if name.startswith("RAY_AUTH")]:
        monkeypatch.delenv(name)
    for module in (credentials, jobs):
        monkeypatch.setattr(module, "is_loopback", lambda _host: False)


@pytest.mark.ray
@pytest.mark.usefixtures("as_if_a_network")
def test_an_open_cluster_is_refused_unless_that_is_said_to_be_fine(open_head: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(open_head.folder))
    for connect in (lambda: check_address(open_head.gcs), lambda: JobServer(open_head.job_server, allow_network=True)):
        with pytest.raises(BadInput, match=r"asks nobody for a token: .* --insecure") as refused:
            connect()
        assert refused.value.exit_code == 2
    check_address(open_head.gcs, insecure=True)
    assert JobServer(open_head.job_server, allow_network=True, insecure=True).submissions() == []


@pytest.mark.ray
@pytest.mark.usefixtures("as_if_a_network")
def test_a_cluster_with_a_token_is_not_open(head: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN", head.token)
    check_address(head.gcs)
    JobServer(head.job_server, allow_network=True)


LATE = """
import sys
import ray
from ray._raylet import AuthenticationTokenLoader
from paretune.platform.execution.cluster import ray_cluster

assert not AuthenticationTokenLoader.instance().has_token()  # remembered from now on
for address in (sys.argv[1], None):
    with ray_cluster(address=address, num_cpus=1):
        print(ray.is_initialized())
"""


@pytest.mark.ray
def test_a_token_is_used_also_where_ray_was_asked_before(head: Any) -> None:
    command = [sys.executable, "-c", LATE, head.gcs]
    ended = subprocess.run(command, env=head.environment(), capture_output=True, text=True, timeout=180, check=False)
    assert ended.stdout.split() == ["True", "True"], ended.stderr[-3000:]


@pytest.mark.ray
def test_an_open_cluster_of_this_machine_alone_is_used(open_head: Any) -> None:
    check_address(open_head.gcs)
