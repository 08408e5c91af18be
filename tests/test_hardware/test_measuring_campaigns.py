"""Building tables on a device whose latency is known exactly: it counts multiply-accumulates."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from torch import nn

from paretune.core.errors import BadInput, DeviceError
from paretune.core.metrics import Direction, Metric
from paretune.core.protocols import Measurement
from paretune.core.workload import Kind
from paretune.hardware.campaigns.campaign import Reading, run_campaign
from paretune.hardware.campaigns.layer_campaign import TableRequest, known_layers, measure_layers
from paretune.hardware.campaigns.layer_census import Census, census, distinct_networks, random_networks, refuse_unmeasurable
from paretune.hardware.campaigns.layer_meter import LayerMeter
from paretune.hardware.campaigns.network_campaign import NetworkSource, measure_networks
from paretune.hardware.tables.layer_table import LayerTable
from paretune.hardware.tables.network_table_file import read_network_table
from paretune.networks.counting import count_macs
from paretune.networks.layer_probes import FUSED, PROBED
from paretune.spaces.digits_conv import DigitsConv
from paretune.spaces.mobile import Mobile
from paretune.spaces.transformer import Transformer

SPACE = DigitsConv(
    input_shape=(1, 8, 8), num_classes=10, stages=1, stem_widths=(8, 16), widths=(8, 16), depths=(1, 2), kernels=(3,), expansions=(1, 2)
)
OVERHEAD_S = 5e-6


class Exact:
    """5 us an inference and 1 ns a multiply-accumulate; the ReLU, sums and pooling are free."""

    metrics = (
        Metric(name="latency_s", unit="s", direction=Direction.MIN, lower=0),
        Metric(name="peak_memory_bytes", unit="bytes", direction=Direction.MIN, lower=0),
    )

    def __init__(self, *, cpu: str = "abacus", stops_after: int | None = None) -> None:
        self.measured, self._cpu, self._stops_after = 0, cpu, stops_after

    def measure(self, network: nn.Module, example_shape: tuple[int, ...]) -> Measurement:
        if self.measured == self._stops_after:
            raise KeyboardInterrupt
        self.measured += 1
        latency_s = OVERHEAD_S + 1e-9 * count_macs(network, example_shape)
        details = {"runtime": "counting", "iqr_s": 1e-7, "num_blocks": 30, "environment": {"cpu": self._cpu}}
        return Measurement(values={"latency_s": latency_s, "peak_memory_bytes": 1.0}, details=details)


def request(folder: Path, batch: int = 1) -> TableRequest:
    return TableRequest(path=folder / "exact.parquet", device="exact", space="digits_conv", command="measure it", batch=batch)


def all_layers(batch: int = 1) -> Census:
    return census(SPACE, skip=FUSED, batch=batch)


@pytest.mark.parametrize("batch", [1, 4])
def test_a_table_made_layer_by_layer_predicts_whole_networks(batch: int, tmp_path: Path) -> None:
    device = Exact()
    measure_layers(LayerMeter(device, batch=batch), all_layers(batch).signatures, request(tmp_path, batch))
    genotypes_ND = distinct_networks(SPACE, 20, seed=3)
    model = LayerTable(file=tmp_path / "exact.parquet", batch=batch)
    predicted_s = model.estimate(SPACE.workloads(genotypes_ND), {})["latency_s"].values
    measured_s = [device.measure(SPACE.build(row), (batch, 1, 8, 8)).values["latency_s"] for row in genotypes_ND.tolist()]
    assert predicted_s == pytest.approx(measured_s)
    assert [metric.name for metric in model.metrics] == ["latency_s"]  # peaks of memory do not add up


def test_the_same_for_squeeze_and_excite_and_resized_images(tmp_path: Path) -> None:
    space = Mobile(input_shape=(1, 8, 8), num_classes=10, kernels=(3,), expansions=(2,), depths=(1, 2), resolutions=(8, 12))
    device = Exact()
    measure_layers(LayerMeter(device), census(space, sample=2, skip=FUSED).signatures, request(tmp_path))
    genotypes_ND = random_networks(space, 2, seed=0)
    predicted_s = LayerTable(file=tmp_path / "exact.parquet").estimate(space.workloads(genotypes_ND), {})["latency_s"].values
    measured_s = [device.measure(space.build(row), (1, 1, 8, 8)).values["latency_s"] for row in genotypes_ND.tolist()]
    assert predicted_s == pytest.approx(measured_s)


def test_facts_and_spreads_say_how_the_table_was_made(tmp_path: Path) -> None:
    measure_layers(LayerMeter(Exact()), all_layers().signatures[:2], request(tmp_path))
    model = LayerTable(file=tmp_path / "exact.parquet")
    facts = model.facts
    assert (facts.device, facts.runtime, facts.space, facts.command, facts.fused_kinds) == (
        "exact",
        "counting",
        "digits_conv",
        "measure it",
        ("add",),
    )
    assert facts.overhead == pytest.approx({"latency_s": OVERHEAD_S})
    assert facts.details["cpu"] == "abacus"


@pytest.mark.parametrize("stops_after", [2, 3, 7])
def test_an_interrupted_campaign_goes_on_and_gives_the_same_table(stops_after: int, tmp_path: Path) -> None:
    (tmp_path / "whole").mkdir()
    (tmp_path / "parts").mkdir()
    signatures = all_layers().signatures[:6]
    measure_layers(LayerMeter(Exact()), signatures, request(tmp_path / "whole"))
    with pytest.raises(KeyboardInterrupt):
        measure_layers(LayerMeter(Exact(stops_after=stops_after)), signatures, request(tmp_path / "parts"))
    before = known_layers(tmp_path / "parts" / "exact.parquet")
    # Two measurements of the overhead, then two a layer.
    assert len(before) == max(0, (stops_after - 2) // 2)
    steps: list[tuple[int, ...]] = []
    measure_layers(LayerMeter(Exact()), signatures, request(tmp_path / "parts"), on_step=steps.append)
    assert len(steps) == 6 - len(before)
    assert not before & set(steps)
    whole, parts = (LayerTable(file=tmp_path / name / "exact.parquet") for name in ("whole", "parts"))
    workloads = SPACE.workloads(distinct_networks(SPACE, 4, seed=0))
    found = []
    for model in (whole, parts):
        try:
            found.append(model.estimate(workloads, {})["latency_s"].values.tolist())
        except BadInput as error:
            found.append(str(error).partition("; nearest")[0])
    assert known_layers(tmp_path / "whole" / "exact.parquet") == known_layers(tmp_path / "parts" / "exact.parquet")
    assert found[0] == found[1]


def test_a_table_of_another_machine_is_not_gone_on_with(tmp_path: Path) -> None:
    measure_layers(LayerMeter(Exact()), all_layers().signatures[:1], request(tmp_path))
    with pytest.raises(BadInput, match="was made with cpu abacus, and this is cpu slide rule; write to another file with --to"):
        measure_layers(LayerMeter(Exact(cpu="slide rule")), all_layers().signatures[:2], request(tmp_path))


def test_what_cannot_be_measured_is_told_and_does_not_end_the_campaign() -> None:
    kept: list[int] = []

    def measure(item: int) -> Reading:
        if item == 1:
            raise DeviceError("not now")
        return Reading(values={"latency_s": 1.0})

    steps: list[int] = []
    outcome = run_campaign([0, 1, 2], measure, lambda item, _: kept.append(item), on_step=steps.append)
    assert outcome.failures == [(1, "not now")]
    assert kept == [0, 2]
    assert steps == [0, 1, 2]


def test_a_census_of_everything_covers_other_networks_and_a_sample_less() -> None:
    whole, sample = census(SPACE), census(SPACE, sample=1)
    assert (whole.layer_coverage, whole.network_coverage) == (1.0, 1.0)
    assert sample.num_networks == 1
    assert 0 < sample.layer_coverage < 1
    assert {tuple(row) for row in sample.signatures.tolist()} <= {tuple(row) for row in whole.signatures.tolist()}
    # The classifier of 8 or 16 channels is in half of the networks each; no layer is in more but the stem's two forms.
    kinds = whole.signatures[:, 0].tolist()
    assert kinds.count(Kind.LINEAR) == 2


def test_spaces_with_layers_that_have_no_probe_are_refused_before_anything_is_measured() -> None:
    found = census(Transformer(input_shape=(1, 8, 8), num_classes=10), sample=20, skip=FUSED)
    with pytest.raises(BadInput, match=r"cannot be measured one by one: attention .*fft .*butterfly .*Use --networks instead"):
        refuse_unmeasurable(found.signatures, PROBED)


def test_random_networks_are_distinct_valid_and_all_there_are_where_they_are_few() -> None:
    rows_ND = distinct_networks(SPACE, 10, seed=1)
    assert len(np.unique(rows_ND, axis=0)) == 10
    assert np.array_equal(rows_ND, distinct_networks(SPACE, 20, seed=1)[:10])
    assert np.array_equal(SPACE.canonical(rows_ND), rows_ND)
    tiny = DigitsConv(
        input_shape=(1, 8, 8), num_classes=10, stages=1, stem_widths=(8,), widths=(8,), depths=(1,), kernels=(3,), expansions=(1, 2)
    )
    assert len(distinct_networks(tiny, 50, seed=0)) == tiny.size == 4


def test_measured_networks_go_on_and_are_read_with_their_decisions(tmp_path: Path) -> None:
    rows_ND = distinct_networks(SPACE, 6, seed=0)
    options = {"num_classes": 10, "kernels": [3]}
    source = NetworkSource(space=SPACE, input_shape=(1, 8, 8), num_classes=10, space_options=options)
    with pytest.raises(KeyboardInterrupt):
        measure_networks(Exact(stops_after=3), source, rows_ND, request(tmp_path))
    device = Exact()
    measure_networks(device, source, rows_ND, request(tmp_path))
    assert device.measured == 3
    found = read_network_table(tmp_path / "exact.parquet", SPACE.decisions)
    assert np.array_equal(found.genotypes, rows_ND)
    workloads = SPACE.workloads(rows_ND)
    assert found.values["latency_s"] == pytest.approx(OVERHEAD_S + 1e-9 * workloads.per_network_sum(workloads.macs_L))
    assert found.spreads["latency_iqr_s"] == pytest.approx(np.full(6, 1e-7))
    assert found.facts.details["space_options"] == options
    assert found.facts.details["input_shape"] == [1, 8, 8]
    with pytest.raises(BadInput, match=r"was made with input_shape \[1, 8, 8\], and this is input_shape \[1, 4, 4\]"):
        measure_networks(device, replace(source, input_shape=(1, 4, 4)), rows_ND, request(tmp_path))
    with pytest.raises(BadInput, match="lacks columns of the decisions stage2"):
        read_network_table(tmp_path / "exact.parquet", DigitsConv(input_shape=(1, 8, 8), num_classes=10).decisions)


def test_a_device_that_measures_nothing_additive_is_refused() -> None:
    class OnlyMemory(Exact):
        metrics = Exact.metrics[1:]

    with pytest.raises(BadInput, match="measures no time and no energy"):
        LayerMeter(OnlyMemory())


def test_energy_is_measured_layer_by_layer_where_the_device_tells_it(tmp_path: Path) -> None:
    class WithEnergy(Exact):
        metrics = (*Exact.metrics, Metric(name="energy_j", unit="j", direction=Direction.MIN, lower=0))

        def measure(self, network: nn.Module, example_shape: tuple[int, ...]) -> Measurement:
            found = super().measure(network, example_shape)
            return Measurement(values={**found.values, "energy_j": 2 * found.values["latency_s"]}, details=found.details)

    measure_layers(LayerMeter(WithEnergy()), all_layers().signatures, request(tmp_path))
    found = LayerTable(file=tmp_path / "exact.parquet").estimate(SPACE.workloads(distinct_networks(SPACE, 5, seed=0)), {})
    assert found["energy_j"].values == pytest.approx(2 * found["latency_s"].values)
