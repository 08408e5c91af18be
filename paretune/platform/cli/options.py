"""Options and arguments that several commands take."""

from pathlib import Path

import click

from paretune.core.errors import BadInput

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON for scripts.")
set_option = click.option(
    "--set", "overrides", multiple=True, metavar="PATH=VALUE", help="Replace a field of the spec, e.g. budget.trials=8."
)
spec_argument = click.argument("spec", type=click.Path(path_type=Path))


def overrides_of(pairs: tuple[str, ...]) -> dict[str, object]:
    """`PATH=VALUE` as field path -> value.

    Raises:
        BadInput: one has no value.
    """
    values: dict[str, object] = {}
    for pair in pairs:
        path, equals, value = pair.partition("=")
        if not equals or not path:
            raise BadInput(f"--set {pair!r}: expected PATH=VALUE, for example --set budget.trials=8")
        values[path.strip()] = value
    return values
