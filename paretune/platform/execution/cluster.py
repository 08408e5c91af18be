"""Ray for one study: start a local one or connect to a running one, and leave nothing behind."""

import logging
import os
import shutil
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from paretune.core.errors import BadInput, ClusterLost
from paretune.platform.execution.credentials import TOKEN_FILE, refuse_open, refuse_wrong_token, use_token
from paretune.platform.execution.stop import signals_kept

MIB = 2**20
CONNECT_S = 5.0

ENVIRONMENT: Mapping[str, str] = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # CSV, JSON and TensorBoard files: 10 ms a trial, and the ledger has it all
    "TUNE_GLOBAL_CHECKPOINT_S": "1000000",  # Tune's own snapshots are never read
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",  # one trial without a metric would end the whole run
    "TUNE_FORCE_TRIAL_CLEANUP_S": "1",  # a stop does not wait for a running epoch: its checkpoint is durable
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # ours stops SIGTERM and SIGHUP cleanly too
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # the future default; silences its warning
    "RAY_ROTATION_MAX_BYTES": str(10 * MIB),  # a candidate that prints a gigabyte does not fill the disk
    "RAY_ROTATION_BACKUP_COUNT": "1",
    "RAY_task_events_report_interval_ms": "0",  # task records for the dashboard, which a local Ray does not start
    "RAY_DEDUP_LOGS_SKIP_REGEX": "A worker died or was killed",  # printed to stdout for every candidate that crashes; the ledger has it
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",  # likewise, a traceback of Ray's
    "RAY_USAGE_STATS_ENABLED": "0",  # nobody was asked whether this may be sent to ray.io
    "RAY_AIR_NEW_OUTPUT": "0",  # the new reporter prints a banner even when told to be quiet
}
"""Set before ray is imported, unless the user set them. Reasons: measured in Ray 2.60."""


def prepare_environment() -> None:
    """Set the environment variables that Ray and Tune read when they are imported."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    os.environ["PYTHONWARNINGS"] = os.environ.get("PYTHONWARNINGS", "ignore::FutureWarning")


@contextmanager
def ray_cluster(*, address: str | None, num_cpus: int, tags: Mapping[str, float] | None = None, insecure: bool = False) -> Iterator[None]:
    """A Ray cluster for the time of a `with` block.

    Args:
        address: of a running cluster, `auto` for the one on this machine. None takes the one that this process is connected to
            already, which stays connected, or else starts a local one for this process.
        num_cpus: processors of the local one; ignored when connecting.
        tags: custom resources of the local one, which stands for every device of the study; ignored when connecting.
        insecure: connect also to a cluster that other machines reach and that asks nobody for a token.

    Raises:
        BadInput: no cluster answers at `address`, or it is open.
        ClusterLost: the local Ray did not start.
    """
    check_address(address, insecure=insecure)
    prepare_environment()
    token = Path(TOKEN_FILE).expanduser()
    if address is not None:
        use_token()
    import ray

    if address is None and ray.is_initialized():
        yield
        return
    with signals_kept():
        _connect(address, num_cpus, tags or {})
        if token.exists() and token.stat().st_uid == os.getuid():
            token.chmod(0o600)  # Ray 2.60 creates it readable for everybody
        session = session_folder() if address is None else None
        try:
            if address == "auto" and not insecure:
                refuse_open(str(ray.get_runtime_context().gcs_address))
            yield
        finally:
            ray.shutdown()
            if session is not None:
                shutil.rmtree(session, ignore_errors=True)  # logs and sockets, a megabyte that Ray leaves behind


def check_address(address: str | None, *, insecure: bool = False) -> None:
    """Refuse at once what Ray would try for ten minutes: an address where nothing listens, that is none, or that wants another token.

    And a cluster that lets everybody in, unless that is said to be fine.

    Raises:
        BadInput: what is wrong with it.
    """
    if address in (None, "auto"):
        return
    host, _, port = str(address).rpartition(":")
    if "://" in host or not host or not port.isdecimal():
        raise BadInput(f"--address {address}: expected HOST:PORT of the head (port 6379 where 'ray start --head' chose it), or 'auto'")
    try:
        socket.create_connection((host, int(port)), timeout=CONNECT_S).close()
    except (OSError, OverflowError) as error:
        raise BadInput(
            f"no Ray cluster answers at '{address}': {error}. Start one with 'ray start --head', or leave the address out"
        ) from error
    use_token()
    refuse_wrong_token(str(address))
    if not insecure:
        refuse_open(str(address))


def _read_credentials_anew() -> None:
    """Ray reads the mode and the token once in a process; what either was before `use_token`, or another cluster's, must not stay."""
    from ray import _raylet  # no public way

    raylet: Any = _raylet
    raylet.Config.initialize("")
    raylet.AuthenticationTokenLoader.instance().reset_cache()


def _connect(address: str | None, num_cpus: int, tags: Mapping[str, float]) -> None:
    import ray

    _read_credentials_anew()
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR, "namespace": "paretune"}
    try:
        if address is None:
            # "local": None would connect to the cluster that RAY_ADDRESS names.
            local: dict[str, Any] = {"num_cpus": num_cpus, "resources": dict(tags), "object_store_memory": 128 * MIB}
            ray.init(address="local", include_dashboard=False, **local, **quiet)
        else:
            ray.init(address=address, **quiet)
    except (OSError, RuntimeError, ValueError) as error:
        ray.shutdown()
        if address is None:
            raise ClusterLost(f"the local Ray did not start: {error}") from error
        reason = str(error).partition("\n")[0].rstrip(".")
        raise BadInput(
            f"no Ray cluster answers at '{address}': {reason}. Start one with 'ray start --head', or leave the address out"
        ) from error


def session_folder() -> Path | None:
    """Where the Ray that this process is connected to keeps files on this host; None where it does not tell."""
    import ray

    node = getattr(ray._private.worker, "_global_node", None)
    folder = Path(node.get_session_dir_path()) if node is not None else None
    return folder if folder is not None and folder.name.startswith("session_") else None


def available_cpus() -> int:
    """Processors this process may use."""
    return len(os.sched_getaffinity(0))
