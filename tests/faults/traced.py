"""Run a function in a child process under strace: count its system calls, kill it at one of them, or make one of them fail.

The child is forked from this process with everything imported already and waits until strace is attached, so no system call of
Python's start is counted and a run costs a few hundredths of a second.
"""

import contextlib
import ctypes
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

STATE_CHANGING = (
    *("write", "writev", "pwrite64", "pwritev", "pwritev2", "fsync", "fdatasync", "sync_file_range"),
    *("rename", "renameat", "renameat2", "unlink", "unlinkat", "rmdir", "mkdir", "mkdirat", "link", "linkat", "symlink", "symlinkat"),
    *("truncate", "ftruncate", "fallocate", "chmod", "fchmod", "fchmodat"),
)
"""System calls that change what the disk holds; opening with O_CREAT only adds an empty file, seen by the next call in the list."""
DEADLINE_S = 120.0
PR_SET_PTRACER = 0x59616D61
PR_SET_PTRACER_ANY = ctypes.c_ulong(-1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a child ended."""

    code: int
    """Exit code, or minus the signal."""
    stderr: str
    log: str = ""
    """What strace wrote."""


def missing_strace() -> str:
    """Why the faults cannot be injected here; empty where they can."""
    if shutil.which("strace") is None:
        return "strace is not installed"
    ended = run(lambda: 0, strace=["-e", "trace=none"])
    return "" if ended.code == 0 else f"strace cannot trace here: {ended.stderr.strip()}"


def run(action: Callable[[], int], *, strace: Sequence[str] = ()) -> Ended:
    """Run `action` in a child, under strace if options for it are given; its result is the exit code."""
    output = os.memfd_create("stderr")
    ready, go = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(go)
        _be_the_child(action, output, ready)
    os.close(ready)
    tracer, log = None, os.memfd_create("log")
    try:
        if strace:
            tracer = _attach(child, strace, log)
        os.write(go, b"!")
        code = _wait(child)
        if tracer is not None:
            tracer.wait(timeout=DEADLINE_S)
        return Ended(code=code, stderr=_content(output), log=_content(log))
    finally:
        if tracer is not None and tracer.poll() is None:
            tracer.kill()
            tracer.wait()
        for descriptor in (output, go, log):
            os.close(descriptor)


def count_calls(action: Callable[[], int]) -> Counter[str]:
    """How often each state-changing system call occurs in a run to the end."""
    ended = run(action, strace=["-e", f"trace={_set(STATE_CHANGING)}"])
    if ended.code != 0:
        raise SystemExit(f"the undisturbed run failed with {ended.code}: {ended.stderr}")
    return Counter(re.findall(r"^(?:\d+ +)?(\w+)\(", ended.log, re.MULTILINE))


def kill_at(action: Callable[[], int], call: str, number: int) -> Ended:
    """Run, with SIGKILL on entering the given occurrence of a system call, so that it is not carried out any more."""
    return run(action, strace=["-e", f"trace={call}", "-e", f"inject={call}:signal=SIGKILL:when={number}"])


def fail_at(action: Callable[[], int], call: str, number: int, error: str, *, from_then_on: bool = False) -> Ended:
    """Run, with the given occurrence of a system call (and all later ones) failing without being carried out."""
    when = f"{number}+" if from_then_on else str(number)
    return run(action, strace=["-e", f"trace={call}", "-e", f"inject={call}:error={error}:when={when}"])


def _set(calls: Sequence[str]) -> str:
    return ",".join(f"?{call}" for call in calls)  # "?": not every architecture has every call


def _be_the_child(action: Callable[[], int], output: int, ready: int) -> None:
    code = 1
    try:
        with contextlib.suppress(AttributeError):
            ctypes.CDLL(None).prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY, 0, 0, 0)  # strace is no ancestor of ours
        os.dup2(output, 2)
        os.read(ready, 1)
        code = action()
    except BaseException:
        os.write(2, traceback.format_exc().encode())
    finally:
        os._exit(code)


def _attach(child: int, options: Sequence[str], log: int) -> subprocess.Popen[bytes]:
    command = ["strace", "-f", "-o", f"/proc/self/fd/{log}", *options, "-p", str(child)]
    tracer = subprocess.Popen(command, stderr=subprocess.PIPE, pass_fds=[log])
    assert tracer.stderr is not None
    said = b""
    while b"attached" not in said:
        readable, _, _ = select.select([tracer.stderr], [], [], DEADLINE_S)
        part = os.read(tracer.stderr.fileno(), 4096) if readable else b""
        said += part
        if not part:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            raise RuntimeError(f"strace cannot trace here: {said.decode(errors='replace').strip()}")
    tracer.stderr.close()
    return tracer


def _wait(child: int) -> int:
    end_s = time.monotonic() + DEADLINE_S
    descriptor = os.pidfd_open(child)
    try:
        if not select.select([descriptor], [], [], max(0.0, end_s - time.monotonic()))[0]:
            os.kill(child, signal.SIGKILL)
            print(f"child {child} hung for {DEADLINE_S:.0f} s and was killed", file=sys.stderr)
    finally:
        os.close(descriptor)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _content(descriptor: int) -> str:
    return Path(f"/proc/self/fd/{descriptor}").read_text(errors="replace")
