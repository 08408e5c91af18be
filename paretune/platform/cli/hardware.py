"""`paretune hardware`: cost models from measurements, their fidelity, and how alike devices order networks."""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from paretune.core.errors import BadInput
from paretune.core.metrics import readable
from paretune.platform.cli.group import ParetuneGroup, examples

if TYPE_CHECKING:
    from paretune.platform.study.cost_models import SpaceOptions
    from paretune.platform.study.validation import Validation
    from paretune.predictors.fidelity import Fidelity

file_type = click.Path(path_type=Path, dir_okay=False)
space_option = click.option("--space", "space_name", help="Search space of the networks, where the file does not say.")
shape_option = click.option("--input", "input_shape", help="Shape of an input, such as 3x32x32.")
classes_option = click.option("--classes", type=click.IntRange(min=2), help="Outputs of a network.")
options_option = click.option("--space-option", "space_options", multiple=True, metavar="NAME=VALUE", help="Option of the space.")
unit_option = click.option("--unit", default="", help="Unit of the columns whose names end in none, such as ms.")
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON for scripts.")
SHOWN_WORST = 5


@click.group(
    cls=ParetuneGroup,
    short_help="Fit, judge and compare models of hardware.",
    epilog=examples(
        "paretune hardware fit host.parquet --out host.npz           a model from measurements",
        "paretune hardware validate host.npz tomorrow.parquet        how true it is",
        "paretune hardware compare host.parquet phone.parquet        how alike devices order networks",
    ),
)
def hardware() -> None:
    """Fit cost models to measurements, judge them, compare devices."""


@hardware.command(
    short_help="Fit a cost model to measurements.",
    epilog=examples(
        "paretune hardware fit host-digits.parquet --out host.npz",
        "paretune hardware fit nasbench201_latency.parquet --space nasbench201 --unit ms --metric pixel3_s --out pixel3.npz",
        "paretune hardware fit layers.parquet --out host.json          layers: runtime, power and energy",
    ),
)
@click.argument("measurements", type=file_type)
@click.option("--out", required=True, type=file_type, help="File to write: .npz for networks, .json for layers.")
@click.option("--metric", "only", multiple=True, help="Only this column, in SI units, such as latency_s; may be given again.")
@click.option("--predictor", "predictors", multiple=True, metavar="NAME[:ENCODING]", help="Candidate instead of the usual ones.")
@click.option("--held-out", default=0.2, show_default=True, help="Share of the networks that the report is judged by.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the split and the predictors.")
@space_option
@shape_option
@classes_option
@options_option
@unit_option
@json_option
def fit(
    measurements: Path,
    out: Path,
    only: tuple[str, ...],
    predictors: tuple[str, ...],
    held_out: float,
    seed: int,
    space_name: str | None,
    input_shape: str | None,
    classes: int | None,
    space_options: tuple[str, ...],
    unit: str,
    as_json: bool,
) -> None:
    """Fit a cost model to MEASUREMENTS (parquet), with a report on networks that it did not see, split by isomorphism."""
    from paretune.platform.study.cost_models import fit_costs

    space = _space(space_name, input_shape, classes, space_options)
    report = fit_costs(measurements, out, space=space, unit=unit, only=only, predictors=predictors, held_out=held_out, seed=seed)
    if as_json:
        rows = {name: {"model": model, **_finite(asdict(found))} for name, (model, found) in report.rows.items()}
        click.echo(json.dumps({"file": str(report.path), "held_out": rows}, indent=2))
        return
    for name, (model, found) in report.rows.items():
        click.echo(f"{name}: {model}; {_told(found)}")
    click.echo(report.path)


@hardware.command(
    short_help="Judge a model by measurements.",
    epilog=examples(
        "paretune hardware validate host.npz tomorrow.parquet --plot host.html",
        "paretune hardware validate my-board.yaml board-networks.parquet --layers board-layers.parquet",
    ),
)
@click.argument("target")
@click.argument("measurements", type=file_type)
@click.option("--layers", type=file_type, help="Layer table of the same device: which layers are furthest off, too.")
@click.option("--plot", type=file_type, help="HTML page to write: predicted against measured.")
@space_option
@shape_option
@classes_option
@options_option
@unit_option
@json_option
def validate(
    target: str,
    measurements: Path,
    layers: Path | None,
    plot: Path | None,
    space_name: str | None,
    input_shape: str | None,
    classes: int | None,
    space_options: tuple[str, ...],
    unit: str,
    as_json: bool,
) -> None:
    """Compare TARGET with MEASUREMENTS: figures, the worst networks and layers, a picture.

    TARGET is a fitted file, a target, its file or a kind of hardware; MEASUREMENTS are networks, or a table of layers.
    """
    from paretune.platform.study.validation import validate as validate_target

    space = _space(space_name, input_shape, classes, space_options)
    found = [validate_target(target, path, space=space, unit=unit) for path in (measurements, layers) if path is not None]
    if layers is not None and [item.of for item in found] != ["networks", "layers"]:
        raise BadInput(f"give measured networks first and a layer table with --layers; {measurements} has {found[0].of}")
    if plot is not None:
        _plot(plot, found, f"{Path(target).name} against {measurements.name}")
    if as_json:
        told = {item.of: {name: _judged(item, name) for name in item.fidelities} for item in found}
        click.echo(json.dumps(told.get("networks", {}) | ({"layers": told["layers"]} if "layers" in told else {}), indent=2))
        return
    for item in found:
        for name, judged in item.fidelities.items():
            click.echo(f"{name}{' of layers' if item.of == 'layers' else ''}: {_told(judged)}")
            for label, predicted, measured in item.worst(name, SHOWN_WORST):
                click.echo(f"  {readable(name, predicted)} for {readable(name, measured)}: {label}")


def _plot(path: Path, found: "list[Validation]", title: str) -> None:
    from paretune.platform.report.cost_figures import Comparison, write_scatter_page

    comparisons = [
        Comparison(
            title=f"{name} of {item.of}", metric=name, predicted=item.predicted[name], measured=item.measured[name], labels=item.labels
        )
        for item in found
        for name in item.fidelities
    ]
    write_scatter_page(path, comparisons, title=title)


def _judged(found: "Validation", metric: str) -> dict[str, Any]:
    """Fidelity and worst items as JSON."""
    return {**_finite(asdict(found.fidelities[metric])), "worst": found.worst(metric, SHOWN_WORST)}


@hardware.command(
    short_help="Compare how devices order networks.",
    epilog=examples(
        "paretune hardware compare nasbench201_latency.parquet --space nasbench201 --unit ms --plot devices.html",
        "paretune hardware compare host.parquet pi4.parquet pi4.npz",
    ),
)
@click.argument("sources", nargs=-1, required=True)
@click.option("--plot", type=file_type, help="HTML page to write: the correlations as a heat map.")
@space_option
@shape_option
@classes_option
@options_option
@unit_option
@json_option
def compare(
    sources: tuple[str, ...],
    plot: Path | None,
    space_name: str | None,
    input_shape: str | None,
    classes: int | None,
    space_options: tuple[str, ...],
    unit: str,
    as_json: bool,
) -> None:
    """Rank correlation of every two columns of SOURCES: files of measurements (.parquet), fitted files, kinds of hardware."""
    from paretune.platform.report.cost_figures import write_correlation_page
    from paretune.platform.study.validation import compare as compare_sources

    names, correlations = compare_sources(sources, space=_space(space_name, input_shape, classes, space_options), unit=unit)
    if plot is not None:
        write_correlation_page(plot, names, correlations)
    if as_json:
        click.echo(json.dumps({"columns": names, "spearman": correlations.tolist()}))
        return
    width = max(len(name) for name in names)
    click.echo(f"{'':{width}}  " + " ".join(f"{number + 1:>5}" for number in range(len(names))))
    for number, name in enumerate(names):
        click.echo(f"{name:{width}} {number + 1:>2} " + " ".join(f"{value:5.2f}" for value in correlations[number]))


def _space(name: str | None, shape: str | None, classes: int | None, options: tuple[str, ...]) -> "SpaceOptions":
    from paretune.platform.study.cost_models import SpaceOptions

    sizes = tuple(int(part) for part in shape.lower().split("x") if part.isdigit() and int(part) > 0) if shape else None
    if shape and (sizes is None or len(sizes) != shape.lower().count("x") + 1):
        raise click.BadParameter(f"{shape!r} is no shape; write channels, height and width like 3x32x32", param_hint="--input")
    return SpaceOptions(name=name, input_shape=sizes, classes=classes, options=options)


def _told(found: "Fidelity") -> str:
    floor = "" if math.isnan(found.noise_floor) else f", noise floor {found.noise_floor:.1%}"
    shares = f"{found.within_1_percent:.0%} / {found.within_5_percent:.0%} / {found.within_10_percent:.0%}"
    ranks = f"Spearman {found.spearman:.3f}, Kendall {found.kendall:.3f}, of the best tenth {found.top_decile_kendall:.3f}"
    return f"{found.num_networks} judged, RMSPE {found.rmspe:.1%}{floor}, within 1 / 5 / 10 %: {shares}, {ranks}"


def _finite(values: Mapping[str, Any]) -> dict[str, Any]:
    """NaN is no JSON."""
    return {name: None if isinstance(value, float) and math.isnan(value) else value for name, value in values.items()}
