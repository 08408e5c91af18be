"""ONNX Runtime as a device runs it: one session of a model on the CPU or a CUDA GPU. Needs NumPy and ONNX Runtime only."""

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paretune.core.errors import DeviceError

PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
"""Processor -> name of ONNX Runtime's execution provider."""


def available_processors() -> tuple[str, ...]:
    """The processors that the installed ONNX Runtime was built for."""
    from onnxruntime import get_available_providers

    return tuple(processor for processor, provider in PROVIDERS.items() if provider in get_available_providers())


def example_input(shape: tuple[int, ...]) -> NDArray[np.float32]:
    """One float32 input with a fixed content: sparse or denormal values would change the time."""
    return np.random.default_rng(0).standard_normal(shape, dtype=np.float32)


def open_session(model: bytes, *, threads: int, processor: str = "cpu", profile: str = "") -> Any:
    """An `InferenceSession` as one would deploy it: the graph optimised, layers one after another.

    Args:
        model: ONNX, weights inside.
        threads: of one inference.
        processor: `cpu` or `cuda`.
        profile: start of the path of a file for ONNX Runtime's profile; empty for none.

    Raises:
        DeviceError: CUDA was asked for and the session runs without it.
    """
    from onnxruntime import ExecutionMode, InferenceSession, SessionOptions

    options = SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = threads
    options.execution_mode = ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = 3
    if threads == 1:
        # Spinning threads would take cores from the trainings that run beside the measurement.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if profile:
        options.enable_profiling, options.profile_file_prefix = True, profile
    providers = [PROVIDERS[processor]] if processor == "cpu" else [PROVIDERS[processor], PROVIDERS["cpu"]]
    session = InferenceSession(model, sess_options=options, providers=providers)
    if session.get_providers()[0] != providers[0]:  # it falls back without a word
        raise DeviceError(f"ONNX Runtime cannot use {providers[0]} here and took {session.get_providers()[0]}; see its installation page")
    return session


def session_run(session: Any, example: NDArray[np.float32], *, processor: str = "cpu") -> Callable[[], object]:
    """A function that runs one inference to its end. On CUDA input and output stay on the GPU: copies are no part of the network."""
    name = session.get_inputs()[0].name
    if processor == "cpu":
        inputs = {name: example}
        return lambda: session.run(None, inputs)
    from onnxruntime import OrtValue

    binding = session.io_binding()
    binding.bind_ortvalue_input(name, OrtValue.ortvalue_from_numpy(example, processor, 0))
    for output in session.get_outputs():
        binding.bind_output(output.name, processor)
    return lambda: session.run_with_iobinding(binding)  # waits for the GPU before it returns


def clock_facts() -> dict[str, Any]:
    """What the clock of the measurements is."""
    info = time.get_clock_info("perf_counter")
    return {"name": "perf_counter", "resolution_s": info.resolution, "monotonic": info.monotonic}
