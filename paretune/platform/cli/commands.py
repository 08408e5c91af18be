"""The `paretune` command. Everything heavy is imported inside the commands, so that help is back at once."""

import click

from paretune import __version__
from paretune.platform.cli.cluster import cluster
from paretune.platform.cli.device import device
from paretune.platform.cli.group import EXIT_CODES, ParetuneGroup, examples
from paretune.platform.cli.hardware import hardware
from paretune.platform.cli.jobs import logs, stop, submit
from paretune.platform.cli.measure import measure
from paretune.platform.cli.results import export, report, status
from paretune.platform.cli.running import resume, run
from paretune.platform.cli.specs import init, list_plugins, validate
from paretune.platform.cli.tracking import register, sync, ui

OVERVIEW = examples(
    "paretune init my-study > my-study.yaml     a commented spec to start from",
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


STUDIES = (run, resume, submit, status, logs, stop, report, export)
"""Commands on studies, in the order of their use."""
TRACKING = (ui, sync, register)
SPECS = (list_plugins, validate, init)
MACHINES = (device, hardware, measure, cluster)

for command in (*STUDIES, *TRACKING, *SPECS, *MACHINES):
    main.add_command(command)


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
