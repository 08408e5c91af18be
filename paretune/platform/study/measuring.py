"""Measuring campaigns as the command line starts them: which device, which space, which file, and how far they are."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from paretune.core.errors import BadInput
from paretune.hardware.campaigns.campaign import Outcome
from paretune.hardware.campaigns.layer_campaign import TableRequest, known_layers, measure_layers
from paretune.hardware.campaigns.layer_census import census, distinct_networks, refuse_unmeasurable
from paretune.hardware.campaigns.layer_meter import LayerMeter
from paretune.hardware.campaigns.network_campaign import NetworkSource, known_networks, measure_networks
from paretune.hardware.tables.layer_signature import in_words
from paretune.platform.execution.stop import StopRequest, stop_on_signals
from paretune.platform.study.opening import SpaceChoice, TargetChoice, open_both

LINE_EVERY_S = 10.0
SHOWN = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """What a campaign gave."""

    path: Path
    notes: tuple[str, ...]
    num_failed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Campaign:
    """One `paretune measure`."""

    target: TargetChoice
    space: SpaceChoice
    path: Path | None = None
    """None names the file after target and space."""
    batch: int = 1
    rounds: int = 1
    seed: int = 0
    quiet: bool = False

    def measure_layers(self, sample: int | None, *, command: str) -> Ending:
        """Build a layer table, or go on with one.

        Args:
            sample: only the layers of so many random networks; None takes all.
            command: what measures the layers that the table lacks.

        Raises:
            BadInput: something the user gave cannot be used.
        """
        from paretune.networks.layer_probes import FUSED, PROBED

        device, opened = open_both(self.target, self.space)
        request = self._request("layers", opened.name, command)
        found = census(opened.space, sample=sample, seed=self.seed, batch=self.batch, skip=FUSED)
        refuse_unmeasurable(found.signatures, PROBED)
        known = known_layers(request.path)
        todo = sum(tuple(row) not in known for row in found.signatures.tolist())
        self._say(
            f"{len(found.signatures):,} different layers in {found.num_networks:,} random networks. Of other networks they cover "
            f"{_percent(found.layer_coverage)} of the layers; {_percent(found.network_coverage)} are made of them alone"
        )
        self._say(f"{len(found.signatures) - todo:,} are in {request.path} already, {todo:,} are measured now")
        with stoppable("layers", todo, quiet=self.quiet) as step:
            meter = LayerMeter(device, batch=self.batch, rounds=self.rounds)
            outcome = measure_layers(meter, found.signatures, request, on_step=lambda _: step())
        return _ending(request.path, outcome, in_words)

    def measure_networks(self, count: int, *, command: str) -> Ending:
        """Measure random networks, or go on with them.

        Args:
            count: how many the file shall hold.
            command: that goes on with it.

        Raises:
            BadInput: something the user gave cannot be used.
        """
        device, opened = open_both(self.target, self.space)
        request = self._request("networks", opened.name, command)
        genotypes_ND = distinct_networks(opened.space, count, seed=self.seed)
        known = known_networks(request.path, opened.space)
        todo = sum(tuple(row) not in known for row in genotypes_ND.tolist())
        self._say(f"{len(genotypes_ND) - todo:,} networks are in {request.path} already, {todo:,} are measured now")
        with stoppable("networks", todo, quiet=self.quiet) as step:
            outcome = measure_networks(
                device,
                NetworkSource(
                    space=opened.space,
                    input_shape=opened.input_shape,
                    num_classes=opened.num_classes,
                    space_options=opened.options,
                ),
                genotypes_ND,
                request,
                rounds=self.rounds,
                on_step=lambda _: step(),
            )
        return _ending(request.path, outcome, lambda row: f"network {list(row)}")

    def _request(self, what: str, space: str, command: str) -> TableRequest:
        path = self.path or Path(f"{self.target.title}-{self.space.title}-{what}.parquet")
        if path.suffix != ".parquet":
            raise BadInput(f"--to {path}: must end in .parquet")
        if not path.parent.is_dir():
            raise BadInput(f"--to {path}: there is no folder {path.parent}")
        return TableRequest(path=path, device=self.target.title, space=space, command=command, batch=self.batch)

    def _say(self, line: str) -> None:
        Console(stderr=True, quiet=self.quiet).print(line, highlight=False, markup=False, soft_wrap=True)


@contextmanager
def stoppable(what: str, total: int, *, quiet: bool) -> Iterator[Callable[[], None]]:
    """The same as `shown`; a signal ends the campaign after the step that it falls into, a second one at once.

    Raises:
        Interrupted: a signal came.
    """
    stop = StopRequest()
    with stop_on_signals(stop), shown(what, total, quiet=quiet) as advance:

        def step() -> None:
            advance()
            stop.raise_if_set()

        yield step


@contextmanager
def shown(what: str, total: int, *, quiet: bool) -> Iterator[Callable[[], None]]:
    """A progress bar with the time left on a terminal, a line every ten seconds elsewhere; gives what is called after each step."""
    console = Console(stderr=True, quiet=quiet)
    if console.is_terminal:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=console) as progress:
            task = progress.add_task(what, total=total)
            yield lambda: progress.advance(task)
        return
    state = {"done": 0.0, "begun_s": time.monotonic(), "said_s": time.monotonic()}

    def step() -> None:
        state["done"] += 1
        now_s = time.monotonic()
        if now_s - state["said_s"] >= LINE_EVERY_S:
            state["said_s"] = now_s
            left_s = (now_s - state["begun_s"]) / state["done"] * (total - state["done"])
            console.print(f"{state['done']:.0f} of {total} {what}, about {left_s:.0f} s left", highlight=False)

    yield step


def _ending(path: Path, outcome: Outcome[Any], words: Callable[[Any], str]) -> Ending:
    notes = [f"not measured: {words(item)}: {message}" for item, message in outcome.failures[:SHOWN]]
    more = len(outcome.failures) - SHOWN
    notes += [f"and {more} more"] if more > 0 else []
    return Ending(path=path, notes=tuple(notes), num_failed=len(outcome.failures))


def _percent(share: float) -> str:
    """99.97 % is not 100 %."""
    return f"{np.floor(1000 * share) / 10:.1f} %"
