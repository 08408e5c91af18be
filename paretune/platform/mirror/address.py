"""Tracking addresses: their SQLite file, their login moved to where no message shows it, and how they are shown."""

import os
import re
from collections.abc import MutableMapping
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit, urlunsplit

from paretune.platform.record.redaction import plain

SQLITE = "sqlite:///"
SECRET = re.compile(r"pass|pwd|token|secret|key", re.IGNORECASE)
"""Parts of names of parameters whose values nobody may see."""


def sqlite_path(uri: str) -> Path | None:
    """The file of a SQLite tracking URI, None for other URIs."""
    return Path(uri.removeprefix(SQLITE).partition("?")[0]).absolute() if uri.startswith(SQLITE) else None


def is_server(uri: str) -> bool:
    """Whether it is the address of a tracking server, as opposed to a database."""
    return uri.startswith(("http://", "https://"))


def without_login(uri: str, environment: MutableMapping[str, str] = os.environ) -> str:
    """The URI of a server without user and password, which go into the environment, where MLflow's client looks for them."""
    parts = urlsplit(uri)
    if not is_server(uri) or "@" not in parts.netloc:
        return uri
    if parts.username:
        environment["MLFLOW_TRACKING_USERNAME"] = unquote(parts.username)
    if parts.password:
        environment["MLFLOW_TRACKING_PASSWORD"] = unquote(parts.password)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def shown(uri: str) -> str:
    """The address as a message may show it: without user, password and parameters."""
    if sqlite_path(uri) is not None:
        return plain(uri.partition("?")[0])
    parts = urlsplit(uri)
    return plain(urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", "")))


def without_secrets(text: str, uri: str) -> str:
    """A text, perhaps of a database driver, with the secrets of an address hidden however they are written in it."""
    for secret in _secrets(uri):
        text = text.replace(secret, "***")
    return plain(text)


def _secrets(uri: str) -> list[str]:
    parts = urlsplit(uri)
    found = {value for name, value in parse_qsl(parts.query) if SECRET.search(name)}
    found |= {value for value in re.findall(r"=([^&;]+)", parts.query) if unquote(value) in found}
    userinfo, at, _ = parts.netloc.rpartition("@")
    password = userinfo.partition(":")[2] if at else ""
    return sorted((found | {password, unquote(password)}) - {""}, key=len, reverse=True)
