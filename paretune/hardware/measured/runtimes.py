"""A network made ready to run on this machine, whatever the runtime: how to run it, time it, and look at its layers and memory."""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from paretune.core.errors import BadInput
from paretune.hardware.measured.layer_times import onnx_layer_times, torch_layer_times
from paretune.hardware.measured.memory import measured_memory_bytes, memory_is_known
from paretune.hardware.measured.onnx_sessions import available_processors, example_input, open_session, session_run
from paretune.hardware.measured.timing import Clock
from paretune.hardware.measured.torch_runs import cuda_is_available, cuda_peak, torch_run

if TYPE_CHECKING:
    from torch import nn

RUNTIMES = ("onnxruntime", "torch", "torch_compiled")
PROCESSORS = ("cpu", "cuda")


@dataclass(frozen=True, slots=True, kw_only=True)
class Runtime:
    """What runs a network, and on what."""

    name: str
    """One of `RUNTIMES`."""
    processor: str
    """One of `PROCESSORS`."""
    threads: int
    """Of one inference on the CPU."""

    def check_available(self) -> None:
        """Ask whether this machine has it. The CPU always is; nothing is imported for it.

        Raises:
            BadInput: CUDA is missing; with what to do.
        """
        if self.processor == "cpu":
            return
        if self.name == "onnxruntime" and "cuda" not in available_processors():
            raise BadInput(
                "processor: the installed ONNX Runtime has no CUDA provider; put onnxruntime-gpu in its place, "
                "or take runtime: torch or processor: cpu"
            )
        if self.name != "onnxruntime" and not cuda_is_available():
            raise BadInput("processor: torch finds no CUDA GPU here; take processor: cpu, or install a driver and a torch built for CUDA")

    def memory_problem(self) -> str:
        """Why the peak memory cannot be measured; empty where it can."""
        if (self.name == "onnxruntime") == (self.processor == "cuda"):
            return f"is measured with onnxruntime on the cpu or torch on cuda; got {self.name} on {self.processor}"
        return "" if self.processor == "cuda" or memory_is_known() else "this system does not tell the peak memory of a process (VmHWM)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """A network ready to run."""

    run: Callable[[], object]
    """One inference, to its end or, on a GPU, to the end of its launch; then the clock waits."""
    clock: Clock
    """To time it with."""
    layer_times: Callable[[], list[dict[str, Any]]]
    """Name, kind and `latency_s` of each layer."""
    peak_bytes: Callable[[], int]
    """Peak memory of an inference."""


def ready(network: "nn.Module", example_shape: tuple[int, ...], runtime: Runtime) -> AbstractContextManager[Ready]:
    """Load a network into its runtime for the time of a `with` block; the network is left as it came.

    Raises:
        Exception: the network or the runtime raises what it likes.
    """
    if runtime.name != "onnxruntime":
        return _ready_torch(network, example_shape, runtime)
    from paretune.networks.onnx_conversion import to_onnx  # torch takes a second to import; `paretune list` does without

    return ready_onnx(to_onnx(network, example_shape), example_shape, runtime)


@contextmanager
def ready_onnx(model: bytes, example_shape: tuple[int, ...], runtime: Runtime) -> Iterator[Ready]:
    """Load an ONNX model into ONNX Runtime for the time of a `with` block.

    Raises:
        Exception: ONNX Runtime raises what it likes.
    """
    threads, processor = runtime.threads, runtime.processor
    session = open_session(model, threads=threads, processor=processor)
    yield Ready(
        run=session_run(session, example_input(example_shape), processor=processor),
        clock=time.perf_counter_ns,
        layer_times=lambda: onnx_layer_times(model, example_shape, threads=threads, processor=processor),
        peak_bytes=lambda: measured_memory_bytes(model, example_shape, threads=threads),
    )


@contextmanager
def _ready_torch(network: "nn.Module", example_shape: tuple[int, ...], runtime: Runtime) -> Iterator[Ready]:
    running = torch_run(
        network, example_shape, threads=runtime.threads, processor=runtime.processor, compiled=runtime.name == "torch_compiled"
    )
    with running as (subject, run, clock):

        def peak_bytes() -> int:
            with cuda_peak() as peak:
                run()
                weights_bytes: int = sum(tensor.numel() * tensor.element_size() for tensor in subject.state_dict().values())
                return peak() + weights_bytes

        yield Ready(run=run, clock=clock, layer_times=lambda: torch_layer_times(subject, run, clock), peak_bytes=peak_bytes)
