"""Starts, ends and looks at a cluster with Ray's own launcher, after our checks; hosts that are there already join over SSH."""

import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from paretune.core.errors import BadInput, ClusterLost
from paretune.platform.clusters.load import LoadedCluster
from paretune.platform.clusters.model import Cluster, NodeType, Resources
from paretune.platform.execution.cluster import ENVIRONMENT
from paretune.platform.execution.credentials import TOKEN_FILE, own_token

JOIN_TIMEOUT_S = 120.0
STOP = "ray stop --force"
"""At once: without its head there is nothing left to finish. Ends every Ray of the user there."""
BEGIN, END = "paretune-begin", "paretune-end"
"""Around what a command says, among what Ray's launcher says of itself."""
SSH = ("ssh", "-o", "BatchMode=yes", "-o", "ConnectTimeout=10")
UNCHECKED = ("-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR")
"""As Ray's launcher connects; for what holds no secret. The token goes to hosts only whose keys the user has accepted."""
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
        count = sum(len(item.hosts) for item in cluster.workers)
        announce(
            f"the head starts the {count} hosts now. See who is there: paretune cluster status {cluster.file}; what it does: ray monitor"
        )
        return
    static = [item for item in cluster.node_types if item.hosts]
    head = _head_address(cluster) if static else ""
    failed = [problem for item in static for host in item.hosts if (problem := _join(cluster, item, host, head, announce))]
    if failed:
        raise ClusterLost(
            "\n".join([*failed, f"the rest of the cluster runs; 'paretune cluster up {cluster.file}' tries these hosts again"])
        )


def end(loaded: LoadedCluster, announce: Announce) -> None:
    """`ray down`, and the hosts that are there already leave.

    Raises:
        ClusterLost: Ray's launcher did not manage.
    """
    cluster = loaded.cluster
    hosts = [(item, host) for item in cluster.workers for host in item.hosts]
    if cluster.provider == "local":
        # Ray only forgets these hosts. They leave after the head, which would start them again, and it too where this machine forgot it.
        _ray(cluster, "down", "--yes", str(cluster.file))
        _leave(cluster, [(cluster.head, str(cluster.values["provider"]["head_ip"])), *hosts], announce)
        return
    _leave(cluster, hosts, announce)
    _ray(cluster, "down", "--yes", str(cluster.file))


def _leave(cluster: Cluster, hosts: Sequence[tuple[NodeType, str]], announce: Announce) -> None:
    with ThreadPoolExecutor(max_workers=16) as pool:
        reasons = list(pool.map(lambda pair: _on_host(cluster, pair[0], pair[1], STOP, options=UNCHECKED), hosts))
    for (_, host), told in zip(hosts, reasons, strict=True):
        announce(f"{host}: {'left' if told is None else f'not reached, so its Ray ends by itself once it misses the head: {told}'}")


def look(loaded: LoadedCluster, *, as_json: bool = False) -> tuple[str, int]:
    """What the cluster's head says of it, and the exit code with which it said so.

    Raises:
        ClusterLost: the head cannot be reached.
    """
    cluster = loaded.cluster
    show = "RAY_AUTH_MODE=token paretune cluster status"
    told, code = _on_head(cluster, f"{show} --json 2>/dev/null" if as_json else f"RAY_AUTH_MODE=token ray status && {show}")
    if as_json:
        return told, code
    present = {line.partition(": ")[0] for line in told.splitlines()}
    absent = [
        f"{host}: not in the cluster ({item.name})" for item in cluster.workers for host in item.hosts if not _addresses(host) & present
    ]
    return "\n".join([told, *absent]), code


def _addresses(host: str) -> set[str]:
    """The host as written, and its address."""
    try:
        return {host, socket.gethostbyname(host)}
    except OSError:
        return {host}


def host_options(resources: Resources) -> list[str]:
    """Options of `ray start` for a machine that offers these; processors and GPUs that are not named are counted by Ray."""
    options = [f"{option}={resources[name]:g}" for name, option in (("CPU", "--num-cpus"), ("GPU", "--num-gpus")) if name in resources]
    others = sorted((name, amount) for name, amount in resources.items() if name not in ("CPU", "GPU"))
    tags = {name: int(amount) if amount == int(amount) else amount for name, amount in others}
    return [*options, f"--resources={json.dumps(tags, separators=(',', ':'))}"] if tags else options


def options_of_this_host(cluster: Cluster, host: str | None = None) -> list[str]:
    """Options of `ray start` for this machine, as the file describes it under `static_hosts`.

    Args:
        cluster: the file.
        host: address that stands in the file; None looks for one of this machine's.

    Raises:
        BadInput: it is not described; without options it would offer all that Ray finds.
    """
    own = {host} if host else _own_addresses()
    for item in cluster.node_types:
        if own & set(item.hosts):
            return host_options(item.resources)
    known = [name for item in cluster.node_types for name in item.hosts]
    raise BadInput(
        f"{cluster.file}: metadata.paretune.static_hosts does not describe {', '.join(sorted(own))}; it has {', '.join(known)}. "
        "Write the host there as this machine knows itself, or say which one it is: --host ADDRESS"
    )


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
    told, code = _on_head(cluster, "hostname -I")
    if code or not told.split():
        raise ClusterLost(f"the head of {cluster.file} does not tell its address: {told[-300:]}")
    return told.split()[0]


def _on_head(cluster: Cluster, script: str) -> tuple[str, int]:
    """What a script on the head says, and its exit code, which `ray exec` would turn into 1.

    Raises:
        ClusterLost: the head cannot be reached.
    """
    command = [_ray_command(), "exec", str(cluster.file), f"echo {BEGIN}; {script}; echo {END} $?"]
    ended = subprocess.run(  # noqa: S603
        command,
        env=_environment(cluster),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    said = ended.stdout.replace("\r", "")
    found = re.search(rf"^{BEGIN}\n(.*?)^{END} (\d+)$", said, re.MULTILINE | re.DOTALL)
    if found is None:
        raise ClusterLost(f"the head of {cluster.file} cannot be reached:\n{said.strip()[-1000:]}")
    return found[1].strip(), int(found[2])


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


def _on_host(cluster: Cluster, item: NodeType, host: str, script: str, given: str = "", *, options: Sequence[str] = ()) -> str | None:
    """Run a script on a host with `given` as its input, never on a command line; why it failed, or None."""
    key = ("-i", str(Path(cluster.ssh_private_key).expanduser())) if cluster.ssh_private_key else ()
    user = item.ssh_user or cluster.ssh_user
    command = [*SSH, *options, *key, f"{user}@{host}" if user else host, f"bash -lc {shlex.quote(script)}"]
    try:
        ended = subprocess.run(command, input=given, capture_output=True, text=True, timeout=JOIN_TIMEOUT_S, check=False)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error).partition("\n")[0]
    said = (ended.stderr.strip() or ended.stdout.strip()).rpartition("\n")[2]
    return None if ended.returncode == 0 else said or f"exit code {ended.returncode}"
