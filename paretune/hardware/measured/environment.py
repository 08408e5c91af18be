"""What of the host decides a measured latency: processor, clocks, load, versions."""

import os
import sys
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from platform import machine, node, processor
from typing import Any

PACKAGES = ("torch", "onnxruntime", "numpy")


def host_fingerprint() -> Mapping[str, Any]:
    """JSON values; what the system does not tell is None. The load is that of the last minute."""
    affinity = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None
    return {
        "host": node(),
        "cpu": _cpu_model(),
        "machine": machine(),
        "cores": os.cpu_count(),
        "affinity": affinity,
        "governor": _first_line(Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")),
        "load_1min": round(os.getloadavg()[0], 2),
        "python": ".".join(str(part) for part in sys.version_info[:3]),
        "versions": {package: _version(package) for package in PACKAGES},
    }


def _cpu_model() -> str | None:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return processor() or None
    return next((line.partition(":")[2].strip() for line in lines if line.lower().startswith("model name")), processor() or None)


def _first_line(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip() or None
    except OSError:
        return None


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
