"""What travels between paretune and a measuring process: frames, strict JSON, and the fields of requests and replies.

One connection carries one request and one reply. A frame is `PTD1`, two 32-bit big-endian lengths, so many bytes of JSON (UTF-8), and so
many bytes of a model (ONNX; none in a reply). Standard library only: this file also runs on the device.
"""

import hashlib
import json
import math
import socket
import struct
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from paretune.core.errors import DeviceError

VERSION = 1
MAGIC = b"PTD1"
HEADER = struct.Struct(">4sII")
MAX_REQUEST_BYTES = 64 * 2**10
"""JSON of a request."""
MAX_REPLY_BYTES = 2**20
"""JSON of a reply: 20,000 samples take 500 kB."""
MAX_MODEL_BYTES = 512 * 2**20
MAX_DEPTH = 16
"""Levels of lists and objects in JSON."""
MAX_BLOCKS = 20_000
"""Samples of an attempt."""
NONCE_CHARACTERS = 32
SHOWN_CHARACTERS = 80
CHUNK_BYTES = 2**16
DEFAULT_PORT = 7763


class ProtocolError(DeviceError):
    """The other side does not keep to the protocol."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One message."""

    body: Mapping[str, Any]
    model: bytes = b""


class Deadline:
    """A moment after which nobody waits any more.

    Args:
        seconds: from now.
        clock: monotonic seconds.
    """

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self.seconds, self._end = clock, seconds, clock() + seconds

    def left_s(self) -> float:
        """Seconds left.

        Raises:
            TimeoutError: none are.
        """
        left = self._end - self._clock()
        if left <= 0:
            raise TimeoutError(f"no answer within {self.seconds:g} s")
        return left


def send_frame(connection: socket.socket, frame: Frame, deadline: Deadline) -> None:
    """Send one message.

    Raises:
        OSError: the connection broke, or the deadline passed (TimeoutError).
    """
    text = json.dumps(dict(frame.body), allow_nan=False, separators=(",", ":")).encode()
    connection.settimeout(deadline.left_s())
    connection.sendall(HEADER.pack(MAGIC, len(text), len(frame.model)) + text)
    view = memoryview(frame.model)
    for start in range(0, len(view), CHUNK_BYTES):
        connection.settimeout(deadline.left_s())
        connection.sendall(view[start : start + CHUNK_BYTES])


def receive_frame(connection: socket.socket, deadline: Deadline, *, max_json_bytes: int, max_model_bytes: int) -> Frame:
    """Receive one message; never holds more than the two limits, whatever lengths the other side claims.

    Raises:
        ProtocolError: it is no frame, too large, or no strict JSON object.
        OSError: the connection broke or ended early (ConnectionError), or the deadline passed (TimeoutError).
    """
    magic, json_bytes, model_bytes = HEADER.unpack(_receive(connection, HEADER.size, deadline))
    if magic != MAGIC:
        raise ProtocolError(f"expected a frame that begins with {MAGIC!r}; got {magic!r}")
    for what, length, limit in (("JSON", json_bytes, max_json_bytes), ("the model", model_bytes, max_model_bytes)):
        if length > limit:
            raise ProtocolError(f"{what} of {length:,} bytes is larger than the limit of {limit:,}")
    text = _receive(connection, json_bytes, deadline)
    return Frame(strict_json(text), _receive(connection, model_bytes, deadline))


def _receive(connection: socket.socket, count: int, deadline: Deadline) -> bytes:
    received = bytearray()
    while len(received) < count:
        connection.settimeout(deadline.left_s())
        part = connection.recv(min(CHUNK_BYTES, count - len(received)))
        if not part:
            raise ConnectionError(f"the connection ended after {len(received):,} of {count:,} bytes")
        received += part
    return bytes(received)


def strict_json(text: bytes) -> dict[str, Any]:
    """A JSON object without NaN, infinities, repeated keys and deep nesting.

    Raises:
        ProtocolError: it is none.
    """
    try:
        value = json.loads(text.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise ProtocolError(f"no strict JSON: {error}: {shown(text)}") from error
    if not isinstance(value, dict):
        raise ProtocolError(f"expected a JSON object; got {shown(value)}")
    _check_depth(value, MAX_DEPTH)
    return value


def _unique(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("an object names a key twice")
    return found


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is no number")


def _check_depth(value: Any, levels: int) -> None:
    if levels == 0:
        raise ProtocolError(f"JSON is nested deeper than {MAX_DEPTH} levels")
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        _check_depth(item, levels - 1)


def digest(model: bytes) -> str:
    """SHA-256 of a model, in hexadecimal."""
    return hashlib.sha256(model).hexdigest()


def shown(value: object) -> str:
    """A value for a message, shortened."""
    text = repr(value)
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[: SHOWN_CHARACTERS - 3]}..."


class Fields:
    """Reads the fields of a message, each with its type and range.

    Args:
        body: the JSON object.
        where: what it is, for messages.
    """

    def __init__(self, body: object, where: str) -> None:
        if not isinstance(body, Mapping):
            raise ProtocolError(f"{where}: expected an object; got {shown(body)}")
        self.body, self._where = body, where

    def _value(self, name: str) -> Any:
        if name not in self.body:
            raise ProtocolError(f"{self._where}: '{name}' is missing")
        return self.body[name]

    def number(self, name: str, *, lower: float, upper: float) -> float:
        """A finite number in a range, both ends included."""
        return self._number(name, self._value(name), lower, upper)

    def _number(self, name: str, value: object, lower: float, upper: float) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or not lower <= value <= upper:
            raise ProtocolError(f"{self._where}: '{name}' is {shown(value)}; expected a number from {lower:g} to {upper:g}")
        return float(value)

    def whole(self, name: str, *, lower: int, upper: int) -> int:
        """A whole number in a range, both ends included."""
        return self._whole(name, self._value(name), lower, upper)

    def _whole(self, name: str, value: object, lower: int, upper: int) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not lower <= value <= upper:
            raise ProtocolError(f"{self._where}: '{name}' is {shown(value)}; expected a whole number from {lower} to {upper}")
        return value

    def text(self, name: str, *, max_characters: int = 4096) -> str:
        """A text."""
        value = self._value(name)
        if not isinstance(value, str) or len(value) > max_characters:
            raise ProtocolError(f"{self._where}: '{name}' is {shown(value)}; expected a text of at most {max_characters} characters")
        return value

    def flag(self, name: str) -> bool:
        """`true` or `false`."""
        value = self._value(name)
        if not isinstance(value, bool):
            raise ProtocolError(f"{self._where}: '{name}' is {shown(value)}; expected true or false")
        return value

    def listed(self, name: str, *, max_items: int) -> list[Any]:
        """A list that is not empty."""
        value = self._value(name)
        if not isinstance(value, list) or not 0 < len(value) <= max_items:
            raise ProtocolError(f"{self._where}: '{name}' is {shown(value)}; expected a list of 1 to {max_items} items")
        return value

    def wholes(self, name: str, *, max_items: int, lower: int, upper: int) -> tuple[int, ...]:
        """A list of whole numbers."""
        return tuple(self._whole(name, item, lower, upper) for item in self.listed(name, max_items=max_items))

    def numbers(self, name: str, *, max_items: int, lower: float, upper: float) -> tuple[float, ...]:
        """A list of finite numbers."""
        return tuple(self._number(name, item, lower, upper) for item in self.listed(name, max_items=max_items))

    def inner(self, name: str) -> "Fields":
        """An object inside this one."""
        return Fields(self._value(name), f"{self._where}.{name}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """How a device is to measure a model: the fields of a request that the user decides."""

    example_shape: tuple[int, ...]
    """Of the input, batch first."""
    threads: int
    processor: str
    """`cpu` or `cuda`."""
    warm_up_s: float
    block_s: float
    min_blocks: int
    max_s: float
    relative_interval: float
    quiet_relative_iqr: float
    max_relative_iqr: float
    max_attempts: int
    peak_memory: bool
    """Whether to tell the peak memory too."""
    limit_s: float
    """The device gives up after so long."""

    def as_json(self) -> dict[str, Any]:
        """JSON values."""
        return {**asdict(self), "example_shape": list(self.example_shape)}

    @classmethod
    def from_json(cls, body: object, *, max_limit_s: float) -> "Order":
        """The inverse of `as_json`, for a reader who trusts nobody.

        Raises:
            ProtocolError: a field is missing, of another type, or outside what a device does.
        """
        fields = Fields(body, "order")
        order = cls(
            example_shape=fields.wholes("example_shape", max_items=8, lower=1, upper=2**20),
            threads=fields.whole("threads", lower=1, upper=1024),
            processor=fields.text("processor", max_characters=16),
            warm_up_s=fields.number("warm_up_s", lower=0, upper=max_limit_s),
            block_s=fields.number("block_s", lower=0, upper=1),
            min_blocks=fields.whole("min_blocks", lower=1, upper=MAX_BLOCKS),
            max_s=fields.number("max_s", lower=0, upper=max_limit_s),
            relative_interval=fields.number("relative_interval", lower=0, upper=1e3),
            quiet_relative_iqr=fields.number("quiet_relative_iqr", lower=0, upper=1e3),
            max_relative_iqr=fields.number("max_relative_iqr", lower=0, upper=1e3),
            max_attempts=fields.whole("max_attempts", lower=1, upper=20),
            peak_memory=fields.flag("peak_memory"),
            limit_s=fields.number("limit_s", lower=0, upper=max_limit_s),
        )
        if order.processor not in ("cpu", "cuda"):
            raise ProtocolError(f"order: 'processor' is {shown(order.processor)}; expected cpu or cuda")
        if math.prod(order.example_shape) > MAX_MODEL_BYTES // 4:
            raise ProtocolError(f"order: an input of shape {order.example_shape} is too large")
        return order
