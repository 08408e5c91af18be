"""Ray for one study: start a local one or connect to a running one, and leave nothing behind."""

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from paretune.core.errors import BadInput, ClusterLost

MIB = 2**20

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
    "RAY_DEDUP_LOGS": "0",
    "RAY_AIR_NEW_OUTPUT": "0",  # the new reporter prints a banner even when told to be quiet
}
"""Set before ray is imported, unless the user set them. Reasons: measured in Ray 2.60."""


def prepare_environment() -> None:
    """Set the environment variables that Ray and Tune read when they are imported."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    os.environ["PYTHONWARNINGS"] = os.environ.get("PYTHONWARNINGS", "ignore::FutureWarning")


@contextmanager
def ray_cluster(*, address: str | None, num_cpus: int) -> Iterator[None]:
    """A Ray cluster for the time of a `with` block.

    Args:
        address: of a running cluster, `auto` for the one on this machine, None to start a local one for this process.
        num_cpus: processors of the local one; ignored when connecting.

    Raises:
        BadInput: no cluster answers at `address`.
        ClusterLost: the local Ray did not start.
    """
    prepare_environment()
    token = Path("~/.ray/auth_token").expanduser()
    if address is not None and token.exists():
        os.environ.setdefault("RAY_AUTH_MODE", "token")
    import ray

    try:
        if address is None:
            ray.init(
                num_cpus=num_cpus,
                include_dashboard=False,
                log_to_driver=False,
                logging_level=logging.ERROR,
                object_store_memory=128 * MIB,
                namespace="paretune",
            )
        else:
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, namespace="paretune")
    except (ConnectionError, RuntimeError, ValueError) as error:
        ray.shutdown()
        if address is None:
            raise ClusterLost(f"the local Ray did not start: {error}") from error
        raise BadInput(
            f"no Ray cluster answers at '{address}': {error}. Start one with 'ray start --head', or leave the address out"
        ) from error
    if token.exists() and token.stat().st_uid == os.getuid():
        token.chmod(0o600)  # Ray 2.60 creates it readable for everybody
    try:
        yield
    finally:
        ray.shutdown()


def available_cpus() -> int:
    """Processors this process may use."""
    return len(os.sched_getaffinity(0))
