"""Where the time of an inference goes: the latency of each layer, from ONNX Runtime's profile or torch's hooks.

The parts add up to more or less than the whole: hooks and profile cost time themselves, and a runtime may fuse layers. They tell which
layers to look at; the latency of the network is measured without them.
"""

import json
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from paretune.hardware.measured.onnx_sessions import example_input, open_session, session_run
from paretune.hardware.measured.timing import Clock

if TYPE_CHECKING:
    from torch import nn

NUM_RUNS = 20
"""Runs that are profiled, after as many that are not counted."""


def onnx_layer_times(model: bytes, example_shape: tuple[int, ...], *, threads: int, processor: str) -> list[dict[str, Any]]:
    """Name, kind and median `latency_s` of each node of the optimised graph, in the order in which they run."""
    with TemporaryDirectory(prefix="paretune-profile-") as folder:
        session = open_session(model, threads=threads, processor=processor, profile=str(Path(folder) / "profile"))
        run = session_run(session, example_input(example_shape), processor=processor)
        for _ in range(2 * NUM_RUNS):
            run()
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    times_s: dict[str, list[float]] = {}
    kinds: dict[str, str] = {}
    for event in events:
        name = str(event.get("name", ""))
        if event.get("cat") == "Node" and name.endswith("_kernel_time"):
            node = name.removesuffix("_kernel_time")
            times_s.setdefault(node, []).append(1e-6 * float(event["dur"]))  # microseconds
            kinds[node] = str(event.get("args", {}).get("op_name", ""))
    return [_layer(node, kinds[node], found_s) for node, found_s in times_s.items()]


def torch_layer_times(network: "nn.Module", run: Callable[[], object], clock: Clock) -> list[dict[str, Any]]:
    """Name, kind and median `latency_s` of each module without parts of its own, in the order in which they run.

    Args:
        network: what `run` runs.
        run: one inference.
        clock: as the network is timed with.
    """
    times_s: dict[str, list[float]] = {}
    kinds: dict[str, str] = {}
    started_ns: dict[str, int] = {}
    handles = []

    def watch(name: str, module: "nn.Module") -> None:
        def before(*_: Any) -> None:
            started_ns[name] = clock()

        def after(*_: Any) -> None:
            times_s.setdefault(name, []).append(1e-9 * (clock() - started_ns[name]))

        kinds[name] = type(module).__name__
        handles.extend([module.register_forward_pre_hook(before), module.register_forward_hook(after)])

    for name, module in network.named_modules():
        if not any(True for _ in module.children()):
            watch(name or type(module).__name__, module)
    try:
        for _ in range(2 * NUM_RUNS):
            run()
    finally:
        for handle in handles:
            handle.remove()
    return [_layer(name, kinds[name], found_s) for name, found_s in times_s.items()]


def _layer(name: str, kind: str, times_s: list[float]) -> dict[str, Any]:
    """A layer that runs several times in an inference has the median of its calls; the later half of the calls counts."""
    return {"name": name, "kind": kind, "latency_s": float(np.median(times_s[len(times_s) // 2 :]))}
