"""Text from outside made safe to keep and to show: no passwords of URLs, no terminal escapes."""

import re

_USERINFO = re.compile(r"(?<=://)([^/@\s:'\"]*):([^/@\s'\"]+)@")
_PARAMETER = re.compile(r"([?&](?:password|passwd|pwd|token|secret|api_?key|access_?key)[\w-]*)=[^&\s'\"]+", re.IGNORECASE)
_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\-_])")
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def redacted(text: str) -> str:
    """The text with the passwords of every URL hidden: `http://me:***@host`, `postgresql://host/db?password=***`."""
    return _PARAMETER.sub(r"\1=***", _USERINFO.sub(r"\1:***@", text))


def plain(text: str) -> str:
    """The text without passwords of URLs, terminal escapes, marks that turn the direction of writing and control characters.

    Tabs and line feeds stay.
    """
    return _CONTROLS.sub("", _ESCAPES.sub("", redacted(text)))
