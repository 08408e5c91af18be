"""What the commands print: studies, plans, plugins, results; for people or as JSON."""

import json
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from paretune.core.metrics import readable
from paretune.core.registry import Registry
from paretune.hardware import HARDWARE
from paretune.platform.mirror import MirrorState
from paretune.platform.record.history import History
from paretune.platform.record.summary import final_spreads, status, summary_json
from paretune.platform.spec.load import LoadedSpec
from paretune.platform.spec.model import DEFAULT_TRACKING_URI
from paretune.platform.study.api import recorded_spec
from paretune.platform.study.plan import Plan
from paretune.platform.study.study import StudyResult, read_history
from paretune.searchers import SEARCHERS
from paretune.spaces import SPACES
from paretune.tasks import TASKS

console = Console(highlight=False, soft_wrap=True)

PLUGINS: dict[str, Registry] = {"spaces": SPACES, "searchers": SEARCHERS, "hardware": HARDWARE, "tasks": TASKS}


def print_json(value: Any) -> None:
    """JSON for scripts."""
    console.print(json.dumps(value, indent=2, default=str), markup=False)


def tracking_uri(folder: Path | None) -> str:
    """Where a study's MLflow runs are."""
    if folder is None:
        return DEFAULT_TRACKING_URI
    return recorded_spec(read_history(folder).header).spec.tracking.uri or DEFAULT_TRACKING_URI


def show_studies(storage: Path, *, as_json: bool) -> None:
    """One line a study."""
    folders = sorted(path.parent for path in storage.glob("*/ledger.db")) if storage.is_dir() else []
    histories = [(folder, read_history(folder)) for folder in folders]
    if as_json:
        print_json([_brief(folder, history) for folder, history in histories])
        return
    if not histories:
        console.print(f"no studies in {storage}. Start one: paretune run studies/digits.yaml")
        return
    table = Table("study", "status", "candidates", "front", "folder", box=None, pad_edge=False)
    for folder, history in histories:
        brief = _brief(folder, history)
        table.add_row(history.header.name, brief["status"], str(brief["finished"]), str(brief["front"]), str(folder))
    console.print(table)


def _brief(folder: Path, history: History) -> dict[str, Any]:
    return {
        "name": history.header.name,
        "folder": str(folder),
        "status": status(history),
        "finished": len(history.arrivals()),
        "front": len(history.archive),
    }


def show_study(folder: Path, *, as_json: bool) -> None:
    """Where one study is."""
    history = read_history(folder)
    if as_json:
        print_json(summary_json(history))
        return
    counts = summary_json(history)["counts"]
    outcomes = ", ".join(f"{number} {name}" for name, number in counts["outcomes"].items()) or "none finished"
    console.print(f"study {history.header.name} ({folder}): {status(history)}")
    for phase, reason in history.phases.items():
        console.print(f"  {phase}: {reason}")
    console.print(f"  candidates: {outcomes}; {counts['pending']} pending, {counts['screened']} screened out by free costs")
    show_front(history)
    if status(history) != "finished":
        console.print(f"Go on with: paretune resume {_again(folder)}")


def show_front(history: History) -> None:
    """The front as a table, with what the final training made of it."""
    if len(history.archive) == 0:
        console.print("  no feasible candidate yet")
        return
    reference = ", ".join(f"{item.metric} {readable(item.metric, item.reference)}" for item in history.problem.objectives)
    volume = history.archive.hypervolume(history.problem.reference)
    console.print(f"  hypervolume {volume:.6g} against the reference point {reference}")
    finals = {index: final_spreads(group) for index, group in history.finals().items()}
    metrics = list(history.problem.metrics)
    tested = sorted({name for spreads in finals.values() for name in spreads if name.startswith("test.")})
    table = Table("candidate", *metrics, *(f"{name} (retrained)" for name in tested), box=None, pad_edge=False)
    for record in history.front():
        spreads = finals.get(record.job.ask_index, {})
        retrained = [
            f"{readable(name, spreads[name].mean)} ± {readable(name, spreads[name].std or 0.0)}" if name in spreads else ""
            for name in tested
        ]
        table.add_row(str(record.job.ask_index), *(readable(name, record.metrics[name]) for name in metrics), *retrained)
    console.print(table)


def show_result(result: StudyResult, *, as_json: bool) -> None:
    """What a study gave and what to do next."""
    history, folder = result.history, result.folder
    mirror = None if result.mirror is None else mirror_line(result.mirror, folder)
    if as_json:
        networks = [str(path) for path in result.networks]
        print_json({**summary_json(history), "folder": str(folder), "report": str(result.report), "networks": networks, "mlflow": mirror})
        return
    console.print(f"\nstudy {history.header.name}: {history.phases.get('search', 'search not ended')}")
    show_front(history)
    if mirror:
        console.print(f"MLflow: {mirror}")
    console.print("\nNext:")
    console.print(f"  report           open {result.report}")
    if result.networks:
        console.print(f"  networks         {folder / 'networks'}  (ONNX, safetensors; best: {result.networks[0].name})")
    console.print(f"  compare runs     paretune ui {_again(folder)}")
    console.print(f"  search further   paretune resume {_again(folder)} --set budget.trials={2 * max(len(history.arrivals()), 1)}")


def mirror_line(state: MirrorState, folder: Path | None = None) -> str:
    """How far MLflow is, in one line."""
    if not state.waiting:
        return f"{state.mirrored:,} runs, level with the ledger"
    later = f"; later: paretune sync {_again(folder)}" if folder else ""
    return f"{state.mirrored:,} runs, {state.waiting:,} wait ({state.message or 'not done yet'}){later}"


def _again(folder: Path) -> str:
    return folder.name if folder.parent == Path("runs") else f"{folder.name} --storage {folder.parent}"


def show_plugins(what: str, *, as_json: bool) -> None:
    """Registered plugins of one kind with their options."""
    registry = PLUGINS[what]
    entries = [
        {
            "name": name,
            "description": registry.describe(name),
            "options": [
                {
                    "name": option.name,
                    "type": _type(option.annotation),
                    "default": None if option.required else option.default,
                    "required": option.required,
                }
                for option in registry.options(name)
            ],
        }
        for name in registry.names()
    ]
    if as_json:
        print_json(entries)
        return
    for entry in entries:
        console.print(f"[bold]{entry['name']}[/bold]  {entry['description']}")
        for option in entry["options"]:
            default = "required" if option["required"] else f"default {option['default']!r}"
            console.print(f"    {option['name']}: {option['type']}, {default}", markup=False)


def _type(annotation: Any) -> str:
    return getattr(annotation, "__name__", str(annotation)) if isinstance(annotation, type) else str(annotation).replace("typing.", "")


def show_plan(loaded: LoadedSpec, plan: Plan, *, as_json: bool) -> None:
    """What a valid spec would run."""
    notes = [*loaded.notes, *plan.notes]
    facts = {
        "name": plan.spec.name,
        "space": plan.spec.space.name,
        "architectures": plan.space.size,
        "objectives": [f"{item.metric} {item.direction.value}" for item in plan.problem.objectives],
        "searcher": plan.spec.searcher.name,
        "trials": plan.spec.budget.trials,
        "time_s": plan.spec.budget.time_s,
    }
    if as_json:
        print_json({"ok": True, "file": loaded.file, "notes": notes, **facts})
        return
    console.print(
        f"{loaded.file}: ok. Study '{facts['name']}': {facts['searcher']} over {facts['architectures']:,} architectures of "
        f"{facts['space']}; {' and '.join(facts['objectives'])}"
    )
    for note in notes:
        console.print(f"note: {note}", markup=False)
