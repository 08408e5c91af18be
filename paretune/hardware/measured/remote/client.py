"""One exchange with a measuring process, and every check that its answer must pass before anybody believes it."""

import secrets
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from paretune.core.errors import DeviceError
from paretune.hardware.measured.remote.protocol import (
    MAX_BLOCKS,
    MAX_REPLY_BYTES,
    NONCE_CHARACTERS,
    VERSION,
    Deadline,
    Fields,
    Frame,
    Order,
    ProtocolError,
    digest,
    receive_frame,
    send_frame,
    shown,
)
from paretune.hardware.measured.timing import MAX_RUNS_PER_BLOCK, Timing, summarise

CLOCK_TOLERANCE = 1.02
"""Two clocks in order differ by less than this."""
STATISTICS_TOLERANCE = 0.05
"""The device's own median and ours, of the same samples, differ by less: only by rounding and the treatment of outliers."""


class RequestRefused(DeviceError):
    """The device says that it cannot do this: it cannot run the model, or not in time, or was asked for what it does not have."""


class DeviceMisbehaved(DeviceError):
    """The device cannot be reached, does not answer in time, or answers what cannot be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A measurement that was checked."""

    attempts: tuple[Timing, ...]
    peak_memory_bytes: int | None
    device: Mapping[str, Any]
    """Versions, processor, clock and load, as the device tells them."""
    elapsed_s: float
    """Time of the whole exchange by our clock."""
    device_elapsed_s: float
    """Time of the measurement by the device's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Greeting:
    """The answer to a hello."""

    device: Mapping[str, Any]
    round_trip_s: float


def split_address(address: str) -> tuple[str, int]:
    """`HOST:PORT` or `[IPV6]:PORT` in two.

    Raises:
        ValueError: it is neither.
    """
    host, colon, port = address.rpartition(":")
    if not colon or not host or not port.isdecimal() or not 0 < int(port) < 2**16:
        raise ValueError(f"expected HOST:PORT; got {address!r}")
    return host.removeprefix("[").removesuffix("]"), int(port)


def greet(address: str, *, timeout_s: float) -> Greeting:
    """Ask a device who it is.

    Raises:
        DeviceMisbehaved: it gives no sound answer.
    """
    start_s = time.perf_counter()
    fields, _ = _exchange(address, {"request": "hello"}, b"", timeout_s=timeout_s)
    return Greeting(device=_facts(fields), round_trip_s=time.perf_counter() - start_s)


def measure_on(address: str, model: bytes, order: Order, *, timeout_s: float) -> Answer:
    """Have a device measure a model.

    Raises:
        RequestRefused: it says that it cannot.
        DeviceMisbehaved: it gives no sound answer.
    """
    fields, elapsed_s = _exchange(address, {"request": "measure", "order": order.as_json()}, model, timeout_s=timeout_s)
    try:
        return _checked_answer(fields, order, elapsed_s)
    except ProtocolError as error:
        raise DeviceMisbehaved(str(error)) from error


def _exchange(address: str, body: Mapping[str, Any], model: bytes, *, timeout_s: float) -> tuple[Fields, float]:
    """Send a request, receive its reply; checks that it is the reply to this very request."""
    nonce, sha256 = secrets.token_hex(NONCE_CHARACTERS // 2), digest(model)
    request = {"protocol": VERSION, "nonce": nonce, "model_sha256": sha256, **body}
    start_s, deadline = time.perf_counter(), Deadline(timeout_s)
    try:
        with socket.create_connection(split_address(address), timeout=deadline.left_s()) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            send_frame(connection, Frame(request, model), deadline)
            reply = receive_frame(connection, deadline, max_json_bytes=MAX_REPLY_BYTES, max_model_bytes=0).body
        elapsed_s = time.perf_counter() - start_s
        _check_echo(reply, nonce, sha256)
        return Fields(reply, "reply"), elapsed_s
    except TimeoutError as error:
        raise DeviceMisbehaved(f"no whole answer within {timeout_s:g} s") from error
    except ConnectionRefusedError as error:
        raise DeviceMisbehaved("nobody listens there; is 'paretune device serve' running, and the tunnel to it open?") from error
    except (OSError, ProtocolError) as error:
        raise DeviceMisbehaved(str(error)) from error


def _check_echo(reply: Mapping[str, Any], nonce: str, sha256: str) -> None:
    """The reply belongs to this request and this model; else say so.

    Raises:
        ProtocolError: it does not, or the device refuses the request.
        RequestRefused: the device says no.
    """
    fields = Fields(reply, "reply")
    status = fields.text("status", max_characters=16)
    unread = status == "error" and reply.get("nonce") == ""  # the device could not even read the nonce
    if not unread and fields.text("nonce") != nonce:
        raise ProtocolError(f"the reply is to another request: nonce {shown(reply['nonce'])}, expected {nonce}")
    if not unread and fields.text("model_sha256") != sha256:
        raise ProtocolError(f"the reply is about another model: SHA-256 {shown(reply['model_sha256'])}, expected {sha256}")
    if fields.whole("protocol", lower=0, upper=2**31) != VERSION:
        raise ProtocolError(f"the device speaks version {shown(reply['protocol'])} of the protocol; expected {VERSION}")
    if status == "error":
        raise RequestRefused(f"the device says: {fields.text('message')}")
    if status != "ok":
        raise ProtocolError(f"reply: 'status' is {shown(status)}; expected ok or error")


def _checked_answer(fields: Fields, order: Order, elapsed_s: float) -> Answer:
    claimed_s, attempts = 0.0, []
    for item in fields.listed("attempts", max_items=order.max_attempts):
        attempt = Fields(item, "attempt")
        # The smallest and largest time that anybody believes; the roofline and the clock below draw it tighter.
        samples_s = np.array(attempt.numbers("samples_s", max_items=MAX_BLOCKS, lower=1e-9, upper=1e6))
        runs_per_block = attempt.whole("runs_per_block", lower=1, upper=MAX_RUNS_PER_BLOCK)
        timing = summarise(samples_s, runs_per_block=runs_per_block)
        told_s = attempt.number("median_s", lower=1e-9, upper=1e6)
        attempt.number("iqr_s", lower=0, upper=1e6)
        # With outliers or without: on a busy device these differ, and a simple process tells the first.
        low_s, high_s = sorted((float(np.median(samples_s)), timing.median_s))
        if not (1 - STATISTICS_TOLERANCE) * low_s <= told_s <= (1 + STATISTICS_TOLERANCE) * high_s:
            raise ProtocolError(f"the reply says a median of {told_s} s, but its samples have {timing.median_s:.6g} s")
        _check_blocks(timing, order)
        claimed_s += float(samples_s.sum()) * runs_per_block
        attempts.append(timing)
    if claimed_s > CLOCK_TOLERANCE * elapsed_s:
        raise ProtocolError(
            f"the samples add up to {claimed_s:.3g} s of measuring, but the whole answer took {elapsed_s:.3g} s: a wrong unit or clock"
        )
    return Answer(
        attempts=tuple(attempts),
        peak_memory_bytes=fields.whole("peak_memory_bytes", lower=1, upper=2**50) if order.peak_memory else None,
        device=_facts(fields),
        elapsed_s=elapsed_s,
        device_elapsed_s=fields.number("elapsed_s", lower=0, upper=1e6),
    )


def _check_blocks(timing: Timing, order: Order) -> None:
    """Blocks are as many and as long as ordered; where they seem much shorter, the unit of the times is wrong."""
    if timing.num_blocks + timing.num_outliers < order.min_blocks:
        raise ProtocolError(f"the reply has {timing.num_blocks + timing.num_outliers} samples; ordered were at least {order.min_blocks}")
    block_s = timing.median_s * timing.runs_per_block
    if timing.runs_per_block < MAX_RUNS_PER_BLOCK and block_s < order.block_s / 4:  # clocks that rise make blocks shorter, not to a quarter
        raise ProtocolError(
            f"the reply has {timing.runs_per_block} runs of {timing.median_s:.3g} s in a block, {block_s:.3g} s; ordered were blocks of "
            f"{order.block_s:g} s: a wrong unit or clock"
        )


def _facts(fields: Fields) -> Mapping[str, Any]:
    try:
        facts = fields.inner("device")
        facts.inner("clock").number("resolution_s", lower=0, upper=1)
    except ProtocolError as error:
        raise DeviceMisbehaved(str(error)) from error
    return facts.body
