"""Commands that help to write a spec: what it may name, a template, and a check without running it."""

import json
import sys
from pathlib import Path

import click

from paretune.core.errors import SpecError
from paretune.platform.cli.group import examples
from paretune.platform.cli.options import json_option, overrides_of, set_option, spec_argument


@click.command(
    name="list",
    short_help="List what a spec may name.",
    epilog=examples("paretune list searchers", "paretune list targets", "paretune list spaces --json"),
)
@click.argument("what", type=click.Choice(["spaces", "searchers", "hardware", "targets", "tasks", "derived", "predictors"]))
@json_option
def list_plugins(what: str, as_json: bool) -> None:
    """List what a spec may name, with the options of each."""
    from paretune.platform.cli.show import show_plugins, show_targets

    if what == "targets":
        show_targets(as_json=as_json)
    else:
        show_plugins(what, as_json=as_json)


@click.command(
    short_help="Check a spec without running it.",
    epilog=examples("paretune validate my-study.yaml", "paretune validate my-study.yaml --set budget.trials=200 --json"),
)
@spec_argument
@set_option
@json_option
def validate(spec: Path, overrides: tuple[str, ...], as_json: bool) -> None:
    """Check a spec without running it: every mistake at once, as FILE:LINE:COL: field: message."""
    from paretune.platform.cli.show import show_plan
    from paretune.platform.study.api import read_spec
    from paretune.platform.study.plan import build_plan

    try:
        loaded = read_spec(spec, overrides_of(overrides))
        plan = build_plan(loaded, thorough=True)
    except SpecError as error:
        if not as_json:
            raise
        problems = [{"line": item.line, "column": item.column, "path": item.path, "message": item.message} for item in error.problems]
        click.echo(json.dumps({"ok": False, "file": error.file, "problems": problems}, indent=2))
        sys.exit(error.exit_code)
    show_plan(loaded, plan, as_json=as_json)


@click.command(short_help="Print a commented spec to start from.", epilog=examples("paretune init my-study > my-study.yaml"))
@click.argument("name", default="digits")
def init(name: str) -> None:
    """Print a commented spec to start from, for a study called NAME."""
    from paretune.core.errors import BadInput
    from paretune.platform.spec.template import template
    from paretune.platform.spec.values import study_name

    try:
        click.echo(template(str(study_name(name))), nl=False)
    except ValueError as error:
        raise BadInput(f"NAME: {error}") from error
