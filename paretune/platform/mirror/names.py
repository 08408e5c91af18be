"""How names and values of a study are written in MLflow: allowed characters, readable units, lengths."""

import hashlib
import re
from functools import lru_cache

from paretune.core.metrics import unit_of
from paretune.platform.record.redaction import plain

_REFUSED = re.compile(r"[^0-9A-Za-z_.\- ]")
NAME_CHARACTERS = 200
TAG_CHARACTERS = 5000

UNITS = {"s": ("ms", 1e3), "j": ("mj", 1e3), "w": ("mw", 1e3)}
"""Unit inside -> (unit in MLflow, factor). Bytes, areas and pure numbers stay as they are."""


@lru_cache(maxsize=4096)
def entity_name(name: str) -> str:
    """A name that MLflow takes: other characters become `_` and a digest tells names apart that would then be equal.

    `stage1.width` stays; `a//b` becomes `a__b-1d2c3f`.
    """
    mapped = _REFUSED.sub("_", name)[:NAME_CHARACTERS]
    if mapped == name and mapped.strip(".") and mapped == mapped.strip():
        return mapped
    return f"{mapped.strip(' .') or 'name'}-{hashlib.sha256(name.encode('utf-8', 'surrogatepass')).hexdigest()[:6]}"


@lru_cache(maxsize=4096)
def metric_name(name: str) -> str:
    """A metric's name in MLflow, with the unit of its values there: `host.latency_s` -> `host.latency_ms`."""
    unit = unit_of(name)
    if unit in UNITS:
        name = f"{name.removesuffix(unit)}{UNITS[unit][0]}"
    return entity_name(name)


def metric_value(name: str, value: float) -> float:
    """An inner value in the unit that `metric_name` says."""
    return value * UNITS.get(unit_of(name), ("", 1.0))[1]


def tag_text(text: str) -> str:
    """Text as a tag: no passwords, no control characters, not too long."""
    shown = plain(text)
    return shown if len(shown) <= TAG_CHARACTERS else shown[: TAG_CHARACTERS - 1] + "…"
