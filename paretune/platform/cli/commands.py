"""The `paretune` command. Everything heavy is imported inside the commands, so that help is back at once."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from paretune import __version__
from paretune.core.errors import LedgerDamaged, ParetuneError, SpecError, StudyLocked
from paretune.platform.cli.cluster import cluster
from paretune.platform.cli.device import device
from paretune.platform.cli.group import EXIT_CODES, INTERRUPT_EXIT, ParetuneGroup, examples
from paretune.platform.cli.hardware import hardware
from paretune.platform.cli.jobs import logs, network_option, show_submitted, stop, submit
from paretune.platform.cli.measure import measure
from paretune.platform.cli.options import json_option, overrides_of, set_option, spec_argument
from paretune.platform.cli.studies import STORAGE, again, complete_study, free_name, refuse_taken_name, study_folder

if TYPE_CHECKING:
    from paretune.platform.record.repair import RepairReport
    from paretune.platform.study.progress import Progress
    from paretune.platform.study.study import StudyResult

OVERVIEW = examples(
    "paretune init > my-study.yaml              a commented spec to start from",
    "paretune validate my-study.yaml            every mistake at once, with its line",
    "paretune run my-study.yaml                 search, retrain the front, report",
    "paretune resume my-study                   go on after Ctrl-C, a crash or a reboot",
    "paretune ui my-study                       compare the candidates in MLflow",
)


@click.group(
    cls=ParetuneGroup,
    epilog=f"{OVERVIEW}\n\n{EXIT_CODES}",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
@click.version_option(__version__, prog_name="paretune")
def main() -> None:
    """Find networks that are accurate and fit the hardware they run on."""


for command in (cluster, device, hardware, logs, measure, stop, submit):
    main.add_command(command)

storage_option = click.option(
    "--storage",
    default=STORAGE,
    show_default=True,
    envvar="PARETUNE_STORAGE",
    show_envvar=True,
    type=click.Path(path_type=Path),
    help="Folder that holds the studies.",
)
address_option = click.option("--address", help="Ray cluster, HOST:PORT or 'auto'; default: a local Ray for this run.")
quiet_option = click.option("--quiet", is_flag=True, help="No progress display.")
name_argument = click.argument("name", shell_complete=complete_study)
optional_name_argument = click.argument("name", required=False, shell_complete=complete_study)


@main.command(
    short_help="Run a new study.",
    epilog=examples(
        "paretune run studies/digits.yaml",
        "paretune run studies/digits.yaml --name quick --set budget.trials=16",
        "paretune run studies/digits.yaml --address auto     on the Ray cluster here",
    ),
)
@spec_argument
@set_option
@click.option("--name", help="Name of the study instead of the one in the spec.")
@click.option("--rename", is_flag=True, help="Append -2, -3, ... where the name is taken.")
@address_option
@quiet_option
@json_option
def run(spec: Path, overrides: tuple[str, ...], name: str | None, rename: bool, address: str | None, quiet: bool, as_json: bool) -> None:
    """Run a new study: search, retrain the front with fresh seeds, test it once, write the report and the networks."""
    from paretune.platform.execution.cluster import check_address
    from paretune.platform.study.api import read_spec
    from paretune.platform.study.plan import build_plan
    from paretune.platform.study.study import SpecSource, create_study, run_study

    values = overrides_of(overrides)
    if name is not None:
        values["name"] = name
    loaded = read_spec(spec, values)
    if rename:
        values["name"] = free_name(Path(loaded.spec.storage), loaded.spec.name)
        loaded = read_spec(spec, values)
    refuse_taken_name(Path(loaded.spec.storage), loaded.spec.name)
    check_address(address)
    plan = build_plan(loaded)
    progress = _progress(quiet or as_json)
    progress.message(f"study {plan.spec.name}: {Path(plan.spec.storage) / plan.spec.name}")
    _show_notes(progress, (*loaded.notes, *plan.notes), values)
    folder = create_study(plan, SpecSource(text=loaded.text, overrides=values))
    _show_result(_run_or_say_how_to_resume(folder, lambda: run_study(folder, plan, address=address, progress=progress)), as_json)


@main.command(
    short_help="Go on with a study.",
    epilog=examples(
        "paretune resume digits",
        "paretune resume digits --set budget.trials=200      more candidates, also after the end",
        "paretune resume digits --spec studies/digits.yaml   with the edited file",
    ),
)
@name_argument
@storage_option
@click.option("--spec", type=click.Path(path_type=Path), help="The edited spec: budget, workers, final training and tracking may differ.")
@set_option
@click.option("--takeover", is_flag=True, help="Take the study from a process that still holds it (it hangs, or its host is gone).")
@click.option("--repair", is_flag=True, help="Keep the good part of a damaged ledger first; the damaged files are set aside.")
@address_option
@quiet_option
@json_option
def resume(
    name: str,
    storage: Path,
    spec: Path | None,
    overrides: tuple[str, ...],
    takeover: bool,
    repair: bool,
    address: str | None,
    quiet: bool,
    as_json: bool,
) -> None:
    """Go on with a study. Finished candidates are never trained again; interrupted ones go on from their last epoch."""
    from paretune.platform.execution.cluster import check_address
    from paretune.platform.record.ledger import repair as repair_ledger
    from paretune.platform.study.api import resume as resume_study

    folder = study_folder(name, storage)
    check_address(address)
    if repair:
        _show_repair(folder, repair_ledger(folder))
    progress = _progress(quiet or as_json)
    values = overrides_of(overrides)
    result = _run_or_say_how_to_resume(
        folder, lambda: resume_study(folder, spec=spec, overrides=values or None, address=address, takeover=takeover, progress=progress)
    )
    _show_result(result, as_json)


@main.command(
    short_help="Show where a study is, or all studies.",
    epilog=examples(
        "paretune status                 one line a study",
        "paretune status digits --json   everything, for scripts",
        "paretune status --address http://127.0.0.1:8265      studies that were submitted to a cluster",
    ),
)
@optional_name_argument
@storage_option
@click.option("--address", help="Job server of a cluster, HOST:PORT or URL: what was submitted there.")
@network_option
@json_option
def status(name: str | None, storage: Path, address: str | None, allow_network: bool, as_json: bool) -> None:
    """Show where a study is, or list all studies. Works while a study runs."""
    from paretune.platform.cli.show import show_studies, show_study

    if address is not None:
        show_submitted(name, address, allow_network=allow_network, as_json=as_json)
    elif name is None:
        show_studies(storage, as_json=as_json)
    else:
        show_study(study_folder(name, storage), as_json=as_json)


@main.command(
    short_help="Write the HTML report again.",
    epilog=examples("paretune report digits", "paretune report digits --compare digits-random"),
)
@name_argument
@storage_option
@click.option("--compare", multiple=True, metavar="NAME", help="Overlay another study of the same problem, e.g. a random search.")
def report(name: str, storage: Path, compare: tuple[str, ...]) -> None:
    """Write the HTML report of a study again and print its path. Works while the study runs."""
    from paretune.platform.report import write_report

    others = [study_folder(other, storage) for other in compare]
    click.echo(write_report(study_folder(name, storage), compare=others))


@main.command(
    short_help="Open the MLflow UI on a study.",
    epilog=examples("paretune ui digits", "paretune ui digits --no-open --port 5000      print the address only"),
)
@optional_name_argument
@storage_option
@click.option("--uri", help="MLflow store; default: the one of the study, or sqlite:///mlflow.db.")
@click.option("--port", type=click.IntRange(1, 65535), help="Port on the loopback interface; default: a free one.")
@click.option("--open/--no-open", "open_browser", default=True, help="Open the page in a browser.")
def ui(name: str | None, storage: Path, uri: str | None, port: int | None, open_browser: bool) -> None:
    """Start the MLflow UI on this machine and open it on the study; Ctrl-C ends it."""
    from paretune.platform.cli.show import tracking_uri
    from paretune.platform.mirror.ui import serve_ui

    folder = study_folder(name, storage) if name else None
    click.echo("starting the MLflow UI; Ctrl-C ends it", err=True)
    serve_ui(uri or tracking_uri(folder), folder, port=port, open_browser=open_browser)


@main.command(
    short_help="Bring MLflow level with a study.",
    epilog=examples("paretune sync digits", "paretune sync digits --uri http://127.0.0.1:5000"),
)
@name_argument
@storage_option
@click.option("--uri", help="MLflow store or server; default: the one of the study.")
@json_option
def sync(name: str, storage: Path, uri: str | None, as_json: bool) -> None:
    """Bring MLflow level with a study's ledger, after the tracking server was away. Exit code 75: something still waits."""
    from paretune.platform.cli.show import mirror_line, mirror_values, tracking_uri
    from paretune.platform.mirror import sync as sync_mirror

    folder = study_folder(name, storage)
    state = sync_mirror(folder, uri or tracking_uri(folder), folder.name)
    click.echo(json.dumps(mirror_values(state)) if as_json else f"MLflow: {mirror_line(state)}")
    if state.waiting:
        sys.exit(75)


@main.command(
    name="list",
    short_help="List what a spec may name.",
    epilog=examples("paretune list searchers", "paretune list targets", "paretune list spaces --json"),
)
@click.argument("what", type=click.Choice(["spaces", "searchers", "hardware", "targets", "tasks", "derived", "predictors"]))
@json_option
def list_plugins(what: str, as_json: bool) -> None:
    """List what a spec may name, with the options of each."""
    from paretune.platform.cli.show import show_plugins, show_targets

    if what == "targets":
        show_targets(as_json=as_json)
    else:
        show_plugins(what, as_json=as_json)


@main.command(
    short_help="Check a spec without running it.",
    epilog=examples("paretune validate my-study.yaml", "paretune validate my-study.yaml --set budget.trials=8 --json"),
)
@spec_argument
@set_option
@json_option
def validate(spec: Path, overrides: tuple[str, ...], as_json: bool) -> None:
    """Check a spec without running it: every mistake at once, as FILE:LINE:COL: field: message."""
    from paretune.platform.cli.show import show_plan
    from paretune.platform.study.api import read_spec
    from paretune.platform.study.plan import build_plan

    try:
        loaded = read_spec(spec, overrides_of(overrides))
        plan = build_plan(loaded, thorough=True)
    except SpecError as error:
        if not as_json:
            raise
        problems = [{"line": item.line, "column": item.column, "path": item.path, "message": item.message} for item in error.problems]
        click.echo(json.dumps({"ok": False, "file": error.file, "problems": problems}, indent=2))
        sys.exit(error.exit_code)
    show_plan(loaded, plan, as_json=as_json)


@main.command(short_help="Print a commented spec to start from.", epilog=examples("paretune init > my-study.yaml"))
def init() -> None:
    """Print a commented spec to start from."""
    from paretune.platform.spec.template import template

    click.echo(template(), nl=False)


@main.command(
    short_help="Write one network as files.",
    epilog=examples("paretune export digits --candidate 37", "paretune export digits --candidate 37 --to networks/best"),
)
@name_argument
@click.option("--candidate", required=True, type=click.IntRange(min=0), help="Number of the candidate, as in the report.")
@storage_option
@click.option("--to", "target", type=click.Path(path_type=Path), help="Folder to write to; default: NAME-candidate-N.")
@json_option
def export(name: str, candidate: int, storage: Path, target: Path | None, as_json: bool) -> None:
    """Write a candidate as ONNX, safetensors and JSON. One that was not retrained yet is trained now by the final protocol."""
    from paretune.platform.study.export import export_candidate

    folder = study_folder(name, storage)
    written = export_candidate(
        folder, candidate, target or Path(f"{folder.name}-candidate-{candidate}"), announce=lambda text: click.echo(text, err=True)
    )
    click.echo(json.dumps({"folder": str(written), "files": sorted(item.name for item in written.iterdir())}) if as_json else written)


@main.command(
    short_help="Print shell completion.",
    epilog=examples("source <(paretune completion bash)", "paretune completion fish > ~/.config/fish/completions/paretune.fish"),
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print what makes a shell complete commands, options and studies."""
    from click.shell_completion import get_completion_class

    found = get_completion_class(shell)
    assert found is not None
    click.echo(found(main, {}, "paretune", "_PARETUNE_COMPLETE").source())


def _show_repair(folder: Path, report: "RepairReport") -> None:
    if not report.reason:
        click.echo("repair: the ledger has no damage; nothing was changed", err=True)
        return
    moved = ", ".join(path.name for path in report.moved)
    click.echo(f"repair: {report.reason}; kept {report.kept:,} events before the damage, moved aside: {moved}", err=True)
    if not report.kept:
        raise LedgerDamaged(
            f"nothing of the ledger of study '{folder.name}' could be kept, so it cannot go on. The results of its candidates lie in "
            f"{folder / 'results'}. Run the same spec under another name"
        )


def _progress(quiet: bool) -> "Progress":
    from paretune.platform.study.progress import Progress

    return Progress(quiet=quiet)


def _show_notes(progress: "Progress", notes: tuple[str, ...], overrides: dict[str, object]) -> None:
    """What the user should know; not that a field is overridden, which is what the user just asked for."""
    for note in notes:
        if not any(note.startswith(f"{path} is overridden") for path in overrides):
            progress.message(f"note: {note}")


def _run_or_say_how_to_resume(folder: Path, action: "Callable[[], StudyResult]") -> "StudyResult":
    from paretune.platform.execution.stop import Interrupted

    command = f"paretune resume {again(folder)}"
    try:
        return action()
    except (Interrupted, KeyboardInterrupt) as error:
        reason = str(error) or "stopped by Ctrl-C"
        click.echo(f"paretune: {reason}. Nothing is lost. Go on with: {command}", err=True)
        sys.exit(error.exit_code if isinstance(error, Interrupted) else INTERRUPT_EXIT)
    except (StudyLocked, LedgerDamaged):
        raise  # they say what to do
    except ParetuneError as error:
        if error.exit_code not in (1, 74, 75) or not (folder / "ledger.db").exists():
            raise
        click.echo(f"paretune: {error}", err=True)
        click.echo(f"Go on with: {command}", err=True)
        sys.exit(error.exit_code)


def _show_result(result: "StudyResult", as_json: bool) -> None:
    from paretune.platform.cli.show import show_result

    show_result(result, as_json=as_json)
