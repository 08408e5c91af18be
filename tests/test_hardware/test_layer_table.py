"""Lookup tables of layers as cost models: sums worked by hand, what is missing, what lies between, and what is wrong with a file."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paretune.core.errors import BadInput, BadOptions
from paretune.core.workload import Kind, Layer, WorkloadBatch
from paretune.hardware import HARDWARE
from paretune.hardware.tables.layer_signature import SIGNATURE, SignatureIndex, as_rows, in_words, layer_of, signature_columns, signature_of
from paretune.hardware.tables.layer_table import LayerTable
from paretune.hardware.tables.layer_table_file import LayerEntries, read_layer_table, write_layer_table
from paretune.hardware.tables.table_facts import TableFacts
from paretune.spaces.digits_conv import DigitsConv
from paretune.testing.cost_model import check_cost_model, small_network

FACTS = TableFacts(
    format="layer_table",
    device="bench",
    created="2026-01-01",
    overhead={"latency_s": 1e-5},
    fused_kinds=("add",),
    command="paretune measure bench SPACE --layers",
)
STEM = Layer(
    kind=Kind.CONV, in_channels=24, out_channels=64, in_height=56, in_width=56, out_height=28, out_width=28, kernel=3, stride=2, padding=1
)
DEEP = Layer(
    kind=Kind.DEPTHWISE,
    in_channels=64,
    out_channels=64,
    groups=64,
    in_height=28,
    in_width=28,
    out_height=28,
    out_width=28,
    kernel=3,
    padding=1,
)
ADD = Layer(kind=Kind.ADD, in_channels=64, out_channels=64, out_height=28, out_width=28)


def entries(layers: dict[Layer, float], facts: TableFacts = FACTS) -> LayerEntries:
    return LayerEntries(
        facts=facts,
        signatures=np.array([signature_of(layer) for layer in layers]),
        values={"latency_s": np.array(list(layers.values()))},
        spreads={"latency_iqr_s": np.full(len(layers), 1e-6)},
        repeats=np.full(len(layers), 30),
    )


def saved(path: Path, layers: dict[Layer, float], facts: TableFacts = FACTS) -> Path:
    write_layer_table(path, entries(layers, facts))
    return path


def latency(model: LayerTable, *networks: list[Layer]) -> np.ndarray:
    return model.estimate(WorkloadBatch.from_layers(networks), {})["latency_s"].values


def test_a_network_costs_the_overhead_and_its_layers(tmp_path: Path) -> None:
    model = HARDWARE.create("table", file=saved(tmp_path / "bench.parquet", {STEM: 3e-4, DEEP: 2e-4}))
    workloads = WorkloadBatch.from_layers([[STEM, DEEP, DEEP, ADD], [replace(STEM, name="other", held_elements=7)]])
    found = model.estimate(workloads, {})["latency_s"]
    # 10 us + 300 + 2 * 200; the addition is part of the layer before it; names and held maps change nothing.
    assert found.values == pytest.approx([7.1e-4, 3.1e-4])
    assert found.layers == pytest.approx([3e-4, 2e-4, 2e-4, 0.0, 3e-4])
    assert (found.source, found.interpolated) == ("lookup_table", None)
    assert model.metrics[0].source == "looked up in bench.parquet, measured on bench"


def test_a_layer_table_keeps_the_contract(tmp_path: Path) -> None:
    layers = {layer: 1e-5 * (index + 1) for index, layer in enumerate({layer for width in (4, 8, 16) for layer in small_network(width)})}
    path = saved(tmp_path / "small.parquet", layers)
    check_cost_model(lambda: LayerTable(file=path))


def test_a_missing_layer_is_named_with_what_is_near_and_what_measures_it(tmp_path: Path) -> None:
    near = replace(STEM, out_channels=64)
    path = saved(tmp_path / "pixel4.parquet", {near: 1e-4, replace(STEM, out_channels=16): 1e-4, DEEP: 1e-4})
    with pytest.raises(BadInput) as raised:
        latency(LayerTable(file=path), [replace(STEM, out_channels=72), DEEP])
    assert str(raised.value) == (
        "lookup table 'pixel4' has no entry for conv 3x3 s2 24->72 at 56x56; nearest: conv 3x3 s2 24->64 at 56x56, "
        f"conv 3x3 s2 24->16 at 56x56. Measure what is missing with 'paretune measure bench STUDY.yaml --layers --to {path}', "
        "where STUDY.yaml is the study that needs it"
    )


def test_more_missing_layers_are_counted(tmp_path: Path) -> None:
    path = saved(tmp_path / "pixel4.parquet", {STEM: 1e-4})
    with pytest.raises(BadInput, match=r"24->32 at 56x56 and 2 other layers; nearest to the first: conv 3x3 s2 24->64 at 56x56"):
        latency(LayerTable(file=path), [replace(STEM, out_channels=width) for width in (8, 16, 32, 48)] + [DEEP])


def test_a_layer_of_a_kind_that_the_table_lacks_is_said_to_be_one(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no entry for linear 64->10; it has no layers of this kind"):
        latency(
            LayerTable(file=saved(tmp_path / "pixel4.parquet", {STEM: 1e-4})), [Layer(kind=Kind.LINEAR, in_channels=64, out_channels=10)]
        )


@pytest.mark.parametrize(
    ("layer", "words"),
    [
        (STEM, "conv 3x3 s2 24->64 at 56x56"),
        (DEEP, "depthwise 3x3 64 at 28x28"),
        (Layer(kind=Kind.LINEAR, in_channels=64, out_channels=10), "linear 64->10"),
        (Layer(kind=Kind.POOL, in_channels=8, out_channels=8, in_height=7, in_width=7, kernel=7), "pool 7x7 8 at 7x7 to 1x1"),
        (
            replace(STEM, groups=2, weight_bits=8, activation_bits=8, batch=4, taps=4),
            "in 2 groups 4 taps of 8-bit weights and 8-bit activations batch 4",
        ),
    ],
)
def test_layers_in_words(layer: Layer, words: str) -> None:
    assert in_words(signature_of(layer)).endswith(words)


def test_a_layer_between_two_entries_is_interpolated_only_when_asked_and_flagged(tmp_path: Path) -> None:
    path = saved(
        tmp_path / "bench.parquet", {STEM: 1e-4, replace(STEM, out_channels=96): 2e-4, replace(STEM, in_channels=8): 4e-5, DEEP: 1e-5}
    )
    between = replace(STEM, out_channels=72)
    with pytest.raises(BadInput, match="no entry for conv 3x3 s2 24->72"):
        latency(LayerTable(file=path), [between])
    model = LayerTable(file=path, interpolate=True)
    found = model.estimate(WorkloadBatch.from_layers([[between, DEEP], [DEEP]]), {})["latency_s"]
    # 72 is a quarter of the way from 64 to 96: 125 us.
    assert found.layers == pytest.approx([1.25e-4, 1e-5, 1e-5])
    assert found.interpolated is not None
    assert found.interpolated.tolist() == [True, False]
    with pytest.raises(BadInput, match=r"no entry for conv 3x3 s2 24->128 at 56x56 and no two entries around it"):
        latency(model, [replace(STEM, out_channels=128)])


def test_maps_are_interpolated_by_their_area_and_depthwise_channels_together(tmp_path: Path) -> None:
    def deep(channels: int, size: int) -> Layer:
        return replace(
            DEEP,
            in_channels=channels,
            out_channels=channels,
            groups=channels,
            in_height=size,
            in_width=size,
            out_height=size,
            out_width=size,
        )

    path = saved(tmp_path / "bench.parquet", {deep(64, 10): 1e-5, deep(64, 20): 4e-5, deep(32, 8): 1e-5, deep(96, 8): 2e-5})
    # Area 196 is 96/300 of the way from 100 to 400; 64 channels are half way from 32 to 96.
    assert latency(LayerTable(file=path, interpolate=True), [deep(64, 14)], [deep(64, 8)]) == pytest.approx([1e-5 + 1.96e-5, 1e-5 + 1.5e-5])


def test_a_table_of_another_batch_or_precision_is_refused(tmp_path: Path) -> None:
    facts = replace(FACTS, batch=8, precision="float16")
    path = saved(tmp_path / "bench.parquet", {replace(STEM, batch=8): 1e-4}, facts)
    with pytest.raises(BadOptions) as raised:
        LayerTable(file=path)
    assert [message for _, message in raised.value.problems] == [
        "bench.parquet: was measured with batch 8, and batch 1 is asked for; give batch: 8, or another table",
        "bench.parquet: was measured in float16, and float32 is asked for; give precision: float16, or another table",
    ]
    model = LayerTable(file=path, batch=8, precision="float16")
    # Spaces describe one image; the table's batch is meant. Another batch than either is a mistake.
    assert latency(model, [STEM], [replace(STEM, batch=8)]) == pytest.approx([1.1e-4, 1.1e-4])
    with pytest.raises(BadInput, match="is of batch 8; the network has layers of batch 4"):
        latency(model, [replace(STEM, batch=4)])


def test_values_in_milliseconds_become_seconds_and_fields_may_be_left_out(tmp_path: Path) -> None:
    table = pq.read_table(saved(tmp_path / "bench.parquet", {STEM: 3e-4}))
    frame = table.to_pandas().drop(
        columns=["taps", "rank", "weight_bits", "activation_bits", "batch", "repeats", "latency_s", "latency_iqr_s"]
    )
    frame["latency_ms"], frame["energy_uj"] = 0.3, 5.0
    metadata = {b"paretune": table.schema.metadata[b"paretune"].replace(b'{"latency_s": 1e-05}', b"{}")}
    pq.write_table(pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata(metadata), tmp_path / "mine.parquet")
    model = LayerTable(file=tmp_path / "mine.parquet")
    found = model.estimate(WorkloadBatch.from_layers([[STEM]]), {})
    assert {name: estimates.values[0] for name, estimates in found.items()} == pytest.approx({"latency_s": 3e-4, "energy_j": 5e-6})
    assert [metric.unit for metric in model.metrics] == ["s", "j"]


def test_a_written_table_is_read_as_it_was(tmp_path: Path) -> None:
    written = entries({STEM: 3e-4, DEEP: 2e-4}, replace(FACTS, details={"cpu": "a", "threads": 1}))
    write_layer_table(tmp_path / "bench.parquet", written)
    read = read_layer_table(tmp_path / "bench.parquet")
    assert read.facts == written.facts
    assert np.array_equal(read.signatures, written.signatures)
    assert np.array_equal(read.values["latency_s"], written.values["latency_s"])
    assert np.array_equal(read.spreads["latency_iqr_s"], written.spreads["latency_iqr_s"])
    assert read.repeats is not None
    assert read.repeats.tolist() == [30, 30]
    assert [path.name for path in tmp_path.iterdir()] == ["bench.parquet"]


def test_every_mistake_of_a_table_is_told_at_once(tmp_path: Path) -> None:
    table = pq.read_table(
        saved(tmp_path / "bench.parquet", {STEM: 3e-4, DEEP: 2e-4, replace(STEM, kernel=5): 1e-4, replace(STEM, kernel=7): 1e-4})
    )
    frame = table.to_pandas().drop(columns=["stride"])
    frame["kind"] = ["conv", "convolution", "conv", "conv"]
    frame.loc[1, "latency_s"], frame.loc[2, "latency_s"], frame["energy"] = -1.0, np.nan, 3.0
    frame["kernel"] = [3.0, 3.5, 5.0, 7.0]
    pq.write_table(
        pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata(table.schema.metadata), tmp_path / "bad.parquet"
    )
    with pytest.raises(BadOptions) as raised:
        LayerTable(file=tmp_path / "bad.parquet", batch=2)
    assert {way for way, _ in raised.value.problems} == {("file",)}
    assert [message.removeprefix("bad.parquet: ") for _, message in raised.value.problems] == [
        "was measured with batch 1, and batch 2 is asked for; give batch: 1, or another table",
        "lacks the columns stride",
        "column 'kind' has convolution; known are conv, depthwise, linear, pool, activation, attention, fft, butterfly, add",
        "column 'kernel' is no whole number of at least 0 in row 2",
        "column 'latency_s' is empty or no finite number in row 3",
        "column 'latency_s' is negative in row 2",
        "column 'energy' has no unit; end its name in one, for example energy_ms.",
    ]


def test_a_layer_that_is_there_twice_is_named(tmp_path: Path) -> None:
    table = pq.read_table(saved(tmp_path / "bench.parquet", {STEM: 3e-4, DEEP: 2e-4}))
    pq.write_table(pa.concat_tables([table, table.slice(0, 1)]), tmp_path / "twice.parquet")
    with pytest.raises(BadOptions, match="rows 1 and 3 are both of conv 3x3 s2 24->64 at 56x56"):
        LayerTable(file=tmp_path / "twice.parquet")


def test_files_that_are_no_layer_table_are_refused(tmp_path: Path) -> None:
    saved(tmp_path / "bench.parquet", {STEM: 1e-4}, replace(FACTS, format="slot_table"))
    (tmp_path / "text.parquet").write_text("no parquet")
    pq.write_table(pa.table({"kind": ["conv"]}), tmp_path / "bare.parquet")
    for name, message in (
        ("bench.parquet", "is a slot_table; expected a layer_table"),
        ("text.parquet", "cannot be read as Parquet"),
        ("bare.parquet", "holds no facts"),
        ("bensh.parquet", r"no such file. Did you mean 'bench.parquet'\?"),
        ("bench.csv", "expected a file that ends in .parquet"),
    ):
        with pytest.raises(BadOptions, match=message):
            LayerTable(file=tmp_path / name)


SPACE = DigitsConv(input_shape=(1, 8, 8), num_classes=10, stages=2)


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 2**32 - 1))
def test_every_layer_of_random_networks_is_found_and_no_other(seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows_ND = np.array([[rng.integers(len(decision.choices)) for decision in SPACE.decisions] for _ in range(5)], dtype=np.int16)
    columns = signature_columns(SPACE.workloads(rows_ND))
    rows = as_rows(columns)
    index = SignatureIndex.of(np.unique(rows, axis=0))
    found = index.find(columns)
    assert np.array_equal(index.entries[found], rows)
    changed = SIGNATURE[1 + seed % (len(SIGNATURE) - 1)]
    assert np.all(index.find({**columns, changed: columns[changed] + 1000}) == -1)
    assert signature_of(layer_of(rows[0].tolist())) == tuple(rows[0].tolist())


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 2**32 - 1))
def test_a_total_is_the_sum_of_its_entries(seed: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    rng = np.random.default_rng(seed)
    rows_ND = np.array([[rng.integers(len(decision.choices)) for decision in SPACE.decisions] for _ in range(4)], dtype=np.int16)
    workloads = SPACE.workloads(rows_ND)
    signatures = np.unique(as_rows(signature_columns(workloads)), axis=0)
    costs = dict(zip(map(tuple, signatures.tolist()), rng.uniform(0, 1e-3, len(signatures)), strict=True))
    path = tmp_path_factory.mktemp("tables") / "random.parquet"
    write_layer_table(
        path,
        LayerEntries(facts=replace(FACTS, fused_kinds=()), signatures=signatures, values={"latency_s": np.array(list(costs.values()))}),
    )
    totals = LayerTable(file=path).estimate(workloads, {})["latency_s"].values
    for network, total in enumerate(totals):
        assert total == pytest.approx(1e-5 + sum(costs[signature_of(layer)] for layer in workloads.layers(network)))
