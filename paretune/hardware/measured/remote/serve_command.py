"""The command line of the process that measures: `paretune device serve`. Needs what the server needs and nothing else."""

import argparse
import contextlib
import logging
import signal
import sys
from collections.abc import Iterator, Sequence

from paretune.core.errors import BadInput
from paretune.hardware.measured.remote.protocol import DEFAULT_PORT
from paretune.hardware.measured.remote.server import MIB, ServerLimits, serve


def parser() -> argparse.ArgumentParser:
    """The options of `paretune device serve`."""
    options = argparse.ArgumentParser(
        prog="paretune device serve",
        description="Measure networks for paretune on this machine, which needs only Python, NumPy and ONNX Runtime. Ctrl-C ends it.",
    )
    options.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s, this machine alone)")
    options.add_argument("--port", type=int, default=DEFAULT_PORT, help="0 takes a free one (default: %(default)s)")
    options.add_argument("--allow-network", action="store_true", help="listen where other machines connect; there is no password")
    options.add_argument("--max-model-mib", type=int, default=256, help="largest model (default: %(default)s)")
    options.add_argument("--max-time-s", type=float, default=120.0, help="longest measurement (default: %(default)s)")
    options.add_argument("--max-memory-mib", type=int, help="memory of a measurement (default: no limit)")
    return options


@contextlib.contextmanager
def _quiet_end() -> Iterator[None]:
    """Ctrl-C and SIGTERM end the server without a traceback."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        yield
    except KeyboardInterrupt:
        sys.exit(130)
    except BadInput as error:
        sys.stderr.write(f"paretune: {error}\n")
        sys.exit(error.exit_code)


def main(arguments: Sequence[str]) -> None:
    """`paretune device serve`."""
    given = parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    limits = ServerLimits(
        max_model_bytes=given.max_model_mib * MIB,
        max_limit_s=given.max_time_s,
        max_memory_bytes=given.max_memory_mib * MIB if given.max_memory_mib is not None else None,
    )

    def announce(address: str) -> None:
        sys.stdout.write(f"listening on {address}\n")
        sys.stdout.flush()

    with _quiet_end():
        serve(host=given.host, port=given.port, allow_network=given.allow_network, limits=limits, announce=announce)
