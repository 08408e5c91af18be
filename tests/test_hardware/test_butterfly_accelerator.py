"""The butterfly accelerator: cycles of the released simulator, differences of the corrected model, the transformer space."""

import numpy as np
import pytest

from paretune.core.costs import design_violation, one_design
from paretune.core.errors import BadInput
from paretune.core.workload import Kind, Layer, WorkloadBatch
from paretune.hardware.analytic.butterfly import Butterfly
from paretune.spaces.transformer import Transformer
from paretune.testing.cost_model import check_cost_model

HBM = {"input_port_bits": 2048, "coefficient_port_bits": 256, "output_port_bits": 2048}
DDR3 = {"input_port_bits": 64, "coefficient_port_bits": 64, "output_port_bits": 128}
WIDE = {"input_port_bits": 2048, "coefficient_port_bits": 2048, "output_port_bits": 2048}
CYCLES_PER_S = 200e6 * 0.85


def fabnet(tokens: int, *, num_layers: int, hidden: int = 768, feed_forward: int = 3072) -> WorkloadBatch:
    """Layers of Fourier mixing and a butterfly feed-forward part."""
    size = {"out_width": tokens}
    layer = (
        Layer(kind=Kind.FFT, out_channels=hidden, in_channels=hidden, **size),
        Layer(kind=Kind.BUTTERFLY, out_channels=feed_forward, in_channels=hidden, **size),
        Layer(kind=Kind.BUTTERFLY, out_channels=hidden, in_channels=feed_forward, **size),
    )
    return WorkloadBatch.from_layers([layer * num_layers])


def latency_ms(workloads: WorkloadBatch, **options: object) -> float:
    return 1e3 * float(Butterfly(variant="fabnet2022", **options).estimate(workloads, {})["latency_s"].values[0])


# Output of the released simulator: base model (768, 3072, 12 layers) on VCU128 with HBM.
@pytest.mark.parametrize(("tokens", "published_ms"), [(128, 1.9968), (256, 3.198494), (512, 5.601882), (1024, 10.408659)])
def test_base_model_on_vcu128(tokens: int, published_ms: float) -> None:
    assert latency_ms(fabnet(tokens, num_layers=12), engines=120, units=4, **HBM) == pytest.approx(published_ms, abs=5e-7)


def test_base_model_on_zynq_with_ddr3() -> None:
    assert latency_ms(fabnet(128, num_layers=12), engines=20, units=4, **DDR3) == pytest.approx(27.087812, abs=5e-7)


def test_the_published_latency_part_by_part() -> None:
    workloads = fabnet(1024, num_layers=1)
    found = Butterfly(engines=40, units=4, variant="fabnet2022", **WIDE).estimate(workloads, {})["latency_s"]
    assert found.layers is not None
    assert found.layers * CYCLES_PER_S == pytest.approx([57_600 + 57_600, 132_864, 157_696])
    assert 1e3 * found.values[0] == pytest.approx(2.3868, abs=5e-5)
    assert found.layer_bottlenecks is not None
    assert found.layer_bottlenecks.tolist() == ["fft", "butterfly", "butterfly"]


def test_the_corrected_model_counts_every_step() -> None:
    found = Butterfly(engines=40, units=4, **WIDE).estimate(fabnet(1024, num_layers=1), {})["latency_s"]
    assert found.layers is not None
    fft = 26 * 2304 + 20 * 2304  # 1024 tokens in 26 runs; along tokens 768 channels in 20; each loads 1024 and computes 1280
    expand = 1024 + 78 * 1280  # 26 runs of 3 stacks (3072 outputs of 1024): load, then every run computes
    contract = 4096 + 26 * 6144
    assert found.layers * CYCLES_PER_S == pytest.approx([fft, expand, contract])


def test_one_run_has_no_overlap() -> None:
    found = Butterfly(engines=4, units=4, **WIDE).estimate(fabnet(4, num_layers=1, hidden=64, feed_forward=64), {})["latency_s"]
    assert found.layers is not None
    # Along 64 channels: load 64, compute 64 / 8 * 6; along 4 tokens 16 runs of 4 + 4 / 8 * 2; a butterfly loads and computes once.
    assert found.layers * CYCLES_PER_S == pytest.approx([64 + 48 + 16 * 5, 64 + 48, 64 + 48])


# The efficiencies, in predictions a joule, are published; the latencies in ms and powers in W (after the same comparison) reproduce them.
@pytest.mark.parametrize(
    ("latency", "power_w", "efficiency"),
    [
        (56.0, 1.217, 14.67),  # A3
        (48.8, 1.060, 19.33),  # SpAtten
        (45.2, 0.801, 27.62),  # Sanger
        (44.2, 2.633, 8.59),  # Energon
        (34.7, 0.976, 29.53),  # ELSA
        (34.1, 0.858, 34.18),  # DOTA
        (61.6, 25.130, 0.65),  # FTRANS
        (2.4, 10.727, 38.84),  # this accelerator; the paper prints 40.48, which is not 1000 / (ms * W)
    ],
)
def test_efficiency_is_the_reciprocal_of_latency_times_power(latency: float, power_w: float, efficiency: float) -> None:
    workloads = fabnet(1024, num_layers=1)
    options = {"engines": 40, "power_w": power_w, "variant": "fabnet2022", **WIDE}
    seconds = Butterfly(**options).estimate(workloads, {})["latency_s"].values[0]
    slower = Butterfly(**options, clock_hz=200e6 * seconds / (latency / 1e3)).estimate(workloads, {})
    assert slower["predictions_per_joule"].values[0] == pytest.approx(efficiency, abs=0.01)


def test_attention_and_linear_layers_keep_all_multipliers_busy() -> None:
    layers = (
        Layer(kind=Kind.LINEAR, out_channels=640, in_channels=128, out_width=64),
        Layer(kind=Kind.ATTENTION, out_channels=128, in_channels=384, out_width=64),
        Layer(kind=Kind.ADD, out_channels=128, in_channels=128, out_width=64),
    )
    found = Butterfly(engines=40, units=4, **WIDE).estimate(WorkloadBatch.from_layers([layers]), {})["latency_s"]
    assert found.layers is not None
    # 640 multipliers: 640 * 128 * 64 / 640 = 8192 cycles; 2 * 64 * 64 * 128 / 640 = 1638.4; port and additions are no limit.
    assert found.layers * CYCLES_PER_S == pytest.approx([8192, 1639, 0])
    assert found.layer_bottlenecks is not None
    assert found.layer_bottlenecks.tolist() == ["dense", "dense", "free"]


def test_the_whole_transformer_space_has_a_latency() -> None:
    space = Transformer(input_shape=(64, 16), num_classes=10)
    rng = np.random.default_rng(7)
    rows = np.stack([rng.integers(len(decision.choices), size=50) for decision in space.decisions], axis=1)
    model = Butterfly(search=("engines", "units"))
    designs = {decision.name: rng.choice(decision.choices, 50) for decision in model.space()}
    found = model.estimate(space.workloads(rows.astype(np.int16)), designs)
    assert np.all(found["latency_s"].values > 0)
    assert found["energy_j"].values == pytest.approx(10.727 * found["latency_s"].values)


def test_the_co_design_space_of_engines_and_units_keeps_their_product() -> None:
    model = Butterfly(search=("engines", "units"))
    for engines, units in ((128, 4), (64, 8), (32, 16), (16, 32)):
        assert design_violation(model.check(one_design({"engines": engines, "units": units})))[0] == 0
    assert design_violation(model.check(one_design({"engines": 128, "units": 8})))[0] == pytest.approx(1.0)


def test_butterfly_keeps_the_contract() -> None:
    networks = [fabnet(tokens, num_layers=1, hidden=64, feed_forward=128).layers(0) for tokens in (16, 100)]
    check_cost_model(Butterfly, networks=networks)
    check_cost_model(lambda: Butterfly(search=("engines", "units"), variant="fabnet2022"), networks=networks)


def test_options_and_layers_that_cannot_be_used_are_refused() -> None:
    with pytest.raises(BadInput, match="variant: must be one of corrected, fabnet2022"):
        Butterfly(variant="fabnet")
    with pytest.raises(BadInput, match="efficiency: must be at most 1"):
        Butterfly(efficiency=85)
    conv = WorkloadBatch.from_layers([[Layer(kind=Kind.CONV, out_channels=8, in_channels=8, name="stem")]])
    with pytest.raises(BadInput, match="knows no cost of conv layer 'stem'"):
        Butterfly().estimate(conv, {})
