"""Slot tables: published ones, fitted ones, written and read again, and used as cost models."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from paretune.core.costs import ArchitectureCostModel
from paretune.core.errors import BadInput, BadOptions
from paretune.core.genotype import Decision, Genotypes
from paretune.hardware import HARDWARE
from paretune.hardware.tables.published_tables import read_haq, read_single_path
from paretune.hardware.tables.slot_table import SlotTable
from paretune.hardware.tables.slot_table_file import SlotEntries, fit_slots, fitted_entries, read_slot_table, residuals, write_slot_table
from paretune.hardware.tables.table_facts import TableFacts
from paretune.predictors.fidelity import fidelity
from paretune.spaces.digits_conv import DigitsConv
from paretune.spaces.fbnet import FBNet
from paretune.spaces.nasbench201 import NasBench201

FACTS = TableFacts(format="slot_table", device="bench", created="2026-01-01", overhead={"latency_s": 0.001})
SPACE = DigitsConv(
    input_shape=(1, 8, 8),
    num_classes=10,
    stages=1,
    stem_widths=(8, 16),
    widths=(8,),
    depths=(1,),
    strides=(1,),
    kernels=(3, 5),
    expansions=(1,),
)


def entries_for(space: DigitsConv) -> SlotEntries:
    """1 ms, 2 ms, ... for the choices of each decision."""
    return SlotEntries(
        facts=FACTS,
        choices={decision.name: tuple(str(choice) for choice in decision.choices) for decision in space.decisions},
        values={"latency_s": tuple(np.arange(1, len(decision.choices) + 1) * 1e-3 for decision in space.decisions)},
    )


def test_single_path_networks_of_one_form_sum_up_to_the_published_totals(data_folder: Path) -> None:
    # codesign.md section 11 (d): k3_e3, k3_e6, k5_e3, k5_e6 everywhere, from the table itself.
    table = read_single_path(data_folder / "op_luts" / "single_path_nas_pixel1.csv").table()
    totals_ms = 1e3 * table.total(np.repeat(np.arange(4), 20).reshape(4, 20))
    assert totals_ms == pytest.approx([65.6914, 110.6524, 76.3622, 131.4578], abs=5e-5)


@pytest.mark.parametrize("column", ["fpga", "pixel3"])
def test_a_table_fitted_to_half_of_the_fbnet_latencies_is_exact_on_the_other_half(column: str, data_folder: Path) -> None:
    # codesign.md section 15: these were made from a lookup table (as were eyeriss and raspi4, which this file does not have).
    frame = pd.read_parquet(data_folder / "help_latency" / "fbnet_latency.parquet")
    rows_ND, latency_s = fbnet_rows(frame), frame[column].to_numpy() * 1e-3
    table = fit_slots(FBNet(input_shape=(3, 32, 32), num_classes=100).decisions, rows_ND[:2500], latency_s[:2500])
    assert residuals(table, rows_ND[2500:], latency_s[2500:]).max_relative < 1e-12


@pytest.mark.parametrize(("column", "within", "rank"), [("fpga", 1.0, 1.0), ("1080ti_1", 0.999, 0.989), ("gold_6240", 0.687, 0.959)])
def test_additive_tables_of_nasbench201_are_as_true_as_published_comparisons_found(
    column: str, within: float, rank: float, data_folder: Path
) -> None:
    # codesign.md section 9 (d), layer-wise on raw operations: share within 10 % and Spearman, learned from 900 cells.
    frame = pd.read_parquet(data_folder / "help_latency" / "nasbench201_latency.parquet")
    space = NasBench201(input_shape=(3, 32, 32), num_classes=10)
    rows_ND, latency_s = space.from_index(frame["arch_idx"].to_numpy()), frame[column].to_numpy() * 1e-3
    order = np.random.default_rng(0).permutation(len(rows_ND))
    table = fit_slots(space.decisions, rows_ND[order[:900]], latency_s[order[:900]])
    found = fidelity(table.total(rows_ND[order[900:]]), latency_s[order[900:]])
    assert found.within_10_percent == pytest.approx(within, abs=0.02)
    assert found.spearman == pytest.approx(rank, abs=0.005)


def test_a_table_fitted_to_measured_latencies_says_how_far_they_are_from_a_sum(data_folder: Path) -> None:
    frame = pd.read_parquet(data_folder / "help_latency" / "fbnet_latency.parquet")
    rows_ND, latency_s = fbnet_rows(frame), frame["gold_6240"].to_numpy() * 1e-3
    table = fit_slots(FBNet(input_shape=(3, 32, 32), num_classes=100).decisions, rows_ND[:2500], latency_s[:2500])
    found = residuals(table, rows_ND[2500:], latency_s[2500:])
    # codesign.md section 15: within 10 % for 99.2 % of them.
    assert found.within_10_percent > 0.98
    assert found.max_relative > 0.01
    assert (found.num_networks, found.rms > 0) == (2500, True)


def fbnet_rows(frame: pd.DataFrame) -> Genotypes:
    return frame[[f"op_{layer}" for layer in range(22)]].to_numpy().astype(np.int16)


def test_fitting_finds_a_table_again_up_to_what_no_sum_tells() -> None:
    rng = np.random.default_rng(0)
    decisions = tuple(Decision(name=f"slot{slot}", choices=tuple("abc"), ordinal=False) for slot in range(4))
    costs = rng.uniform(1, 2, size=(4, 3))
    rows_ND = rng.integers(0, 3, size=(60, 4)).astype(np.int16)
    table = fit_slots(decisions, rows_ND, 5 + costs[np.arange(4), rows_ND].sum(axis=1))
    assert np.stack(table.values) == pytest.approx(costs - costs.min(axis=1, keepdims=True))
    assert table.fixed == pytest.approx(5 + costs.min(axis=1).sum())


def test_networks_that_do_not_decide_the_table_are_refused() -> None:
    decisions = tuple(Decision(name=f"slot{slot}", choices=("a", "b"), ordinal=False) for slot in range(2))
    with pytest.raises(BadInput, match="no measured network has slot1 = b"):
        fit_slots(decisions, np.array([[0, 0], [1, 0]], dtype=np.int16), np.ones(2))
    with pytest.raises(BadInput, match="2 networks decide 2 of the table's 3 free values"):
        fit_slots(decisions, np.array([[0, 0], [1, 1]], dtype=np.int16), np.ones(2))


def test_a_written_table_is_read_as_it_was(tmp_path: Path) -> None:
    space = FBNet(input_shape=(3, 32, 32), num_classes=10)
    rng = np.random.default_rng(0)
    rows_ND = rng.integers(0, 9, size=(600, 22)).astype(np.int16)
    values_N = 1e-3 * (1 + rows_ND.sum(axis=1))
    table = fit_slots(space.decisions, rows_ND, values_N)
    fit = residuals(table, rows_ND, values_N)
    written = fitted_entries(space.decisions, {"latency_s": table}, FACTS, details={"latency_s": fit})
    write_slot_table(tmp_path / "fitted.parquet", written)
    read = read_slot_table(tmp_path / "fitted.parquet")
    assert read.facts == written.facts
    assert read.choices == written.choices
    assert all(np.array_equal(one, other) for one, other in zip(read.values["latency_s"], written.values["latency_s"], strict=True))
    assert read.facts.details["residuals"]["latency_s"]["num_networks"] == 600
    model = SlotTable(file=tmp_path / "fitted.parquet")
    assert isinstance(model, ArchitectureCostModel)
    assert model.estimate_architectures(space, rows_ND, {})["latency_s"].values == pytest.approx(values_N)


def test_a_slot_table_adds_up_the_choices_of_a_network(tmp_path: Path) -> None:
    write_slot_table(tmp_path / "mine.parquet", entries_for(SPACE))
    model = HARDWARE.create("slot_table", file=tmp_path / "mine.parquet")
    rows_ND = np.zeros((2, len(SPACE.decisions)), dtype=np.int16)
    rows_ND[1, 0] = 1
    found = model.estimate_architectures(SPACE, rows_ND, {})["latency_s"]
    # 1 ms fixed and 1 ms for each of the six decisions; a stem of 16 channels costs one more.
    assert found.values == pytest.approx([7e-3, 8e-3])
    assert found.source == "lookup_table"
    assert model.table().expected([np.eye(len(item.choices))[0] for item in SPACE.decisions]) == pytest.approx(7e-3)


def test_haq_table_has_a_slot_for_two_decisions(data_folder: Path, tmp_path: Path) -> None:
    entries = read_haq(data_folder / "op_luts" / "haq_mobilenetv2_batch16_latency.npz", seconds_per_count=1e-9)
    # The file's first numbers: 200,720 for 1-bit weights and activations, 1,606,528 for 1 and 8.
    first = dict(zip(entries.choices["layer0.weight_bits+layer0.activation_bits"], entries.values["latency_s"][0], strict=True))
    assert (first["1+1"], first["1+8"]) == pytest.approx((200_720e-9, 1_606_528e-9))
    assert len(entries.choices) == 53
    two = replace(entries, choices=dict(list(entries.choices.items())[:2]), values={"latency_s": entries.values["latency_s"][:2]})
    write_slot_table(tmp_path / "haq.parquet", two)
    model = SlotTable(file=tmp_path / "haq.parquet", batch=16, precision="mixed")

    class Bits(DigitsConv):
        @property
        def decisions(self) -> tuple[Decision, ...]:
            names = [f"layer{layer}.{what}_bits" for layer in range(2) for what in ("weight", "activation")]
            return tuple(Decision(name=name, choices=(4, 8), ordinal=True) for name in names)

        def canonical(self, genotypes_ND: Genotypes) -> Genotypes:
            return genotypes_ND

    found = model.estimate_architectures(Bits(input_shape=(1, 8, 8), num_classes=10), np.array([[0, 1, 1, 0]], dtype=np.int16), {})
    second = dict(zip(entries.choices["layer1.weight_bits+layer1.activation_bits"], entries.values["latency_s"][1], strict=True))
    assert found["latency_s"].values == pytest.approx([first["4+8"] + second["8+4"]])
    with pytest.raises(BadInput, match="seconds_per_count: must be above 0"):
        read_haq(data_folder / "op_luts" / "haq_mobilenetv2_batch16_latency.npz", seconds_per_count=0.0)


def test_a_table_of_another_space_is_refused_with_what_is_missing_on_either_side(tmp_path: Path) -> None:
    write_slot_table(tmp_path / "mine.parquet", entries_for(SPACE))
    other = DigitsConv(input_shape=(1, 8, 8), num_classes=10, stages=2, depths=(1,))
    with pytest.raises(BadInput, match=r"is not of this search space: the table has no slot 'stage2.width'. Did you mean 'stage1.width'\?"):
        SlotTable(file=tmp_path / "mine.parquet").estimate_architectures(other, np.zeros((1, len(other.decisions)), dtype=np.int16), {})
    wider = DigitsConv(
        input_shape=(1, 8, 8),
        num_classes=10,
        stages=1,
        stem_widths=(8, 24),
        widths=(8,),
        depths=(1,),
        strides=(1,),
        kernels=(3, 5),
        expansions=(1,),
    )
    rows_ND = np.ones((1, len(wider.decisions)), dtype=np.int16) * (np.array([len(item.choices) for item in wider.decisions]) > 1)
    with pytest.raises(BadInput, match=r"no entry for stem.width = 24 \(8, 16\)"):
        SlotTable(file=tmp_path / "mine.parquet").estimate_architectures(wider, rows_ND.astype(np.int16), {})


def test_every_mistake_of_a_slot_table_is_told_at_once(tmp_path: Path) -> None:
    entries = replace(entries_for(SPACE), facts=replace(FACTS, batch=4, overhead={"latency_s": -1.0}))
    write_slot_table(tmp_path / "bad.parquet", entries)
    table = pq.read_table(tmp_path / "bad.parquet")
    frame = table.to_pandas()
    frame.loc[len(frame)] = frame.loc[0]
    frame.loc[1, "latency_s"] = np.nan
    frame["energy"] = 1.0
    pq.write_table(
        pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata(table.schema.metadata), tmp_path / "bad.parquet"
    )
    with pytest.raises(BadOptions) as raised:
        SlotTable(file=tmp_path / "bad.parquet")
    told = str(raised.value)
    assert len(raised.value.problems) == 5
    for message in (
        "batch 4, and batch 1 is asked for",
        "overhead latency_s is -1.0",
        "column 'latency_s' is empty or no finite number in row 2",
        "column 'energy' has no unit; end its name in one, for example energy_ms",
        "are both of stem.width = 8",
    ):
        assert message in told, told
