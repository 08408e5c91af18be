"""`paretune submit`, `logs`, `stop`: studies that run on a cluster, through Ray's job server."""

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from paretune.platform.cli.group import FAILED_EXIT, INTERRUPT_EXIT, examples
from paretune.platform.cli.options import insecure_option, json_option, overrides_of, set_option, spec_argument

if TYPE_CHECKING:
    from paretune.platform.clusters.jobs import JobServer, Submission


job_address_option = click.option(
    "--address",
    envvar="PARETUNE_ADDRESS",
    show_envvar=True,
    help="Job server of the cluster, HOST:PORT or URL; default: http://127.0.0.1:8265, where 'ray dashboard FILE' ends its tunnel.",
)
network_option = click.option("--allow-network", is_flag=True, help="Connect to another machine without a tunnel; nothing is encrypted.")


@click.command(
    short_help="Send a study to a cluster.",
    epilog=examples(
        "paretune submit my-study.yaml --set storage=/shared/runs",
        "paretune submit my-study.yaml --set storage=/shared/runs --wait      show what it prints until it ends",
        "paretune submit my-study.yaml --set storage=/shared/runs --resume    go on with it",
    ),
)
@spec_argument
@set_option
@job_address_option
@network_option
@insecure_option
@click.option("--resume", is_flag=True, help="Go on with the study that lies in the storage, for example on a new head.")
@click.option("--wait", is_flag=True, help="Show what the study prints and end as it ends; Ctrl-C leaves it running.")
@click.option("--ship-code", is_flag=True, help="Send this machine's paretune along instead of using the one installed on the nodes.")
@click.option(
    "--working-dir", type=click.Path(path_type=Path, exists=True, file_okay=False), help="Folder to send along; it holds the spec."
)
@click.option("--no-check", is_flag=True, help="Leave to the cluster what needs its files, such as data sets that are not here.")
@json_option
def submit(
    spec: Path,
    overrides: tuple[str, ...],
    address: str | None,
    allow_network: bool,
    insecure: bool,
    resume: bool,
    wait: bool,
    ship_code: bool,
    working_dir: Path | None,
    no_check: bool,
    as_json: bool,
) -> None:
    """Send a study to the job server of a Ray cluster. It runs on the head: this machine may be switched off meanwhile.

    The storage must be a folder that every node shares. Exit code 75: the study is there already, or the cluster did not answer.
    """
    from paretune.platform.clusters.jobs import JobServer
    from paretune.platform.clusters.order import Order
    from paretune.platform.study.api import read_spec
    from paretune.platform.study.plan import build_plan

    values = overrides_of(overrides)
    loaded = read_spec(spec, values)
    if not no_check:
        build_plan(loaded)
    if "seed" not in values:
        values = {**values, "seed": loaded.spec.seed} if not resume else values
    order = Order(
        loaded=loaded, spec_file=spec, overrides=values, resume=resume, working_dir=working_dir, ship_code=ship_code, insecure=insecure
    )
    server = JobServer(address, allow_network=allow_network, insecure=insecure)
    submission = server.submit(order)
    if as_json:
        click.echo(json.dumps(asdict(submission)))
    else:
        click.echo(f"study {submission.study} is on {server.shown} as {submission.id}; this machine is no longer needed")
        click.echo(f"follow: paretune logs {submission.study} --follow    stop: paretune stop {submission.study}")
    if wait:
        _end_like(_followed(server, submission))


@click.command(
    short_help="Show what a submitted study prints.",
    epilog=examples("paretune logs digits", "paretune logs digits --follow     until it ends; Ctrl-C leaves the study running"),
)
@click.argument("name")
@job_address_option
@network_option
@insecure_option
@click.option("-f", "--follow", is_flag=True, help="Go on until the study ends, and end as it ends.")
def logs(name: str, address: str | None, allow_network: bool, insecure: bool, follow: bool) -> None:
    """Show what the newest run of a submitted study printed."""
    from paretune.platform.clusters.jobs import JobServer

    server = JobServer(address, allow_network=allow_network, insecure=insecure)
    submission = server.latest(name)
    if follow:
        _end_like(_followed(server, submission))
    click.echo(server.logs(submission), nl=False)


@click.command(short_help="Stop a submitted study.", epilog=examples("paretune stop digits     'paretune submit SPEC --resume' goes on"))
@click.argument("name")
@job_address_option
@network_option
@insecure_option
@json_option
def stop(name: str, address: str | None, allow_network: bool, insecure: bool, as_json: bool) -> None:
    """Stop the newest run of a submitted study. Nothing is lost: 'paretune submit SPEC --resume' goes on."""
    from paretune.platform.clusters.jobs import JobServer

    server = JobServer(address, allow_network=allow_network, insecure=insecure)
    submission = server.latest(name)
    ended = server.stop(submission) if submission.is_alive else submission
    if as_json:
        click.echo(json.dumps(asdict(ended)))
    elif submission.is_alive:
        click.echo(f"study {name} is stopped; go on: paretune submit SPEC --resume")
    else:
        click.echo(f"study {name} does not run: {ended.state.lower()}")


def show_submitted(name: str | None, address: str, *, allow_network: bool, insecure: bool, as_json: bool) -> None:
    """`paretune status --address`: studies on a cluster."""
    from paretune.platform.clusters.jobs import JobServer

    server = JobServer(address, allow_network=allow_network, insecure=insecure)
    found = server.submissions() if name is None else [server.latest(name)]
    if as_json:
        click.echo(json.dumps([asdict(item) for item in found], indent=2))
        return
    if not found:
        click.echo(f"no studies were submitted to {server.shown}")
    for item in found:
        code = f", exit code {item.exit_code}" if item.exit_code else ""
        click.echo(f"{item.study}: {item.state.lower()}{code}  ({item.id}, {item.storage})")


def _followed(server: "JobServer", submission: "Submission") -> "Submission":
    try:
        return server.follow(submission, lambda lines: click.echo(lines, nl=False))
    except KeyboardInterrupt:
        click.echo(f"paretune: the study goes on; look again: paretune logs {submission.study} --follow", err=True)
        sys.exit(INTERRUPT_EXIT)


def _end_like(ended: "Submission") -> None:
    """Exit as the study's driver did."""
    if ended.state != "SUCCEEDED":
        click.echo(f"paretune: study {ended.study} {ended.state.lower()}: {ended.message}", err=True)
        sys.exit(ended.exit_code or FAILED_EXIT)
    sys.exit(0)
