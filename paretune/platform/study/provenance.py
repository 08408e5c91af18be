"""Where a study's numbers come from: versions, host and commit, read once when the study is created."""

import os
import platform as host_platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from paretune import __version__

PACKAGES = ("paretune", "torch", "numpy", "ray", "mlflow", "onnxruntime", "moocore", "scikit-learn")
EXTRAS = ("aihwkit",)
"""Told where they are installed."""
MISSING = "not installed"


def provenance(*, data_digest: str) -> dict[str, str]:
    """What a reader needs to judge and to repeat the study; nothing secret, no environment variables."""
    found = {f"version.{name}": _version(name) for name in PACKAGES}
    found |= {f"version.{name}": told for name in EXTRAS if (told := _version(name)) != MISSING}
    return {
        **found,
        "version.python": host_platform.python_version(),
        "host.name": host_platform.node(),
        "host.system": f"{host_platform.system()} {host_platform.release()} {host_platform.machine()}",
        "host.processor": _processor(),
        "host.processors": str(len(os.sched_getaffinity(0))),
        "data.sha256": data_digest,
        "git.commit": _commit(),
    }


def _version(name: str) -> str:
    if name == "paretune":
        return __version__
    try:
        return version(name)
    except PackageNotFoundError:
        return MISSING


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return host_platform.processor() or "unknown"
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")


def _commit() -> str:
    """Commit of the user's working folder, `""` where it is none; `+` marks uncommitted changes."""
    try:
        commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, timeout=5, check=True).stdout.strip()  # noqa: S607
        changes = subprocess.run(["git", "status", "--porcelain"], capture_output=True, text=True, timeout=5, check=True).stdout  # noqa: S607
    except (OSError, subprocess.SubprocessError):
        return ""
    return f"{commit}+" if changes.strip() else commit
