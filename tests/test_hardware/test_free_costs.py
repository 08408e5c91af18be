"""Parameters, MACs and peak memory against hand-worked networks."""

import numpy as np

from paretune.core.workload import Kind, Layer, WorkloadBatch
from paretune.hardware.free import FreeCosts
from paretune.testing.cost_model import check_cost_model, small_network


def test_free_costs_keep_the_contract() -> None:
    check_cost_model(FreeCosts)


def test_costs_of_two_networks_worked_by_hand() -> None:
    stem = Layer(
        kind=Kind.CONV, out_channels=64, in_channels=3, out_height=112, out_width=112, kernel=7, stride=2, padding=3, per_channel=2
    )
    linear = Layer(kind=Kind.LINEAR, out_channels=10, in_channels=64, per_channel=1)
    found = FreeCosts().estimate(WorkloadBatch.from_layers([[stem, linear], [linear]]), {})
    # 112*112*64*3*49 = 118,013,952 products, then 640.
    assert found["macs"].values.tolist() == [118_014_592, 640]
    # 64*3*49 + 128 = 9,536, then 640 weights and 10 biases.
    assert found["parameters"].values.tolist() == [10_186, 650]
    # The stem holds 3*224*224 + 64*112*112 elements; the classifier 74.
    assert found["peak_memory_bytes"].values.tolist() == [4 * 953_344, 4 * 74]


def test_parts_by_layer_add_up_and_the_peak_is_the_largest() -> None:
    workloads = WorkloadBatch.from_layers([small_network(width) for width in (4, 8, 12)])
    found = FreeCosts().estimate(workloads, {})
    for name, reduce in (("macs", np.add), ("parameters", np.add), ("peak_memory_bytes", np.maximum)):
        layers = found[name].layers
        assert layers is not None
        assert np.array_equal(reduce.reduceat(layers, workloads.offsets[:-1]), found[name].values)


def test_free_costs_are_known_before_training() -> None:
    assert all(metric.free for metric in FreeCosts().metrics)
