"""Commands that deal with MLflow: its pages, its copy of a study, its model registry."""

import json
import sys
from pathlib import Path

import click

from paretune.platform.cli.group import examples
from paretune.platform.cli.options import json_option, name_argument, optional_name_argument, storage_option
from paretune.platform.cli.studies import study_folder


@click.command(
    short_help="Open the MLflow UI on a study.",
    epilog=examples(
        "paretune ui digits",
        "paretune ui digits --view charts              parallel coordinates and objectives of the front",
        "paretune ui digits --no-open --port 5000      print the address only",
    ),
)
@optional_name_argument
@storage_option
@click.option("--uri", help="MLflow store; default: the one of the study, or sqlite:///mlflow.db.")
@click.option(
    "--view",
    type=click.Choice(["compare", "front", "charts", "candidates"]),
    default="compare",
    show_default=True,
    help="The front side by side, as a table or as charts, or the table of all candidates.",
)
@click.option("--port", type=click.IntRange(1, 65535), help="Port on the loopback interface; default: a free one.")
@click.option("--open/--no-open", "open_browser", default=True, help="Open the page in a browser.")
def ui(name: str | None, storage: Path, uri: str | None, view: str, port: int | None, open_browser: bool) -> None:
    """Start the MLflow UI on this machine and open it on the study; Ctrl-C ends it."""
    from paretune.platform.cli.show import tracking_uri
    from paretune.platform.mirror.ui import serve_ui
    from paretune.platform.mirror.view import View

    folder = study_folder(name, storage) if name else None
    click.echo("starting the MLflow UI; Ctrl-C ends it", err=True)
    serve_ui(uri or tracking_uri(folder), folder, view=View(view), port=port, open_browser=open_browser)


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
    from paretune.platform.report import write_figures

    folder = study_folder(name, storage)
    write_figures(folder)
    state = sync_mirror(folder, uri or tracking_uri(folder), folder.name)
    click.echo(json.dumps(mirror_values(state)) if as_json else f"MLflow: {mirror_line(state)}")
    if state.waiting:
        sys.exit(75)


@click.command(
    short_help="Register one network in MLflow.",
    epilog=examples("paretune register digits --candidate 37", "paretune register digits --candidate 37 --name doorbell"),
)
@name_argument
@click.option("--candidate", required=True, type=click.IntRange(min=0), help="Number of the candidate, as in the report.")
@storage_option
@click.option("--name", "model", help="Name of the registered model; default: the study's.")
@click.option("--uri", help="MLflow store or server; default: the one of the study.")
@json_option
def register(name: str, candidate: int, storage: Path, model: str | None, uri: str | None, as_json: bool) -> None:
    """Put a retrained candidate into MLflow's model registry, as ONNX. Doing it again gives the version that is there."""
    from paretune.platform.cli.show import tracking_uri
    from paretune.platform.study.register import register_candidate

    folder = study_folder(name, storage)
    made = register_candidate(folder, candidate, tracking_uri=uri or tracking_uri(folder), name=model)
    values = {"name": made.name, "version": made.version, "uri": made.uri, "run_id": made.run_id, "new": made.is_new}
    click.echo(json.dumps(values) if as_json else f"{made.uri}{'' if made.is_new else ' (registered before)'}")
