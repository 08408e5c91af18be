"""The process that measures on a device: `paretune device serve`. Needs the standard library, NumPy and ONNX Runtime, nothing else.

One connection at a time, one request each; whoever comes meanwhile waits in line. A measurement runs in a forked child, so that a model
that crashes, hangs or fills the memory takes nothing but itself along. What is not strictly what the protocol says is refused.
"""

import contextlib
import ipaddress
import logging
import multiprocessing
import resource
import signal
import socket
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

from paretune.core.errors import BadInput
from paretune.hardware.measured.environment import host_fingerprint
from paretune.hardware.measured.memory import forget_high_water_mark, memory_is_known, resident_bytes
from paretune.hardware.measured.onnx_sessions import available_processors, clock_facts, example_input, open_session, session_run
from paretune.hardware.measured.remote.protocol import (
    DEFAULT_PORT,
    MAX_BLOCKS,
    MAX_REQUEST_BYTES,
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
)
from paretune.hardware.measured.timing import Patience, Timing, TimingPlan, enough_attempts, sample_runs, summarise

logger = logging.getLogger(__name__)

GREETING_S = 10.0
"""A connection that has not sent its whole request's JSON by then holds up the line."""
REPLY_S = 30.0
MIB = 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerLimits:
    """What a request may ask of the device."""

    max_model_bytes: int = 256 * MIB
    max_limit_s: float = 120.0
    """Time for a whole measurement; then it is killed."""
    max_memory_bytes: int | None = None
    """Data segment of a measurement; None is no limit."""


def serve(
    *,
    host: str = "127.0.0.1",
    port: int = DEFAULT_PORT,
    allow_network: bool = False,
    limits: ServerLimits | None = None,
    announce: Any = None,
) -> None:
    """Measure for whoever connects, until the process is ended.

    Args:
        host: address to listen on.
        port: 0 takes a free one.
        allow_network: listen on an address that other machines reach. The protocol knows no passwords: whoever reaches it may run models.
        limits: what a request may ask for.
        announce: called with `HOST:PORT` once connections are accepted.

    Raises:
        BadInput: the address is not one of this machine alone and `allow_network` is not given, or cannot be listened on.
    """
    refuse_network_address(host, allow_network)
    limits = limits or ServerLimits()
    _load()
    try:
        listener = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET, backlog=8)
    except OSError as error:
        raise BadInput(f"cannot listen on {host}:{port}: {error.strerror or error}. Is a server running there already?") from error
    with listener:
        address = listener.getsockname()
        if announce is not None:
            announce(f"{address[0]}:{address[1]}")
        while True:
            connection, peer = listener.accept()
            with connection:
                _answer(connection, f"{peer[0]}:{peer[1]}", listener, limits)


def refuse_network_address(host: str, allow_network: bool) -> None:
    """Refuse to listen where others can connect, unless that is wanted.

    Raises:
        BadInput: saying what to do instead.
    """
    try:
        alone = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError as error:
        raise BadInput(f"--host {host}: expected an IP address or localhost") from error
    if not alone and not allow_network:
        raise BadInput(
            f"--host {host}: other machines reach this address, and whoever reaches it may run models here. Keep 127.0.0.1 and use an SSH "
            "tunnel (ssh -L), or say --allow-network"
        )


def _load() -> None:
    """Import what takes long, so that the children have it."""
    import numpy  # noqa: F401 - for the children
    import onnxruntime  # noqa: F401 - for the children

    # The threads that these packages start wait for work; nothing of theirs is held when a child is forked.
    warnings.filterwarnings("ignore", message=".*multi-threaded.*fork", category=DeprecationWarning)


def _answer(connection: socket.socket, peer: str, listener: socket.socket, limits: ServerLimits) -> None:
    """One request, one reply; nothing that comes over the connection ends the server."""
    try:
        deadline = Deadline(GREETING_S + limits.max_model_bytes / (1 * MIB))  # at least 1 MiB/s
        try:
            frame = receive_frame(connection, deadline, max_json_bytes=MAX_REQUEST_BYTES, max_model_bytes=limits.max_model_bytes)
            reply = _reply(frame, connection, listener, limits)
        except ProtocolError as error:
            reply = _refusal("", "", "request", str(error))
        send_frame(connection, Frame(reply), Deadline(REPLY_S))
        _drain(connection, limits)
        logger.info("%s: %s %s", peer, reply["status"], reply.get("message", ""))
    except OSError as error:
        logger.warning("%s: %s", peer, error)


def _drain(connection: socket.socket, limits: ServerLimits) -> None:
    """Take in what the other side still sends of a request that was refused; a connection closed on it would lose the reply."""
    connection.shutdown(socket.SHUT_WR)
    deadline, left = Deadline(GREETING_S), 4 * limits.max_model_bytes
    while left > 0:
        connection.settimeout(deadline.left_s())
        part = connection.recv(MIB)
        if not part:
            return
        left -= len(part)


def _reply(frame: Frame, connection: socket.socket, listener: socket.socket, limits: ServerLimits) -> dict[str, Any]:
    fields = Fields(frame.body, "request")
    version = fields.whole("protocol", lower=0, upper=2**31)
    nonce = fields.text("nonce", max_characters=NONCE_CHARACTERS)
    found, told = digest(frame.model), fields.text("model_sha256", max_characters=64)
    if version != VERSION:
        return _refusal(nonce, found, "request", f"the device speaks version {VERSION} of the protocol, the request version {version}")
    if told != found:
        return _refusal(nonce, found, "request", f"the model that arrived has the SHA-256 {found}, not {told}")
    request = fields.text("request", max_characters=16)
    if request == "hello":
        bounds = {"max_model_bytes": limits.max_model_bytes, "max_limit_s": limits.max_limit_s}
        return {**_echo(nonce, found), "status": "ok", "device": {**_device_facts(), "limits": bounds}}
    if request != "measure":
        return _refusal(nonce, found, "request", f"unknown request {request!r}; known: hello, measure")
    order = Order.from_json(frame.body.get("order"), max_limit_s=limits.max_limit_s)
    if order.processor not in available_processors():
        return _refusal(nonce, found, "request", f"the ONNX Runtime of this device has no provider for {order.processor}")
    return {**_echo(nonce, found), **_measured_apart(frame.model, order, limits, (connection, listener))}


def _echo(nonce: str, model_sha256: str) -> dict[str, Any]:
    return {"protocol": VERSION, "nonce": nonce, "model_sha256": model_sha256}


def _refusal(nonce: str, model_sha256: str, cause: str, message: str) -> dict[str, Any]:
    return {**_echo(nonce, model_sha256), "status": "error", "cause": cause, "message": message[:2000]}


def _device_facts() -> dict[str, Any]:
    return {**host_fingerprint(), "clock": clock_facts(), "processors": list(available_processors())}


def _measured_apart(model: bytes, order: Order, limits: ServerLimits, sockets: Sequence[socket.socket]) -> dict[str, Any]:
    """The measurement of a child process, or why there is none."""
    forking = multiprocessing.get_context("fork")
    ours, theirs = forking.Pipe(duplex=False)
    child = forking.Process(target=_child, args=(model, order, limits, theirs, sockets), daemon=True)
    child.start()
    theirs.close()
    try:
        if not ours.poll(order.limit_s):
            return {"status": "error", "cause": "limit", "message": f"the measurement did not end within {order.limit_s:g} s"}
        with contextlib.suppress(EOFError):
            answer: dict[str, Any] = ours.recv()
            return answer
        child.join(timeout=5)
        return {"status": "error", "cause": "model", "message": f"the process that ran the model ended with code {child.exitcode}"}
    finally:
        ours.close()
        if child.is_alive():
            child.kill()
        child.join()


def _child(model: bytes, order: Order, limits: ServerLimits, pipe: Connection, sockets: Sequence[socket.socket]) -> None:
    for inherited in sockets:  # a child that outlives the server must not hold its port
        inherited.close()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if limits.max_memory_bytes is not None:
        resource.setrlimit(resource.RLIMIT_DATA, (limits.max_memory_bytes, limits.max_memory_bytes))
    try:
        answer = measure_model(model, order)
    except Exception as error:  # whatever ONNX Runtime raises about a model
        answer = {"status": "error", "cause": "model", "message": f"{type(error).__name__}: {error}"[:2000]}
    pipe.send(answer)


def measure_model(model: bytes, order: Order) -> dict[str, Any]:
    """Attempts until two quiet ones agree, raw.

    Raises:
        Exception: whatever ONNX Runtime raises about a model.
    """
    start_ns = time.perf_counter_ns()
    example = example_input(order.example_shape)
    knows_memory = order.peak_memory and memory_is_known()
    if knows_memory:
        forget_high_water_mark()
        before_bytes = resident_bytes("VmRSS")
    session = open_session(model, threads=order.threads, processor=order.processor)
    run = session_run(session, example, processor=order.processor)
    run()
    plan = TimingPlan(
        warm_up_s=order.warm_up_s,
        block_s=max(order.block_s, 2 * order.max_s * order.max_attempts / MAX_BLOCKS),  # all samples fit into the reply
        min_blocks=order.min_blocks,
        max_s=order.max_s,
        relative_interval=order.relative_interval,
    )
    patience = Patience(
        quiet_relative_iqr=order.quiet_relative_iqr, max_relative_iqr=order.max_relative_iqr, max_attempts=order.max_attempts
    )
    attempts: list[Timing] = []
    told = []
    while not enough_attempts(attempts, patience):
        samples_s, runs_per_block = sample_runs(run, plan)
        timing = summarise(samples_s, runs_per_block=runs_per_block)
        attempts.append(timing)
        spread = {"median_s": timing.median_s, "iqr_s": timing.iqr_s, "runs_per_block": runs_per_block}
        told.append({"samples_s": samples_s.tolist(), **spread})
    return {
        "status": "ok",
        "attempts": told,
        "peak_memory_bytes": resident_bytes("VmHWM") - before_bytes if knows_memory else None,
        "elapsed_s": (time.perf_counter_ns() - start_ns) * 1e-9,
        "device": _device_facts(),
    }
