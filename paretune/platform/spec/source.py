"""A spec file -> its text: what is there, is it a file, is it UTF-8 of a sensible size."""

import codecs
import stat
from difflib import get_close_matches
from pathlib import Path

from paretune.core.errors import SpecError, SpecProblem

MAX_BYTES = 1 << 20
"""1 MiB."""


def read_text(path: Path) -> str:
    """The text of a spec file; a byte-order mark is dropped.

    Raises:
        SpecError: no such file, no file, not readable, too large, not UTF-8.
    """
    try:
        status = path.stat()
    except (OSError, ValueError) as error:
        raise _refusal(path, _missing(path, error)) from error
    if stat.S_ISDIR(status.st_mode):
        raise _refusal(path, "is a directory; expected a YAML file")
    if not stat.S_ISREG(status.st_mode):
        raise _refusal(path, "is no ordinary file; expected a YAML file")
    if status.st_size > MAX_BYTES:
        raise _refusal(path, f"has {status.st_size:,} bytes; a spec may have {MAX_BYTES:,}")
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise _refusal(path, f"cannot be read: {error.strerror}") from error
    return decode(data, file=str(path))


def decode(data: bytes, *, file: str) -> str:
    """Bytes of a spec as text.

    Raises:
        SpecError: too large or not UTF-8.
    """
    if len(data) > MAX_BYTES:
        raise SpecError(file, [SpecProblem(line=0, column=0, path="", message=f"a spec may have {MAX_BYTES:,} bytes; this has more")])
    kind = ""
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        kind = "it is UTF-16"
    elif data.startswith(b"\x1f\x8b"):
        kind = "it is compressed with gzip"
    try:
        text = data.removeprefix(codecs.BOM_UTF8).decode("utf-8")
    except UnicodeDecodeError as error:
        body = data.removeprefix(codecs.BOM_UTF8)
        line, column = body.count(b"\n", 0, error.start) + 1, error.start - (body.rfind(b"\n", 0, error.start) + 1) + 1
        told = kind or f"byte 0x{body[error.start]:02x} at line {line}"
        problem = SpecProblem(
            line=0 if kind else line, column=0 if kind else column, path="", message=f"not UTF-8 ({told}). Save it as UTF-8"
        )
        raise SpecError(file, [problem]) from error
    return text


def _missing(path: Path, error: OSError | ValueError) -> str:
    if not isinstance(error, FileNotFoundError | NotADirectoryError):
        return f"cannot be read: {getattr(error, 'strerror', None) or error}"
    try:
        near_by = sorted(item.name for item in path.parent.iterdir() if item.suffix in (".yaml", ".yml"))
    except OSError:
        return f"no such file; there is no folder {path.parent}"
    near = get_close_matches(path.name, near_by, n=1)
    listed = f" (in this directory: {', '.join(near_by[:8])})" if near_by else ""
    return f"no such file.{f' Did you mean {near[0]}?' if near else ''}{listed}"


def _refusal(path: Path, message: str) -> SpecError:
    return SpecError(str(path).encode("utf-8", "backslashreplace").decode(), [SpecProblem(line=0, column=0, path="", message=message)])
