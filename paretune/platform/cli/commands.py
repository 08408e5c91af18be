"""The `paretune` command. Everything heavy is imported inside the commands, so that help is back at once."""

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from paretune.core.errors import BadInput, ParetuneError, SpecError

if TYPE_CHECKING:
    from paretune.platform.study.progress import Progress
    from paretune.platform.study.study import StudyResult

EXIT_CODES = """
\b
Exit codes:
  0    done
  1    the search failed (nothing meets the limits, or most candidates fail)
  2    bad input: a spec, name or option; the message says what to mend
  74   the disk or shared storage failed; nothing acknowledged is lost
  75   temporary: the study is being run, or the Ray cluster went away; try again
  130  stopped by Ctrl-C (129 hang-up, 143 SIGTERM); 'paretune resume NAME' goes on
"""

SPEC_PROBLEMS_SHOWN = 20


class ParetuneGroup(click.Group):
    """Turns paretune's errors into one clear message and an exit code; a traceback is a bug."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command."""
        try:
            return super().invoke(ctx)
        except ParetuneError as error:
            _fail(error)
        except KeyboardInterrupt:
            click.echo("paretune: stopped. Nothing is lost: 'paretune status' shows what can be resumed", err=True)
            sys.exit(130)
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # whoever read our output left
            sys.exit(0)


def _fail(error: ParetuneError) -> NoReturn:
    if isinstance(error, SpecError):
        for problem in error.problems[:SPEC_PROBLEMS_SHOWN]:
            click.echo(problem.render(error.file), err=True)
        if len(error.problems) > SPEC_PROBLEMS_SHOWN:
            click.echo(f"... and {len(error.problems) - SPEC_PROBLEMS_SHOWN} more", err=True)
    else:
        click.echo(f"paretune: {error}", err=True)
    sys.exit(error.exit_code)


@click.group(cls=ParetuneGroup, epilog=EXIT_CODES, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="paretune")
def main() -> None:
    """Find networks that are accurate and fit the hardware they run on.

    \b
    Examples:
      paretune init > my-study.yaml              a commented spec to start from
      paretune validate my-study.yaml            every mistake at once, with its line
      paretune run my-study.yaml                 search, retrain the front, report
      paretune resume my-study                   go on after Ctrl-C, a crash or a reboot
      paretune ui my-study                       compare the candidates in MLflow
    """  # noqa: D301 - click reads the backspace character


storage_option = click.option(
    "--storage",
    default="runs",
    show_default=True,
    envvar="PARETUNE_STORAGE",
    type=click.Path(path_type=Path),
    help="Folder that holds the studies.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON for scripts.")
address_option = click.option("--address", help="Ray cluster, HOST:PORT or 'auto'; default: a local Ray for this run.")
set_option = click.option(
    "--set", "overrides", multiple=True, metavar="PATH=VALUE", help="Replace a field of the spec, e.g. budget.trials=8."
)
quiet_option = click.option("--quiet", is_flag=True, help="No progress display.")
spec_argument = click.argument("spec", type=click.Path(path_type=Path))


@main.command()
@spec_argument
@set_option
@click.option("--name", help="Name of the study instead of the one in the spec.")
@click.option("--rename", is_flag=True, help="Append -2, -3, ... where the name is taken.")
@address_option
@quiet_option
@json_option
def run(spec: Path, overrides: tuple[str, ...], name: str | None, rename: bool, address: str | None, quiet: bool, as_json: bool) -> None:
    """Run a new study: search, retrain the front with fresh seeds, test it once, write the report and the networks.

    \b
    Examples:
      paretune run studies/digits.yaml
      paretune run studies/digits.yaml --name quick --set budget.trials=8 --set final.seeds=1
      paretune run studies/digits.yaml --address auto       on the Ray cluster of this machine
    """  # noqa: D301 - click reads the backspace character
    from paretune.platform.study.api import read_spec
    from paretune.platform.study.plan import build_plan
    from paretune.platform.study.study import SpecSource, create_study, run_study

    values = _overrides(overrides)
    if name is not None:
        values["name"] = name
    loaded = read_spec(spec, values)
    if rename:
        values["name"] = _free_name(Path(loaded.spec.storage), loaded.spec.name)
        loaded = read_spec(spec, values)
    _refuse_taken_name(Path(loaded.spec.storage), loaded.spec.name)
    plan = build_plan(loaded)
    progress = _progress(quiet or as_json)
    for note in (*loaded.notes, *plan.notes):
        progress.message(f"note: {note}")
    folder = create_study(plan, SpecSource(text=loaded.text, overrides=values))
    _show_result(_run_or_say_how_to_resume(folder, lambda: run_study(folder, plan, address=address, progress=progress)), as_json)


@main.command()
@click.argument("name")
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
    """Go on with a study. Finished candidates are never trained again; interrupted ones go on from their last epoch.

    \b
    Examples:
      paretune resume digits
      paretune resume digits --set budget.trials=200        more candidates, also after the end
    """  # noqa: D301 - click reads the backspace character
    from paretune.platform.record.ledger import repair as repair_ledger
    from paretune.platform.study.api import resume as resume_study

    folder = _study_folder(name, storage)
    if repair:
        click.echo(f"repair: {repair_ledger(folder)}", err=True)
    progress = _progress(quiet or as_json)
    values = _overrides(overrides)
    result = _run_or_say_how_to_resume(
        folder, lambda: resume_study(folder, spec=spec, overrides=values or None, address=address, takeover=takeover, progress=progress)
    )
    _show_result(result, as_json)


@main.command()
@click.argument("name", required=False)
@storage_option
@json_option
def status(name: str | None, storage: Path, as_json: bool) -> None:
    """Show where a study is, or list all studies. Works while a study runs."""
    from paretune.platform.cli.show import show_studies, show_study

    if name is None:
        show_studies(storage, as_json=as_json)
    else:
        show_study(_study_folder(name, storage), as_json=as_json)


@main.command()
@click.argument("name")
@storage_option
@click.option("--compare", multiple=True, metavar="NAME", help="Overlay another study of the same problem, e.g. a random search.")
def report(name: str, storage: Path, compare: tuple[str, ...]) -> None:
    """Write the HTML report of a study again and print its path. Works while the study runs."""
    from paretune.platform.report import write_report

    others = [_study_folder(other, storage) for other in compare]
    click.echo(write_report(_study_folder(name, storage), compare=others))


@main.command()
@click.argument("name", required=False)
@storage_option
@click.option("--uri", help="MLflow store; default: the one of the study, or sqlite:///mlflow.db.")
@click.option("--port", type=click.IntRange(1, 65535), help="Port on the loopback interface; default: a free one.")
@click.option("--open/--no-open", "open_browser", default=True, help="Open the page in a browser.")
def ui(name: str | None, storage: Path, uri: str | None, port: int | None, open_browser: bool) -> None:
    """Start the MLflow UI on this machine and open it on the study; Ctrl-C ends it."""
    from paretune.platform.cli.show import tracking_uri
    from paretune.platform.mirror.ui import serve_ui

    folder = _study_folder(name, storage) if name else None
    serve_ui(uri or tracking_uri(folder), folder, port=port, open_browser=open_browser)


@main.command()
@click.argument("name")
@storage_option
def sync(name: str, storage: Path) -> None:
    """Bring MLflow level with a study's ledger, after the tracking server was away."""
    from paretune.platform.cli.show import mirror_line, tracking_uri
    from paretune.platform.mirror import sync as sync_mirror

    folder = _study_folder(name, storage)
    state = sync_mirror(folder, tracking_uri(folder), folder.name)
    click.echo(mirror_line(state))
    if state.waiting:
        sys.exit(75)


@main.command(name="list")
@click.argument("what", type=click.Choice(["spaces", "searchers", "hardware", "tasks"]))
@json_option
def list_plugins(what: str, as_json: bool) -> None:
    """List what a spec may name, with the options of each."""
    from paretune.platform.cli.show import show_plugins

    show_plugins(what, as_json=as_json)


@main.command()
@spec_argument
@set_option
@json_option
def validate(spec: Path, overrides: tuple[str, ...], as_json: bool) -> None:
    """Check a spec without running it: every mistake at once, as FILE:LINE:COL: field: message."""
    from paretune.platform.cli.show import show_plan
    from paretune.platform.study.api import read_spec
    from paretune.platform.study.plan import build_plan

    try:
        loaded = read_spec(spec, _overrides(overrides))
        plan = build_plan(loaded, thorough=True)
    except SpecError as error:
        if not as_json:
            raise
        problems = [{"line": item.line, "column": item.column, "path": item.path, "message": item.message} for item in error.problems]
        click.echo(json.dumps({"ok": False, "file": error.file, "problems": problems}, indent=2))
        sys.exit(error.exit_code)
    show_plan(loaded, plan, as_json=as_json)


@main.command()
def init() -> None:
    """Print a commented spec to start from: paretune init > my-study.yaml."""
    from paretune.platform.spec.template import template

    click.echo(template(), nl=False)


@main.command()
@click.argument("name")
@click.option("--candidate", required=True, type=click.IntRange(min=0), help="Number of the candidate, as in the report.")
@storage_option
@click.option("--to", "target", type=click.Path(path_type=Path), help="Folder to write to; default: NAME-candidate-N.")
@json_option
def export(name: str, candidate: int, storage: Path, target: Path | None, as_json: bool) -> None:
    """Write a candidate as ONNX, safetensors and JSON. One that was not retrained yet is trained now by the final protocol."""
    from paretune.platform.study.export import export_candidate

    folder = _study_folder(name, storage)
    written = export_candidate(folder, candidate, target or Path(f"{folder.name}-candidate-{candidate}"))
    click.echo(json.dumps({"folder": str(written), "files": sorted(item.name for item in written.iterdir())}) if as_json else written)


@main.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print shell completion: source <(paretune completion bash)."""
    from click.shell_completion import get_completion_class

    found = get_completion_class(shell)
    assert found is not None
    click.echo(found(main, {}, "paretune", "_PARETUNE_COMPLETE").source())


def _overrides(pairs: tuple[str, ...]) -> dict[str, object]:
    values: dict[str, object] = {}
    for pair in pairs:
        path, equals, value = pair.partition("=")
        if not equals or not path:
            raise BadInput(f"--set {pair}: expected PATH=VALUE, for example --set budget.trials=8")
        values[path.strip()] = value
    return values


def _progress(quiet: bool) -> "Progress":
    from paretune.platform.study.progress import Progress

    return Progress(quiet=quiet)


def _free_name(storage: Path, name: str) -> str:
    taken = {path.name for path in storage.iterdir()} if storage.is_dir() else set()
    numbered = (f"{name}-{number}" for number in range(2, len(taken) + 3))
    return next(candidate for candidate in (name, *numbered) if candidate not in taken)


def _refuse_taken_name(storage: Path, name: str) -> None:
    if (storage / name / "ledger.db").exists():
        again = "" if storage == Path("runs") else f" --storage {storage}"
        raise BadInput(
            f"study '{name}' exists in {storage / name}. Go on with it: paretune resume {name}{again}. "
            f"Start another: --name {_free_name(storage, name)}"
        )


def _study_folder(name: str, storage: Path) -> Path:
    """A study by name or by folder."""
    from paretune.core.errors import UnknownName

    for folder in (storage / name, Path(name)):
        if (folder / "ledger.db").is_file():
            return folder
    known = sorted(path.parent.name for path in storage.glob("*/ledger.db")) if storage.is_dir() else []
    raise UnknownName(f"study in {storage}", name, known)


def _run_or_say_how_to_resume(folder: Path, action: Any) -> "StudyResult":
    from paretune.platform.execution.stop import Interrupted

    again = f"paretune resume {folder.name}" + ("" if folder.parent == Path("runs") else f" --storage {folder.parent}")
    try:
        result: StudyResult = action()
    except (Interrupted, KeyboardInterrupt) as error:
        reason = str(error) or "stopped by Ctrl-C"
        click.echo(f"paretune: {reason}. Nothing is lost. Go on with: {again}", err=True)
        sys.exit(error.exit_code if isinstance(error, Interrupted) else 130)
    except ParetuneError as error:
        if error.exit_code in (1, 74, 75) and (folder / "ledger.db").exists():
            click.echo(f"paretune: {error}", err=True)
            click.echo(f"Go on with: {again}", err=True)
            sys.exit(error.exit_code)
        raise
    return result


def _show_result(result: "StudyResult", as_json: bool) -> None:
    from paretune.platform.cli.show import show_result

    show_result(result, as_json=as_json)
