"""Measuring campaigns as the command line starts them: which device, which space, which file, and how far they are."""

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from paretune.core.errors import BadInput, UnknownName
from paretune.core.protocols import Device, SearchSpace
from paretune.core.registry import Registry
from paretune.hardware import HARDWARE
from paretune.hardware.campaigns.campaign import Outcome
from paretune.hardware.campaigns.layer_campaign import TableRequest, known_layers, measure_layers
from paretune.hardware.campaigns.layer_census import census, distinct_networks, refuse_unmeasurable
from paretune.hardware.campaigns.layer_meter import LayerMeter
from paretune.hardware.campaigns.network_campaign import NetworkSource, known_networks, measure_networks
from paretune.hardware.tables.layer_signature import in_words
from paretune.hardware.targets import SUFFIXES, load_target, target_names
from paretune.platform.execution.stop import StopRequest, stop_on_signals
from paretune.platform.spec.options import option_values
from paretune.platform.study.api import read_spec
from paretune.platform.study.plan import build_plan
from paretune.spaces import SPACES
from paretune.tasks import TASKS

SPEC_ENDINGS = (".yaml", ".yml")
DEFAULT_SHAPE, DEFAULT_CLASSES = (1, 8, 8), 10
LINE_EVERY_S = 10.0
SHOWN = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetChoice:
    """A device as the command line names it."""

    name: str
    """Of a target or a kind of hardware, or the path of a target file."""
    options: tuple[str, ...] = ()
    """`NAME=VALUE` each."""

    @property
    def title(self) -> str:
        """What tables of the device are called: its name, of a file the name without ending."""
        return Path(self.name).stem if _is_file(self.name) else self.name


@dataclass(frozen=True, slots=True, kw_only=True)
class SpaceChoice:
    """A search space as the command line names it."""

    name: str
    """A registered name, or a study file."""
    options: tuple[str, ...] = ()
    input_shape: tuple[int, ...] | None = None
    classes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenSpace:
    """A search space and how it was made."""

    space: SearchSpace
    input_shape: tuple[int, ...]
    options: dict[str, Any]


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
        request = self._request("layers", command)
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
        request = self._request("networks", command)
        genotypes_ND = distinct_networks(opened.space, count, seed=self.seed)
        known = known_networks(request.path, opened.space)
        todo = sum(tuple(row) not in known for row in genotypes_ND.tolist())
        self._say(f"{len(genotypes_ND) - todo:,} networks are in {request.path} already, {todo:,} are measured now")
        with stoppable("networks", todo, quiet=self.quiet) as step:
            outcome = measure_networks(
                device,
                NetworkSource(space=opened.space, input_shape=opened.input_shape, space_options=opened.options),
                genotypes_ND,
                request,
                rounds=self.rounds,
                on_step=lambda _: step(),
            )
        return _ending(request.path, outcome, lambda row: f"network {list(row)}")

    def _request(self, what: str, command: str) -> TableRequest:
        space = Path(self.space.name).stem if self.space.name.endswith(SPEC_ENDINGS) else self.space.name
        path = self.path or Path(f"{self.target.title}-{space}-{what}.parquet")
        if path.suffix != ".parquet":
            raise BadInput(f"--to {path}: must end in .parquet")
        if not path.parent.is_dir():
            raise BadInput(f"--to {path}: there is no folder {path.parent}")
        return TableRequest(path=path, device=self.target.title, space=space, command=command, batch=self.batch)

    def _say(self, line: str) -> None:
        Console(stderr=True, quiet=self.quiet).print(line, highlight=False, markup=False, soft_wrap=True)


def open_both(target: TargetChoice, choice: SpaceChoice) -> tuple[Device, OpenSpace]:
    """The device and the space.

    Raises:
        BadInput: what is wrong with either, or with both.
    """
    problems: list[str] = []
    device = _tried(lambda: open_device(target), problems)
    opened = _tried(lambda: open_space(choice), problems)
    if device is None or opened is None:
        raise BadInput("\n".join(problems))
    return device, opened


def open_device(target: TargetChoice) -> Device:
    """The device of a target, or of a kind of hardware with its defaults; a target comes before a kind of its name.

    Raises:
        BadInput: there is neither, it measures nothing, or an option cannot be used.
    """
    kind, options = _kind_and_options(target.name)
    made = HARDWARE.create(kind, **{**options, **_options(HARDWARE, kind, target.options)})
    if not isinstance(made, Device):
        raise BadInput(f"target '{target.name}' computes costs and measures nothing; name one that measures, such as host")
    return made


def _kind_and_options(name: str) -> tuple[str, dict[str, Any]]:
    if _is_file(name) or name in target_names():
        found = load_target(name)
        return found.kind, dict(found.options)
    if name not in HARDWARE.names():
        raise UnknownName("target", name, sorted({*target_names(), *HARDWARE.names()}))
    return name, {}


def _is_file(name: str) -> bool:
    return "/" in name or name.endswith(SUFFIXES)


def open_space(choice: SpaceChoice) -> OpenSpace:
    """A space by its name, or that of a study file.

    Raises:
        BadInput: there is no such space, or an option cannot be used.
    """
    if choice.name.endswith(SPEC_ENDINGS):
        given = [
            name
            for name, value in (("--input", choice.input_shape), ("--classes", choice.classes), ("--space-option", choice.options))
            if value
        ]
        if given:
            raise BadInput(f"{', '.join(given)}: the study file says that already; use --set with 'paretune run', or name the space")
        plan = build_plan(read_spec(choice.name))
        task = plan.spec.task
        shape = TASKS.create(task.name, **option_values(TASKS, task.name, task.options)).input_shape
        return OpenSpace(space=plan.space, input_shape=tuple(shape), options={"study": plan.spec.name})
    options = _options(SPACES, choice.name, choice.options)
    shape, classes = choice.input_shape or DEFAULT_SHAPE, choice.classes or DEFAULT_CLASSES
    space = SPACES.create(choice.name, input_shape=shape, num_classes=classes, **options)
    written = {name: list(value) if isinstance(value, tuple) else value for name, value in options.items()}
    return OpenSpace(space=space, input_shape=shape, options={"num_classes": classes, **written})


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


def _options(registry: Registry, name: str, pairs: Sequence[str]) -> dict[str, Any]:
    """Options of a plugin from `NAME=VALUE` pairs, checked like those of a study file."""
    values: dict[str, Any] = {}
    for pair in pairs:
        option, equals, text = pair.partition("=")
        if not equals or not option:
            raise BadInput(f"option {pair!r} of {registry.kind} {name}: expected NAME=VALUE")
        try:
            values[option] = json.loads(text)
        except ValueError:
            values[option] = text
    registry.check_options(name, values)
    return {option: value for option, value in option_values(registry, name, values).items() if option in values}


def _tried(action: Callable[[], Any], problems: list[str]) -> Any:
    try:
        return action()
    except BadInput as error:
        problems.append(str(error))
        return None


def _ending(path: Path, outcome: Outcome[Any], words: Callable[[Any], str]) -> Ending:
    notes = [f"not measured: {words(item)}: {message}" for item, message in outcome.failures[:SHOWN]]
    more = len(outcome.failures) - SHOWN
    notes += [f"and {more} more"] if more > 0 else []
    return Ending(path=path, notes=tuple(notes), num_failed=len(outcome.failures))


def _percent(share: float) -> str:
    """99.97 % is not 100 %."""
    return f"{np.floor(1000 * share) / 10:.1f} %"
