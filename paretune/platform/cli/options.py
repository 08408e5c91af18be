"""Options and arguments that several commands share."""

from pathlib import Path

import click

from paretune.core.errors import BadInput
from paretune.platform.cli.studies import STORAGE, complete_study

storage_option = click.option(
    "--storage",
    default=STORAGE,
    show_default=True,
    envvar="PARETUNE_STORAGE",
    show_envvar=True,
    type=click.Path(path_type=Path),
    help="Folder that holds the studies.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON for scripts.")
address_option = click.option("--address", help="Ray cluster, HOST:PORT or 'auto'; default: a local Ray for this run.")
insecure_option = click.option(
    "--insecure", is_flag=True, help="Also use a cluster that asks nobody for a token; whoever reaches it may run programs there."
)
set_option = click.option(
    "--set", "overrides", multiple=True, metavar="PATH=VALUE", help="Replace a field of the spec, e.g. budget.trials=8."
)
quiet_option = click.option("--quiet", is_flag=True, help="No progress display.")
spec_argument = click.argument("spec", type=click.Path(path_type=Path))
name_argument = click.argument("name", shell_complete=complete_study)
optional_name_argument = click.argument("name", required=False, shell_complete=complete_study)


def overrides_of(pairs: tuple[str, ...]) -> dict[str, object]:
    """`PATH=VALUE` pairs of `--set` by path.

    Raises:
        BadInput: one is no pair.
    """
    values: dict[str, object] = {}
    for pair in pairs:
        path, equals, value = pair.partition("=")
        if not equals or not path:
            raise BadInput(f"--set {pair!r}: expected PATH=VALUE, for example --set budget.trials=8")
        values[path.strip()] = value
    return values
