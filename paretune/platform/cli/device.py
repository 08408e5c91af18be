"""`paretune device`: measuring processes on devices, and how they do."""

import json
from dataclasses import asdict

import click

from paretune.core.errors import BadInput
from paretune.core.metrics import readable
from paretune.platform.cli.group import examples


@click.group(
    short_help="Measure on other devices.",
    epilog=examples(
        "paretune device serve                  on the device: measure for whoever connects from there",
        "paretune device check 127.0.0.1:7763   here, at the end of a tunnel: versions, latency, noise, clock",
    ),
)
def device() -> None:
    """Measure on devices that run a small process of paretune; see docs/devices.md."""


@device.command(
    short_help="Run on the device: measure networks that are sent there.",
    add_help_option=False,
    context_settings={"ignore_unknown_options": True},
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def serve(arguments: tuple[str, ...]) -> None:
    """Measure networks for paretune on this machine, which needs only Python, NumPy and ONNX Runtime."""
    from paretune.hardware.measured.remote.serve_command import main as serve_here

    serve_here(arguments)


@device.command(
    short_help="Tell how a device does.",
    epilog=examples("paretune device check 127.0.0.1:7763", "paretune device check 127.0.0.1:7763 --threads 4 --json"),
)
@click.argument("address")
@click.option("--threads", default=1, show_default=True, type=click.IntRange(min=1), help="Threads of one inference.")
@click.option("--processor", default="cpu", show_default=True, type=click.Choice(["cpu", "cuda"]), help="Of the device.")
@click.option("--allow-network", is_flag=True, help="Connect to another machine without a tunnel; nothing is encrypted.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON for scripts.")
def check(address: str, threads: int, processor: str, allow_network: bool, as_json: bool) -> None:
    """Tell how the device at ADDRESS (HOST:PORT) does: versions, latency of the reference network, noise, clock, round trip.

    Exit code 75: it gives no sound answer.
    """
    from paretune.hardware.measured.remote.device import Remote
    from paretune.hardware.measured.remote.health import check_health

    try:
        remote = Remote(
            addresses=(address,),
            threads=threads,
            processor="cuda" if processor == "cuda" else "cpu",
            max_relative_iqr=1e3,
            allow_network=allow_network,
        )
    except BadInput as error:
        raise BadInput(f"ADDRESS: {str(error).removeprefix('addresses: ')}") from error
    health = check_health(address, device=remote)
    if as_json:
        click.echo(json.dumps(asdict(health), indent=2))
        return
    facts = health.device
    versions = ", ".join(f"{name} {version}" for name, version in facts.get("versions", {}).items() if version)
    click.echo(f"device:       {facts.get('host')}, {facts.get('cpu') or facts.get('machine')}, {facts.get('cores')} cores")
    click.echo(f"versions:     python {facts.get('python')}, {versions}")
    click.echo(f"processors:   {', '.join(facts.get('processors', []))}; governor {facts.get('governor') or 'unknown'}")
    click.echo(f"reference:    {readable('latency_s', health.reference_s)}; for the option baseline_s: {health.reference_s:.6g}")
    click.echo(f"noise:        {health.relative_iqr:.1%} interquartile range over median; repeated within {health.disagreement:.1%}")
    click.echo(
        f"clock:        {facts['clock'].get('name')}, resolution {readable('time_s', facts['clock']['resolution_s'])}, "
        f"{health.clock_ratio:.3f} of ours with the transfer"
    )
    click.echo(f"round trip:   {readable('time_s', health.round_trip_s)}")
    for warning in health.warnings:
        click.echo(f"warning:      {warning}")
    if not health.warnings:
        click.echo("in order")
