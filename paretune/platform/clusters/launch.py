"""Starts, ends and looks at a cluster with Ray's own launcher, after our checks; hosts that are there already join over SSH."""

import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from paretune.core.errors import BadInput, ClusterLost
from paretune.platform.clusters.load import LoadedCluster
from paretune.platform.clusters.model import Cluster, NodeType, Resources
from paretune.platform.execution.cluster import ENVIRONMENT
from paretune.platform.execution.credentials import TOKEN_FILE, own_token

JOIN_TIMEOUT_S = 120.0
SSH = ("ssh", "-o", "BatchMode=yes", "-o", "ConnectTimeout=10")
STARTED = "RAY_AUTH_MODE=token RAY_USAGE_STATS_ENABLED=0 ray start"

Announce = Callable[[str], None]


def start(loaded: LoadedCluster, announce: Announce) -> None:
    """`ray up`, then the hosts that are there already join.

    Raises:
        BadInput: something in the file is still the example's, a file to be sent is not there, or there is no token.
        ClusterLost: Ray's launcher or a host did not manage.
    """
    if loaded.blockers:
        raise BadInput("the cluster cannot start yet:\n" + "\n".join(loaded.blockers))
    if not own_token():
        danger = "and without one anybody who reaches the cluster runs code there"
        raise BadInput(f"there is no token ({TOKEN_FILE}), {danger}. Make it: ray get-auth-token --generate")
    cluster = loaded.cluster
    _ray(cluster, "up", "--yes", str(cluster.file))
    if cluster.provider == "local":
        return  # Ray starts the hosts itself
    static = [item for item in cluster.node_types if item.hosts]
    head = _head_address(cluster) if static else ""
    failed = [problem for item in static for host in item.hosts if (problem := _join(cluster, item, host, head, announce))]
    if failed:
        raise ClusterLost(
            "\n".join([*failed, f"the rest of the cluster runs; 'paretune cluster up {cluster.file}' tries these hosts again"])
        )


def end(loaded: LoadedCluster, announce: Announce) -> None:
    """`ray down`, after the hosts that are there already left.

    Raises:
        ClusterLost: Ray's launcher did not manage.
    """
    cluster = loaded.cluster
    for item in cluster.node_types if cluster.provider != "local" else ():
        for host in item.hosts:
            told = _on_host(cluster, item, host, "ray stop")
            announce(f"{host}: {'left' if told is None else told}")
    _ray(cluster, "down", "--yes", str(cluster.file))


def look(loaded: LoadedCluster) -> None:
    """Show what the cluster's head says of it.

    Raises:
        ClusterLost: the head cannot be reached.
    """
    _ray(loaded.cluster, "exec", str(loaded.cluster.file), "RAY_AUTH_MODE=token ray status && RAY_AUTH_MODE=token paretune cluster status")


def host_options(resources: Resources) -> list[str]:
    """Options of `ray start` for a machine that offers these; processors and GPUs that are not named are counted by Ray."""
    options = [f"{option}={resources[name]:g}" for name, option in (("CPU", "--num-cpus"), ("GPU", "--num-gpus")) if name in resources]
    others = sorted((name, amount) for name, amount in resources.items() if name not in ("CPU", "GPU"))
    tags = {name: int(amount) if amount == int(amount) else amount for name, amount in others}
    return [*options, f"--resources={json.dumps(tags, separators=(',', ':'))}"] if tags else options


def options_of_this_host(cluster: Cluster, host: str | None = None) -> list[str]:
    """Options of `ray start` for this machine, as the file describes it under `static_hosts`; none where it does not.

    Args:
        cluster: the file.
        host: address that stands in the file; None looks for one of this machine's.
    """
    own = {host} if host else _own_addresses()
    for item in cluster.node_types:
        if own & set(item.hosts):
            return host_options(item.resources)
    return []


def _own_addresses() -> set[str]:
    name = socket.gethostname()
    found = {name, socket.getfqdn()}
    try:
        found |= {str(info[4][0]) for info in socket.getaddrinfo(name, None)}
        told = subprocess.run(["hostname", "-I"], capture_output=True, text=True, timeout=5, check=False).stdout  # noqa: S607
    except (OSError, subprocess.SubprocessError):
        return found
    return found | set(told.split())


def _ray(cluster: Cluster, *words: str) -> None:
    """Run Ray's launcher on our terminal."""
    ended = subprocess.run([_ray_command(), *words], env=_environment(cluster), check=False)  # noqa: S603
    if ended.returncode:
        raise ClusterLost(f"'ray {words[0]}' ended with exit code {ended.returncode}; what it said stands above. It may be tried again")


def _ray_command() -> str:
    beside = Path(sys.executable).with_name("ray")
    found = str(beside) if beside.exists() else shutil.which("ray")
    if found is None:
        raise BadInput("there is no command 'ray' beside this Python; install it: pip install 'ray[default]'")
    return found


def _environment(cluster: Cluster) -> dict[str, str]:
    environment = {**ENVIRONMENT, **os.environ, "RAY_AUTH_MODE": "token"}
    if cluster.provider == "local":
        # Head and workers share one node type there; autoscaler v2 of Ray 2.60 then waits for ever for workers that are there already.
        environment.setdefault("RAY_UP_enable_autoscaler_v2", "0")
    return environment


def _head_address(cluster: Cluster) -> str:
    """The head's address inside its network."""
    command = [_ray_command(), "exec", str(cluster.file), "echo HEAD_IS=$(hostname -I | cut -d' ' -f1)"]
    told = subprocess.run(command, env=_environment(cluster), capture_output=True, text=True, check=False).stdout  # noqa: S603
    found = re.search(r"^HEAD_IS=(\S+)\s*$", told, re.MULTILINE)
    if found is None:
        raise ClusterLost(f"the head of {cluster.file} does not tell its address: {told.strip()[-300:]}")
    return found[1]


def _join(cluster: Cluster, item: NodeType, host: str, head: str, announce: Announce) -> str | None:
    """Let a host join; why it did not, or None."""
    options = shlex.join(host_options(item.resources))
    told = _on_host(
        cluster,
        item,
        host,
        f"umask 077; mkdir -p ~/.ray; cat > ~/.ray/auth_token; ray stop; {STARTED} --address={head}:6379 {options}",
        own_token(),
    )
    announce(f"{host}: {'joined' if told is None else 'did not join'}")
    return None if told is None else f"{host} ({item.name}) did not join: {told}"


def _on_host(cluster: Cluster, item: NodeType, host: str, script: str, given: str = "") -> str | None:
    """Run a script on a host with `given` as its input, never on a command line; why it failed, or None."""
    key = ("-i", str(Path(cluster.ssh_private_key).expanduser())) if cluster.ssh_private_key else ()
    user = item.ssh_user or cluster.ssh_user
    command = [*SSH, *key, f"{user}@{host}" if user else host, f"bash -lc {shlex.quote(script)}"]
    try:
        ended = subprocess.run(command, input=given, capture_output=True, text=True, timeout=JOIN_TIMEOUT_S, check=False)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error).partition("\n")[0]
    said = (ended.stderr.strip() or ended.stdout.strip()).rpartition("\n")[2]
    return None if ended.returncode == 0 else said or f"exit code {ended.returncode}"
