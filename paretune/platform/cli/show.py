"""What the commands print: studies, plans, plugins, results; for people or as JSON."""

import json
import math
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from paretune.core.derived import DERIVED
from paretune.core.errors import BadInput, ParetuneError
from paretune.core.metrics import readable
from paretune.core.objectives import Constraint
from paretune.core.registry import Registry
from paretune.core.rewards import UnitOf
from paretune.core.trial import Outcome
from paretune.hardware import HARDWARE
from paretune.hardware.target_files import Target, load_target, target_names
from paretune.platform.cli.studies import again, study_folders
from paretune.platform.mirror import MirrorState, mirror_state
from paretune.platform.record.history import History
from paretune.platform.record.lock import is_held, read_owner
from paretune.platform.record.summary import Spread, final_spreads, status, summary_json
from paretune.platform.report.units import label
from paretune.platform.spec.compare import duration_text
from paretune.platform.spec.load import LoadedSpec
from paretune.platform.spec.model import DEFAULT_TRACKING_URI, BudgetSpec
from paretune.platform.study.api import recorded_spec
from paretune.platform.study.plan import Plan
from paretune.platform.study.study import StudyResult, read_history
from paretune.predictors import PREDICTORS
from paretune.searchers import SEARCHERS
from paretune.spaces import SPACES
from paretune.tasks import TASKS

PIPE_WIDTH = 250
"""Columns where the output is no terminal: tables are not folded there."""


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Leave it to the group, which ends every command alike; rich would exit with 1."""
        raise


console = _Console(highlight=False, soft_wrap=True, width=None if sys.stdout is not None and sys.stdout.isatty() else PIPE_WIDTH)

PLUGINS: dict[str, Registry] = {
    "spaces": SPACES,
    "searchers": SEARCHERS,
    "hardware": HARDWARE,
    "tasks": TASKS,
    "derived": DERIVED,
    "predictors": PREDICTORS,
}


def print_json(value: Any) -> None:
    """JSON for scripts."""
    click.echo(json.dumps(_finite(value), indent=2, default=str, allow_nan=False))


def _finite(value: Any) -> Any:
    """The value with None for numbers that JSON has no form for."""
    if isinstance(value, Mapping):
        return {str(name): _finite(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def tracking_uri(folder: Path | None) -> str:
    """Where a study's MLflow runs are."""
    if folder is None:
        return DEFAULT_TRACKING_URI
    return recorded_spec(read_history(folder).header).spec.tracking.uri or DEFAULT_TRACKING_URI


def show_studies(storage: Path, *, as_json: bool) -> None:
    """One line a study; a damaged one hides no other."""
    studies = [_brief(folder) for folder in study_folders(storage)]
    if as_json:
        print_json(studies)
        return
    if not studies:
        console.print(f"no studies in {storage}. Start one: paretune run studies/digits.yaml", markup=False)
        return
    table = Table("study", "status", "candidates", "front", "folder", box=None, pad_edge=False)
    for study in studies:
        table.add_row(study["name"], study["status"], *(str(study.get(name, "?")) for name in ("finished", "front")), study["folder"])
    console.print(table)
    for study in studies:
        if "error" in study:
            console.print(f"{study['name']}: {study['error']}", markup=False)


def _brief(folder: Path) -> dict[str, Any]:
    known = {"name": folder.name, "folder": str(folder)}
    try:
        history = read_history(folder)
    except ParetuneError as error:
        return {**known, "status": "unreadable", "error": str(error)}
    return {**known, "status": _status(folder, history), "finished": len(history.arrivals()), "front": len(history.archive)}


def _status(folder: Path, history: History) -> str:
    """`finished`, `running`, or where it stopped."""
    found = status(history)
    if is_held(folder):
        return "running"
    return found if found == "finished" else "stopped"


def show_study(folder: Path, *, as_json: bool) -> None:
    """Where one study is."""
    history = read_history(folder)
    summary = summary_json(history)
    mirror = None if not _is_tracked(history) else mirror_state(folder)
    now = _status(folder, history)
    if as_json:
        print_json({**summary, "status": now, "folder": str(folder), "mlflow": mirror_values(mirror)})
        return
    counts = summary["counts"]
    outcomes = ", ".join(f"{number} {name}" for name, number in counts["outcomes"].items()) or "none finished"
    owner = read_owner(folder) if now == "running" else None
    by_whom = f" by {owner.describe()}" if owner else ""
    console.print(f"study {history.header.name} ({folder}): {now}{by_whom}", markup=False)
    for phase, reason in history.phases.items():
        console.print(f"  {phase}: {reason}", markup=False)
    console.print(f"  candidates: {outcomes}; {counts['pending']} pending, {counts['screened']} screened out by free costs")
    if mirror is not None:
        console.print(f"  MLflow: {mirror_line(mirror, None if now == 'running' else folder)}", markup=False)
    show_front(history)
    if now == "stopped":
        console.print(f"Go on with: paretune resume {again(folder)}", markup=False)


def _is_tracked(history: History) -> bool:
    return recorded_spec(history.header).spec.tracking.uri is not None


def _why_no_front(history: History) -> str:
    if "search" not in history.phases:
        return "no feasible candidate yet"
    problem = history.problem
    ended = [record for record in history.search_records() if record.outcome in (Outcome.OK, Outcome.INFEASIBLE)]
    if not ended:
        return "no candidate ended without a failure"
    closest = min(ended, key=lambda record: problem.violation(record.metrics))
    missed = [
        f"{label(limit.metric)} {readable(limit.metric, value)} ({_limit(limit)})"
        for limit in problem.constraints
        if (value := closest.metrics.get(limit.metric)) is not None and limit.violation(value) > 0
    ]
    return "no candidate meets the limits" + (f"; the closest, #{closest.job.ask_index}, has {', '.join(missed)}" if missed else "")


def _limit(constraint: Constraint) -> str:
    sides = (("at least", constraint.lower), ("at most", constraint.upper))
    return ", ".join(f"{side} {readable(constraint.metric, bound)}" for side, bound in sides if math.isfinite(bound))


def show_front(history: History) -> None:
    """The front as a table, with what the final training made of it."""
    if len(history.archive) == 0:
        console.print(f"  {_why_no_front(history)}")
        return
    reference = ", ".join(f"{label(item.metric)} {readable(item.metric, item.reference)}" for item in history.problem.objectives)
    volume = history.archive.hypervolume(history.problem.reference)
    console.print(f"  hypervolume {volume:.6g} against the reference point {reference}", markup=False)
    finals = {index: final_spreads(group) for index, group in history.finals().items()}
    metrics = list(history.problem.metrics)
    tested = sorted({name for spreads in finals.values() for name in spreads if name.startswith("test.")})
    table = Table("candidate", box=None, pad_edge=False)
    for heading in (*(label(name) for name in metrics), *(f"{label(name)} (retrained)" for name in tested)):
        table.add_column(heading, justify="right")
    for record in history.front():
        spreads = finals.get(record.job.ask_index, {})
        retrained = [_spread(name, spreads[name]) if name in spreads else "" for name in tested]
        table.add_row(f"#{record.job.ask_index}", *(readable(name, record.metrics[name]) for name in metrics), *retrained)
    console.print(table)


def _spread(name: str, spread: Spread) -> str:
    """`97.2 % ± 0.3 %`, and the mean alone where there is one value."""
    mean = readable(name, spread.mean)
    return mean if spread.std is None else f"{mean} ± {readable(name, spread.std)}"


def show_result(result: StudyResult, *, as_json: bool) -> None:
    """What a study gave and what to do next."""
    history, folder = result.history, result.folder
    if as_json:
        files = {"folder": str(folder), "report": str(result.report), "networks": [str(path) for path in result.networks]}
        print_json({**summary_json(history), **files, "mlflow": mirror_values(result.mirror)})
        return
    console.print(f"\nstudy {history.header.name}: {history.phases.get('search', 'search not ended')}", markup=False)
    show_front(history)
    if result.mirror is not None:
        console.print(f"MLflow: {mirror_line(result.mirror, folder)}", markup=False)
    console.print("\nNext:")
    console.print(f"  report           open {result.report}", markup=False)
    if result.networks:
        console.print(f"  networks         {folder / 'networks'}  (ONNX, safetensors; best: {result.networks[0].name})", markup=False)
    if result.mirror is not None:
        console.print(f"  compare runs     paretune ui {again(folder)}", markup=False)
    more = 2 * max(len(history.arrivals()), 1)
    console.print(f"  search further   paretune resume {again(folder)} --set budget.trials={more}", markup=False)


def mirror_line(state: MirrorState, folder: Path | None = None) -> str:
    """How far MLflow is, in one line."""
    refused = f", {state.refused:,} refused by the server" if state.refused else ""
    later = f"; later: paretune sync {again(folder)}" if folder else ""
    if not state.waiting:
        return f"{state.mirrored:,} runs{refused}{later}" if refused else f"{state.mirrored:,} runs, level with the ledger"
    return f"{state.mirrored:,} runs{refused}, {state.waiting:,} wait ({state.message or 'not done yet'}){later}"


def mirror_values(state: MirrorState | None) -> dict[str, Any] | None:
    """How far MLflow is, for scripts; None where tracking is off."""
    return None if state is None else asdict(state)


def show_plugins(what: str, *, as_json: bool) -> None:
    """Registered plugins of one kind with their options."""
    registry = PLUGINS[what]
    entries = [_plugin_entry(registry, name) for name in registry.names()]
    if as_json:
        print_json(entries)
        return
    for entry in entries:
        console.print(Text.assemble((entry["name"], "bold"), f"  {entry['description']}"))
        for option in entry["options"]:
            default = "required" if option["required"] else f"default {option['default']!r}"
            console.print(f"    {option['name']}: {option['type']}, {default}", markup=False)


def _plugin_entry(registry: Registry, name: str) -> dict[str, Any]:
    """What a plugin says of itself; one that cannot be loaded is named with the reason and takes nothing away from the others."""
    try:
        description, options = registry.describe(name), registry.options(name)
    except BadInput as error:
        return {"name": name, "description": f"cannot be used: {error}", "options": []}
    return {
        "name": name,
        "description": description,
        "options": [
            {
                "name": option.name,
                "type": _type(option.annotation),
                "default": None if option.required else option.default,
                "required": option.required,
            }
            for option in options
        ],
    }


def show_targets(*, as_json: bool) -> None:
    """The targets that come with paretune, with their numbers in JSON."""
    targets = [load_target(name) for name in target_names()]
    if as_json:
        print_json(
            [
                {
                    "name": item.name,
                    "kind": item.kind,
                    "description": item.description,
                    "metrics": _metrics(item),
                    "options": _sourced(item),
                }
                for item in targets
            ]
        )
        return
    table = Table("target", "kind", "metrics", "description", box=None, pad_edge=False)
    for item in targets:
        table.add_row(Text(item.name, "bold"), item.kind, Text(", ".join(_metrics(item))), Text(item.description))
    console.print(table)


def _metrics(target: Target) -> list[str]:
    """What an objective may name of it, in SI units."""
    return [metric.name for metric in target.create().metrics]


def _sourced(target: Target) -> dict[str, dict[str, Any]]:
    """Option -> value and source."""
    return {name: {"value": value, "source": target.sources.get(name)} for name, value in target.options.items()}


def _type(annotation: Any) -> str:
    if get_origin(annotation) is Annotated:
        plain, *marks = get_args(annotation)
        units = "".join(f" in units of {mark.parameter}" for mark in marks if isinstance(mark, UnitOf))
        return f"{_type(plain)}{units}"
    return getattr(annotation, "__name__", str(annotation)) if isinstance(annotation, type) else str(annotation).replace("typing.", "")


def show_plan(loaded: LoadedSpec, plan: Plan, *, as_json: bool) -> None:
    """What a valid spec would run."""
    notes = [*loaded.notes, *plan.notes]
    facts = {
        "name": plan.spec.name,
        "space": plan.spec.space.name,
        "architectures": plan.costs.network.size,
        "designs": plan.costs.num_designs,
        "objectives": [f"{item.metric} {item.direction.value}" for item in plan.problem.objectives],
        "searcher": plan.spec.searcher.name,
        "trials": plan.spec.budget.trials,
        "time_s": plan.spec.budget.time_s,
    }
    if as_json:
        print_json({"ok": True, "file": loaded.file, "notes": notes, **facts})
        return
    goals = " and ".join(f"{item.metric} {item.direction.value}" for item in plan.problem.objectives)
    designs = f" on {plan.costs.num_designs:,} hardware designs" if plan.costs.hardware_decisions else ""
    console.print(
        f"{loaded.file}: ok. Study '{plan.spec.name}': {plan.spec.searcher.name}, {_budget(plan.spec.budget)}, "
        f"over {plan.costs.network.size:,} architectures of {plan.spec.space.name}{designs}; {goals}",
        markup=False,
    )
    for note in notes:
        console.print(f"note: {note}", markup=False)


def _budget(budget: BudgetSpec) -> str:
    """`64 candidates or 15m`."""
    parts = [f"{budget.trials:,} candidates"] if budget.trials is not None else []
    return " or ".join([*parts, duration_text(budget.time_s)] if budget.time_s is not None else parts)
