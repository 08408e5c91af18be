"""The contract of `core.protocols.CostModel`, sentence by sentence, as a check that takes a factory.

Use it for a cost model of your own::

    def test_my_cost_model_keeps_the_contract():
        check_cost_model(lambda: MyCostModel())
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from paretune.core.genotype import Choice
from paretune.core.protocols import CostModel
from paretune.core.workload import Kind, Layer, WorkloadBatch

SOURCES = ("measured", "lookup_table", "analytic", "predicted")


def small_network(width: int) -> tuple[Layer, ...]:
    """A convolution, a depthwise one, pooling and a classifier for 8x8 images, ever larger with `width`."""
    image = {"out_height": 8, "out_width": 8, "kernel": 3, "padding": 1, "per_channel": 2}
    return (
        Layer(kind=Kind.CONV, out_channels=width, in_channels=1, name="stem", **image),
        Layer(kind=Kind.DEPTHWISE, out_channels=width, in_channels=width, groups=width, name="depthwise", **image),
        Layer(kind=Kind.POOL, out_channels=width, in_channels=width, kernel=8, name="pool"),
        Layer(kind=Kind.LINEAR, out_channels=10, in_channels=width, per_channel=1, name="classifier"),
    )


def check_cost_model(factory: Callable[[], CostModel], *, networks: Sequence[Sequence[Layer]] | None = None) -> None:
    """Check every sentence of the cost model protocol.

    Args:
        factory: makes the model; called twice.
        networks: at least two networks that the model knows; None for small convolutional ones.

    Raises:
        AssertionError: saying which sentence is broken, with the values.
    """
    model, twin = factory(), factory()
    assert isinstance(model, CostModel), f"{type(model).__name__} lacks a member of the CostModel protocol"
    names = [metric.name for metric in model.metrics]
    assert names, "the model has no metrics"
    assert len(set(names)) == len(names), f"metrics share a name: {names}"
    prefixed = [name for name in names if "." in name]
    assert not prefixed, f"metrics carry a target's prefix, which only the study may add: {prefixed}"
    decisions = [decision.name for decision in model.space()]
    assert len(set(decisions)) == len(decisions), f"hardware decisions share a name: {decisions}"
    networks = [small_network(width) for width in (4, 8, 16)] if networks is None else networks
    for pick in (0, -1):
        config = {decision.name: decision.choices[pick] for decision in model.space()}
        for resource, (used, available) in model.check(config).items():
            assert np.isfinite([used, available]).all(), f"{resource}: used {used}, available {available}"
            assert min(used, available) >= 0, f"{resource}: used {used}, available {available}"
        _check_estimates(model, twin, networks, config)


def _check_estimates(model: CostModel, twin: CostModel, networks: Sequence[Sequence[Layer]], config: Mapping[str, Choice]) -> None:
    workloads = WorkloadBatch.from_layers(networks)
    found, again = model.estimate(workloads, config), twin.estimate(workloads, config)
    assert set(found) == {metric.name for metric in model.metrics}, f"estimate gives {sorted(found)}, metrics has other names"
    for metric in model.metrics:
        estimates = found[metric.name]
        where = f"{metric.name} with {dict(config)}"
        assert estimates.values.shape == (len(networks),), f"{where}: values have shape {estimates.values.shape}, not one a network"
        assert np.isfinite(estimates.values).all(), f"{where}: {estimates.values} is not finite"
        assert np.all((estimates.values >= metric.lower) & (estimates.values <= metric.upper)), f"{where}: {estimates.values} out of range"
        assert np.array_equal(estimates.values, again[metric.name].values), f"{where}: two models with the same options disagree"
        assert estimates.source in SOURCES, f"{where}: source '{estimates.source}' is none of {SOURCES}"
        if estimates.deviation is not None:
            assert estimates.deviation.shape == (len(networks),), f"{where}: deviation has shape {estimates.deviation.shape}"
            assert np.all(estimates.deviation >= 0), f"{where}: a negative standard deviation"
        if estimates.layers is not None:
            assert estimates.layers.shape == workloads.kind.shape, f"{where}: layers have shape {estimates.layers.shape}, not one a layer"
        assert len(estimates.bottleneck) in (0, len(networks)), f"{where}: {len(estimates.bottleneck)} bottlenecks"
        for index, network in enumerate(networks):
            alone = model.estimate(WorkloadBatch.from_layers([network]), config)[metric.name].values[0]
            assert np.isclose(alone, estimates.values[index], rtol=1e-12), f"{where}: the cost of network {index} depends on the others"
