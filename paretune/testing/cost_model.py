"""The contract of `core.costs.CostModel`, sentence by sentence, as a check that takes a factory.

Use it for a cost model of your own::

    def test_my_cost_model_keeps_the_contract():
        check_cost_model(lambda: MyCostModel())
"""

from collections.abc import Callable, Sequence

import numpy as np

from paretune.core.costs import CostModel, Designs, one_design
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
        designs = one_design({decision.name: decision.choices[pick] for decision in model.space()})
        _check_resources(model, designs)
        _check_estimates(model, twin, networks, designs)
    if model.space():
        _check_mixed_designs(model, networks)


def _check_resources(model: CostModel, designs: Designs) -> None:
    for resource, use in model.check(designs).items():
        where = f"{resource} with {dict(designs)}: used {use.used}, available {use.available}"
        assert use.used.shape == (1,), f"{where}: not one use for one design"
        assert np.isfinite(use.used).all(), where
        assert use.used.min() >= 0, where
        assert np.isfinite(use.available), where
        assert use.available > 0, where


def _check_mixed_designs(model: CostModel, networks: Sequence[Sequence[Layer]]) -> None:
    """Each network on a design of its own costs what it costs there alone."""
    picks = [
        [(network + index) % len(decision.choices) for index, decision in enumerate(model.space())] for network in range(len(networks))
    ]
    configs = [{decision.name: decision.choices[gene] for decision, gene in zip(model.space(), row, strict=True)} for row in picks]
    mixed = {name: np.array([config[name] for config in configs]) for name in configs[0]}
    together, uses = model.estimate(WorkloadBatch.from_layers(networks), mixed), model.check(mixed)
    for index, (network, config) in enumerate(zip(networks, configs, strict=True)):
        alone = model.estimate(WorkloadBatch.from_layers([network]), one_design(config))
        for name, estimates in together.items():
            same = np.isclose(alone[name].values[0], estimates.values[index], rtol=1e-12)
            assert same, f"{name}: network {index} on its own design {config} costs something else beside other designs"
        for resource, use in model.check(one_design(config)).items():
            same = np.isclose(np.broadcast_to(uses[resource].used, len(networks))[index], use.used[0], rtol=1e-12)
            assert same, f"{resource}: design {config} uses something else beside other designs"


def _check_estimates(model: CostModel, twin: CostModel, networks: Sequence[Sequence[Layer]], designs: Designs) -> None:
    workloads = WorkloadBatch.from_layers(networks)
    found, again = model.estimate(workloads, designs), twin.estimate(workloads, designs)
    assert set(found) == {metric.name for metric in model.metrics}, f"estimate gives {sorted(found)}, metrics has other names"
    for metric in model.metrics:
        estimates = found[metric.name]
        where = f"{metric.name} with {dict(designs)}"
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
        if estimates.layer_bottlenecks is not None:
            assert estimates.layer_bottlenecks.shape == workloads.kind.shape, f"{where}: {estimates.layer_bottlenecks.shape} bottlenecks"
        for index, network in enumerate(networks):
            alone = model.estimate(WorkloadBatch.from_layers([network]), designs)[metric.name].values[0]
            assert np.isclose(alone, estimates.values[index], rtol=1e-12), f"{where}: the cost of network {index} depends on the others"
