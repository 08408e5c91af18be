"""`paretune cluster`: check a cluster's file, start it, look at it, end it."""

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from paretune.core.errors import BadInput, SpecError
from paretune.platform.cli.group import examples
from paretune.platform.cli.options import json_option, overrides_of, set_option
from paretune.platform.cli.studies import STORAGE, study_folder

if TYPE_CHECKING:
    from paretune.platform.clusters.cost import CostEstimate
    from paretune.platform.clusters.load import LoadedCluster

file_argument = click.argument("file", type=click.Path(path_type=Path))
spec_option = click.option(
    "--spec", type=click.Path(path_type=Path), help="A study: does the cluster have what it needs, what does it cost?"
)
yes_option = click.option("-y", "--yes", is_flag=True, help="Do not ask.")


@click.group(
    short_help="Check, start and end a Ray cluster.",
    epilog=examples(
        "paretune cluster validate cluster.yaml --spec my-study.yaml    offline, every mistake at once",
        "paretune cluster up cluster.yaml                               'ray up' after our checks",
        "paretune cluster status cluster.yaml                           nodes, their resources and versions",
        "paretune cluster costs cluster.yaml digits                     node-hours of each candidate, after the search",
        "paretune cluster down cluster.yaml                             end all of it",
    ),
)
def cluster() -> None:
    """Check, start and end a Ray cluster that a file describes; see docs/clusters-deploy.md."""


@cluster.command(
    short_help="Check a cluster's file, offline.",
    epilog=examples(
        "paretune cluster validate cluster.yaml",
        "paretune cluster validate cluster.yaml --spec my-study.yaml --trial-time 3m",
    ),
)
@file_argument
@spec_option
@set_option
@click.option(
    "--trial-time",
    metavar="TIME",
    help="Time of one candidate, such as 90s or 3m, for the estimate; default: the spec's run.trial_timeout.",
)
@json_option
def validate(file: Path, spec: Path | None, overrides: tuple[str, ...], trial_time: str | None, as_json: bool) -> None:
    """Check the file of a cluster against Ray's schema, the provider's fields and our own rules; nothing is sent anywhere.

    With --spec also: does some node type have what each part of the study needs, and what will the search cost?
    """
    from paretune.platform.clusters.load import load_cluster

    if spec is None and (trial_time or overrides):
        raise BadInput("--trial-time and --set go with --spec")
    try:
        loaded = load_cluster(file)
        estimate = _for_study(loaded, spec, overrides, trial_time) if spec else None
    except SpecError as error:
        if not as_json:
            raise
        problems = [{"line": item.line, "column": item.column, "path": item.path, "message": item.message} for item in error.problems]
        click.echo(json.dumps({"ok": False, "file": error.file, "problems": problems}, indent=2))
        sys.exit(error.exit_code)
    if as_json:
        click.echo(json.dumps(_as_json(loaded, estimate), indent=2))
        return
    _show(loaded)
    if estimate is not None:
        _show_costs(estimate, measured=trial_time is not None)


@cluster.command(
    short_help="Start a cluster.",
    epilog=examples("paretune cluster up cluster.yaml", "paretune cluster up cluster.yaml --spec my-study.yaml --yes"),
)
@file_argument
@spec_option
@set_option
@yes_option
def up(file: Path, spec: Path | None, overrides: tuple[str, ...], yes: bool) -> None:
    """Start the cluster, or bring a running one level with its file: 'ray up' after our checks; static hosts then join.

    On a cluster that runs Ray is started anew: studies on it pause, and 'paretune submit SPEC --resume' goes on with them.

    Exit code 75: Ray's launcher or a host did not manage; try again.
    """
    from paretune.platform.clusters.launch import start
    from paretune.platform.clusters.load import load_cluster

    loaded = load_cluster(file)
    if spec is not None:
        _show_costs(_for_study(loaded, spec, overrides, None), measured=False)
    if not yes and not loaded.blockers:
        click.confirm(f"start cluster {loaded.cluster.name} ({loaded.cluster.provider})? Where it runs, studies on it pause", abort=True)
    start(loaded, lambda line: click.echo(line, err=True))


@cluster.command(
    short_help="End a cluster.", epilog=examples("paretune cluster down cluster.yaml", "paretune cluster down cluster.yaml --yes")
)
@file_argument
@yes_option
def down(file: Path, yes: bool) -> None:
    """End every machine of the cluster that Ray started; static hosts leave it. What lies on shared storage stays."""
    from paretune.platform.clusters.launch import end
    from paretune.platform.clusters.load import load_cluster

    loaded = load_cluster(file)
    if not yes:
        click.confirm(f"end all machines of cluster {loaded.cluster.name} ({loaded.cluster.provider})?", abort=True)
    end(loaded, lambda line: click.echo(line, err=True))


@cluster.command(
    short_help="Show the nodes of a cluster.",
    epilog=examples(
        "paretune cluster status cluster.yaml      through SSH, on its head",
        "paretune cluster status                   of the Ray cluster here",
    ),
)
@click.argument("file", type=click.Path(path_type=Path), required=False)
@click.option("--address", help="Of a running cluster, HOST:PORT; default: the one on this machine.")
@json_option
def status(file: Path | None, address: str | None, as_json: bool) -> None:
    """Show what nodes a cluster has, what each offers, and whether their versions and clocks fit together (else exit code 2)."""
    if file is not None:
        from paretune.platform.clusters.launch import look
        from paretune.platform.clusters.load import load_cluster

        if address is not None:
            raise BadInput("give FILE, whose head is asked through SSH, or --address, not both")
        told, exit_code = look(load_cluster(file), as_json=as_json)
        click.echo(told)
        sys.exit(exit_code)
    from paretune.platform.execution.cluster import ray_cluster
    from paretune.platform.execution.nodes import ask_nodes, refuse_differences

    with ray_cluster(address=address or "auto", num_cpus=0, insecure=True):
        nodes = ask_nodes()
    if as_json:
        click.echo(json.dumps([asdict(node) for node in nodes], indent=2))
    else:
        for node in nodes:
            offered = ", ".join(f"{name} {amount:g}" for name, amount in node.resources.items()) or "nothing"
            versions = ", ".join(f"{name} {node.versions[name]}" for name in ("paretune", "torch", "python"))
            click.echo(f"{node.address}: {offered}; {versions}")
    refuse_differences(nodes, submitter={}, folder=None)


@cluster.command(
    name="host-options",
    short_help="Print a static host's options of 'ray start'.",
    epilog=examples("paretune cluster host-options cluster.yaml", "paretune cluster host-options cluster.yaml --host 10.0.0.12"),
)
@file_argument
@click.option("--host", help="Address as in the file; default: this machine's.")
def host_options(file: Path, host: str | None) -> None:
    """Print the options with which this machine starts Ray, from what the file says of it under static_hosts; else exit code 2."""
    from paretune.platform.clusters.launch import options_of_this_host
    from paretune.platform.clusters.load import load_cluster

    click.echo(" ".join(options_of_this_host(load_cluster(file).cluster, host)))


@cluster.command(
    short_help="Tell what a study used of a cluster.",
    epilog=examples("paretune cluster costs cluster.yaml digits --storage /shared/runs"),
)
@file_argument
@click.argument("name")
@click.option(
    "--storage", default=STORAGE, show_default=True, envvar="PARETUNE_STORAGE", type=click.Path(path_type=Path), help="Folder of studies."
)
@json_option
def costs(file: Path, name: str, storage: Path, as_json: bool) -> None:
    """Tell the node-hours and the price of each candidate of a study, from its ledger and the prices in the file. Works while it runs.

    Machines that ran candidates count from their first one on, with the idle timeout at the end; the head and those of devices do not.
    """
    from paretune.platform.clusters.demands import settled, study_demands
    from paretune.platform.clusters.load import load_cluster
    from paretune.platform.clusters.usage import cluster_use
    from paretune.platform.study.api import recorded_spec
    from paretune.platform.study.plan import build_plan
    from paretune.platform.study.study import read_history

    history = read_history(study_folder(name, storage))
    found = load_cluster(file).cluster
    use = cluster_use(found, settled(found, study_demands(build_plan(recorded_spec(history.header)))), history.records.values())
    if as_json:
        click.echo(json.dumps({**asdict(use), "node_hours": use.node_hours, "cost": use.cost}, indent=2))
        return
    for host in use.hosts:
        share = host.busy_s / host.span_s if host.span_s else 1.0
        click.echo(f"{host.host}: {host.num_candidates} candidates in {host.span_s / 3600:.3f} h, busy {share:.0%}")
    if use.num_candidates:
        price = "" if use.cost is None else f", {use.cost:.2f} {found.currency}, {use.cost / use.num_candidates:.4f} a candidate"
        click.echo(f"{use.node_hours:.3f} node-hours, {use.node_hours / use.num_candidates:.5f} a candidate{price}")


def _for_study(loaded: "LoadedCluster", spec: Path, overrides: tuple[str, ...], trial_time: str | None) -> "CostEstimate | None":
    """Refuse a study that the cluster cannot run; its estimate, or None where nothing bounds the number of candidates."""
    from paretune.platform.clusters.cost import estimate_cost
    from paretune.platform.clusters.demands import refuse_unmet, settled, study_demands
    from paretune.platform.spec.nodes import Scalar
    from paretune.platform.spec.values import duration
    from paretune.platform.study.api import read_spec
    from paretune.platform.study.plan import build_plan

    study = read_spec(spec, overrides_of(overrides))
    plan = build_plan(study)
    demands = settled(loaded.cluster, study_demands(plan))
    refuse_unmet(loaded.cluster, demands, study)
    if plan.spec.budget.trials is None:
        return None
    trial_s = plan.spec.run.trial_timeout_s
    if trial_time is not None:
        try:
            trial_s = float(str(duration(Scalar(text=trial_time, quoted=False))))
        except ValueError as error:
            raise BadInput(f"--trial-time: {error}") from error
    return estimate_cost(loaded.cluster, demands, num_trials=plan.spec.budget.trials, trial_s=trial_s, workers=plan.spec.run.workers)


def _as_json(loaded: "LoadedCluster", costs: "CostEstimate | None") -> dict[str, object]:
    types = [
        {
            "name": item.name,
            "resources": dict(item.resources),
            "min": item.min_nodes,
            "max": item.max_nodes,
            "price_per_hour": item.price_per_hour,
        }
        for item in loaded.cluster.node_types
    ]
    return {
        "ok": True,
        "file": str(loaded.cluster.file),
        "node_types": types,
        "notes": loaded.notes,
        "to_do_before_start": loaded.blockers,
        "estimate": None if costs is None else {**asdict(costs), "total": costs.total},
    }


def _show(loaded: "LoadedCluster") -> None:
    found = loaded.cluster
    click.echo(f"{found.file}: cluster {found.name} on {found.provider} is in order")
    for item in found.node_types:
        count = "head" if item.is_head else f"{len(item.hosts)} static" if item.hosts else f"{item.min_nodes} to {item.max_nodes}"
        offered = ", ".join(f"{name} {amount:g}" for name, amount in item.resources.items()) or "what Ray finds"
        price = "" if item.price_per_hour is None else f"{item.price_per_hour:g} {found.currency}/h"
        click.echo(f"  {item.name:<12} {count:<10} {offered:<28} {price}".rstrip())
    for note in loaded.notes:
        click.echo(f"note: {note}")
    if loaded.blockers:
        click.echo("to do before it can start:")
        for line in loaded.blockers:
            click.echo(f"  {line}")


def _show_costs(costs: "CostEstimate | None", *, measured: bool) -> None:
    if costs is None:
        click.echo("no estimate: budget.trials is not given")
        return
    basis = "each" if measured else "each at the most (run.trial_timeout; --trial-time gives a better estimate)"
    click.echo(
        f"search: {costs.num_trials:,} candidates of {costs.trial_s:g} s {basis}, {costs.slots} at a time: {costs.wall_s / 3600:.2f} h"
    )
    for line in costs.lines:
        price = "no price" if line.cost is None else f"{line.cost:.2f} {costs.currency}"
        click.echo(f"  {line.node_type:<12} {line.nodes} nodes, {line.node_hours:.2f} node-hours: {price}")
    if costs.total is not None:
        each = costs.total / costs.num_trials
        click.echo(f"  together     {costs.total:.2f} {costs.currency}, {each:.4f} a candidate; the final training comes on top")
