"""Commands on a study that is there: its state, report and networks."""

import json
from pathlib import Path

import click

from paretune.platform.cli.group import examples
from paretune.platform.cli.jobs import network_option, show_submitted
from paretune.platform.cli.options import insecure_option, json_option, name_argument, optional_name_argument, storage_option
from paretune.platform.cli.studies import study_folder


@click.command(
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
@insecure_option
@json_option
def status(name: str | None, storage: Path, address: str | None, allow_network: bool, insecure: bool, as_json: bool) -> None:
    """Show where a study is, or list all studies. Works while a study runs."""
    from paretune.platform.cli.show import show_studies, show_study

    if address is not None:
        show_submitted(name, address, allow_network=allow_network, insecure=insecure, as_json=as_json)
    elif name is None:
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
