"""Derived metrics: numbers worked out from other metrics of a candidate, so that any reward is a problem for any searcher.

A form is a plain function: parameters before the star are metrics, keyword-only ones are settings, and the return type says which
way is better (see `core.rewards`).
"""

import contextlib
import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias, get_args, get_origin, get_type_hints

import numpy as np
from numpy.typing import NDArray

from paretune.core.errors import BadInput, EvaluationError
from paretune.core.metrics import Direction, Metric, si_name
from paretune.core.registry import Option, Registry

FloatArray: TypeAlias = NDArray[np.float64]

PROBE = 1.0
"""Value of every metric when settings are tried out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DerivedMetric:
    """One metric worked out from others. Picklable where its form is."""

    metric: Metric
    """What it is called, and which way is better."""
    form: Callable[..., float]
    """The function."""
    inputs: Mapping[str, str | tuple[str, ...]]
    """Parameter -> inner name of the metric, or several."""
    settings: Mapping[str, Any]
    """Keyword-only parameter -> value, SI."""

    @property
    def sources(self) -> tuple[str, ...]:
        """Inner names of every metric that it reads."""
        return tuple(name for names in self.inputs.values() for name in ((names,) if isinstance(names, str) else names))

    def value(self, metrics: Mapping[str, float]) -> float:
        """Its value for a candidate with these metrics.

        Raises:
            EvaluationError: the form has no finite value there.
        """
        given = {
            parameter: metrics[names] if isinstance(names, str) else tuple(metrics[name] for name in names)
            for parameter, names in self.inputs.items()
        }
        try:
            value = float(self.form(**given, **self.settings))
        except (BadInput, ArithmeticError, TypeError, ValueError) as error:
            raise EvaluationError(f"derived.{self.metric.name}: {error}") from error
        if not math.isfinite(value):
            raise EvaluationError(f"derived.{self.metric.name}: is {value} for {', '.join(f'{key}={item}' for key, item in given.items())}")
        return value


def with_derived(metrics: Mapping[str, float], derived: tuple[DerivedMetric, ...]) -> dict[str, float]:
    """The metrics, and every derived one whose sources are among them, in order: later ones may read earlier ones."""
    values = dict(metrics)
    for item in derived:
        if all(source in values for source in item.sources):
            values[item.metric.name] = item.value(values)
    return values


def with_derived_columns(columns: Mapping[str, FloatArray], derived: tuple[DerivedMetric, ...]) -> dict[str, FloatArray]:
    """As `with_derived` for N candidates at once, `(N,)` each; a metric that has no value for one of them is left out."""
    values = {name: np.asarray(column_N, dtype=np.float64) for name, column_N in columns.items()}
    for item in derived:
        if all(source in values for source in item.sources):
            rows = zip(*(values[source] for source in item.sources), strict=True)
            with contextlib.suppress(EvaluationError):
                values[item.metric.name] = np.array([item.value(dict(zip(item.sources, row, strict=True))) for row in rows])
    return values


class Forms(Registry):
    """Forms of derived metrics by name; their inputs are options too, and name metrics as users write them."""

    def inputs(self, form: str) -> tuple[Option, ...]:
        """The parameters that are metrics, in order: a name each, or a tuple of names."""
        function = self.factory(form)
        hints = get_type_hints(function)
        return tuple(
            Option(
                name=parameter.name,
                annotation=tuple[str, ...] if get_origin(hints.get(parameter.name)) is tuple else str,
                default=parameter.default,
            )
            for parameter in inspect.signature(function).parameters.values()
            if parameter.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD
        )

    def named_metrics(self, form: str, options: Mapping[str, Any]) -> tuple[str, ...]:
        """Inner names of the metrics that some options name."""
        values = (options.get(option.name, ()) for option in self.inputs(form))
        return tuple(si_name(name)[0] for value in values for name in ((value,) if isinstance(value, str) else value))

    def options(self, name: str) -> tuple[Option, ...]:
        """The metrics, then the settings: a setting is read in the unit of its metric."""
        return (*self.inputs(name), *super().options(name))

    def create(self, name: str, *supplied: object, **options: Any) -> DerivedMetric:
        """A derived metric; `supplied` is its name. Its settings are tried out, so that nonsense is refused before anything runs.

        Raises:
            UnknownName: no such form or option.
            BadInput: a required option is missing, or the form refuses a value.
        """
        function = self.factory(name)
        (metric_name,) = supplied
        parameters = [option.name for option in self.inputs(name)]
        self.check_options(name, options)
        inputs = {key: _inner(value) for key, value in options.items() if key in parameters}
        settings = {key: value for key, value in options.items() if key not in parameters}
        probes = {key: PROBE if isinstance(names, str) else (PROBE,) * len(names) for key, names in inputs.items()}
        with contextlib.suppress(ArithmeticError):  # what the probe's values do says nothing about real ones
            function(**probes, **settings)
        returned = get_args(get_type_hints(function, include_extras=True).get("return"))
        direction = next((item for item in returned if isinstance(item, Direction)), Direction.MAX)
        metric = Metric(name=str(metric_name), unit="", direction=direction, description=f"derived: {self.describe(name)}")
        return DerivedMetric(metric=metric, form=function, inputs=inputs, settings=settings)


def _inner(names: Any) -> str | tuple[str, ...]:
    return si_name(names)[0] if isinstance(names, str) else tuple(si_name(name)[0] for name in names)


DERIVED = Forms(
    kind="derived metric",
    group="paretune.derived",
    builtins={
        name: f"paretune.core.rewards:{name}"
        for name in (
            "ratio",
            "weighted_sum",
            "mnasnet",
            "proxyless",
            "proxyless_mul_log",
            "proxyless_add_linear",
            "fbnet",
            "fnas",
            "hotnas",
            "nasaic",
            "codesign",
            "monas",
            "monas_bounded",
            "feasible_first",
        )
    },
)
"""Functions `(metric, ..., *, setting, ...) -> float`."""
