"""Commands on a study that is there: its state, report, MLflow pages and networks."""

import json
import sys
from pathlib import Path

import click

from paretune.platform.cli.group import examples
from paretune.platform.cli.options import json_option, name_argument, optional_name_argument, storage_option
from paretune.platform.cli.studies import study_folder


@click.command(
    short_help="Show where a study is, or all studies.",
    epilog=examples("paretune status                 one line a study", "paretune status digits --json   everything, for scripts"),
)
@optional_name_argument
@storage_option
@json_option
def status(name: str | None, storage: Path, as_json: bool) -> None:
    """Show where a study is, or list all studies. Works while a study runs."""
    from paretune.platform.cli.show import show_studies, show_study

    if name is None:
        show_studies(storage, as_json=as_json)
    else:
        show_study(study_folder(name, storage), as_json=as_json)


@click.command(
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


@click.command(
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


@click.command(
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


@click.command(
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
