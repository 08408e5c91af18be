"""Ray's token: the secret that lets a process talk to a cluster. Ray 2.60 uses it for clusters elsewhere only where it is told to."""

import os
from pathlib import Path

TOKEN_FILE = "~/.ray/auth_token"  # noqa: S105 - where it lies
"""Where Ray keeps it; RAY_AUTH_TOKEN and RAY_AUTH_TOKEN_PATH come first."""


def own_token() -> str:
    """The token that Ray would use here; empty where there is none."""
    if given := os.environ.get("RAY_AUTH_TOKEN"):
        return given.strip()
    path = Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or TOKEN_FILE).expanduser()
    try:
        return path.read_text().strip()
    except OSError:
        return ""


def use_token() -> bool:
    """Let Ray use the token for clusters elsewhere, where there is one and the user said nothing else; whether there is one."""
    found = bool(own_token())
    if found:
        os.environ.setdefault("RAY_AUTH_MODE", "token")
    return found
