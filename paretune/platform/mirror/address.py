"""Tracking addresses: their SQLite file, and their login moved to where no message shows it."""

import os
from collections.abc import MutableMapping
from pathlib import Path
from urllib.parse import unquote, urlsplit, urlunsplit

SQLITE = "sqlite:///"


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
