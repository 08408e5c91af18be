"""`paretune measure`: lookup tables of layers, and training sets of whole networks, measured on the machine that it runs on."""

import sys
from pathlib import Path

import click

from paretune.core.errors import BadInput
from paretune.platform.cli.group import INTERRUPT_EXIT, examples

TEMPORARY_EXIT = 75


class Shape(click.ParamType):  # type: ignore[type-arg]  # not generic in earlier releases
    """`3x32x32` as a tuple."""

    name = "shape"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        """Read the sizes."""
        if isinstance(value, tuple):
            return value
        parts = str(value).lower().split("x")
        if not all(part.isdigit() and int(part) > 0 for part in parts):
            self.fail(f"{value!r} is no shape; write channels, height and width like 3x32x32", param, ctx)
        return tuple(int(part) for part in parts)


@click.command(
    short_help="Measure a lookup table for this device.",
    epilog=examples(
        "paretune measure host digits_conv --layers",
        "paretune measure host mobile --layers --input 3x32x32 --space-option resolutions=[16,24,32]",
        "paretune measure host studies/digits.yaml --networks 200     a training set for predictors",
        "paretune measure mine.yaml digits_conv --layers               a target file of your own",
    ),
)
@click.argument("target")
@click.argument("space")
@click.option("--layers", is_flag=True, help="Measure each different layer of the space's networks: a lookup table.")
@click.option("--networks", type=click.IntRange(min=1), help="Measure so many random networks: a training set.")
@click.option("--sample", type=click.IntRange(min=1), help="With --layers: only layers that so many random networks have.")
@click.option("--to", type=click.Path(path_type=Path, dir_okay=False), help="Parquet file; one that is there is gone on with.")
@click.option("--input", "input_shape", type=Shape(), help="Shape of an input, such as 3x32x32; default: 1x8x8. A study file has its own.")
@click.option("--classes", type=click.IntRange(min=2), help="Outputs of a network; default: 10. A study file has its own.")
@click.option("--space-option", "space_options", multiple=True, metavar="NAME=VALUE", help="Option of the space, e.g. kernels=[3,5].")
@click.option("--target-option", "target_options", multiple=True, metavar="NAME=VALUE", help="Option of the target, e.g. threads=2.")
@click.option("--batch", type=click.IntRange(min=1), default=1, show_default=True, help="Inputs of an inference.")
@click.option("--rounds", type=click.IntRange(min=1), default=1, show_default=True, help="Measurements of each network; the lowest counts.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the random networks.")
@click.option("--quiet", is_flag=True, help="No progress display.")
def measure(
    target: str,
    space: str,
    layers: bool,
    networks: int | None,
    sample: int | None,
    to: Path | None,
    input_shape: tuple[int, ...] | None,
    classes: int | None,
    space_options: tuple[str, ...],
    target_options: tuple[str, ...],
    batch: int,
    rounds: int,
    seed: int,
    quiet: bool,
) -> None:
    """Measure what networks of SPACE (a name, or a study file) cost on TARGET (a target, its file, or a kind of hardware).

    Ctrl-C stops; the same command goes on.
    """
    from paretune.platform.execution.stop import Interrupted
    from paretune.platform.study.measuring import Campaign
    from paretune.platform.study.opening import SpaceChoice, TargetChoice

    if layers == (networks is not None):
        raise BadInput("give either --layers (a lookup table) or --networks N (a training set)")
    if sample is not None and not layers:
        raise BadInput("--sample: goes with --layers only; --networks N is itself the number of networks")
    campaign = Campaign(
        target=TargetChoice(name=target, options=target_options),
        space=SpaceChoice(name=space, options=space_options, input_shape=input_shape, classes=classes),
        path=to,
        batch=batch,
        rounds=rounds,
        seed=seed,
        quiet=quiet,
    )
    again, missing = _command(with_sample=True), _command(with_sample=False)
    try:
        ending = campaign.measure_networks(networks, command=again) if networks else campaign.measure_layers(sample, command=missing)
    except (KeyboardInterrupt, Interrupted) as error:
        click.echo(f"paretune: stopped. What was measured is kept. Go on with: {again}", err=True)
        sys.exit(error.exit_code if isinstance(error, Interrupted) else INTERRUPT_EXIT)
    for line in ending.notes:
        click.echo(line, err=True)
    click.echo(ending.path)
    if ending.num_failed:
        click.echo(f"paretune: {ending.num_failed} could not be measured. Try them again with: {again}", err=True)
        sys.exit(TEMPORARY_EXIT)


def _command(*, with_sample: bool) -> str:
    """The command that was given, to be given again, or without --sample for whatever layers the table still lacks."""
    import shlex

    words = click.get_current_context().params
    parts = ["paretune", "measure", words["target"], words["space"]]
    parts += ["--layers"] if words["layers"] else ["--networks", str(words["networks"])]
    for name, option in (("sample", "--sample"), ("to", "--to"), ("classes", "--classes")):
        parts += [option, str(words[name])] if words[name] is not None and (with_sample or name != "sample") else []
    parts += ["--input", "x".join(map(str, words["input_shape"]))] if words["input_shape"] is not None else []
    for name, option in (("space_options", "--space-option"), ("target_options", "--target-option")):
        for value in words[name]:
            parts += [option, value]
    for name, usual in (("batch", 1), ("rounds", 1), ("seed", 0)):
        parts += [f"--{name}", str(words[name])] if words[name] != usual else []
    return shlex.join(parts)
