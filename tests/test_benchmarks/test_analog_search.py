"""The tables of analog searches: kept as they are, read as they were; what is judged on them."""

import os
import sys
from pathlib import Path

import numpy as np
import pytest
from ruamel.yaml import YAML

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))
DATA = Path(os.environ.get("PARETUNE_DATA", ROOT.parent / "shared" / "data"))
if not DATA.exists():
    pytest.skip(f"the measured tables are not at {DATA}", allow_module_level=True)

from analog_search import METHODS, STARTS, both_ways, search, volume  # noqa: E402 - found by the path above
from analog_tables import (  # noqa: E402
    AWARE,
    DIGITAL,
    FILE,
    KEPT,
    SPACE,
    EvaluatedTable,
    Table,
    energies_j,
    every_network,
    finer_plain_resnets,
    plain_resnets,
    plan_of,
    read_tables,
    write_tables,
)

PLAN = plan_of("digits", study_seed=0)
NETWORKS = every_network(PLAN)


@pytest.fixture(scope="module")
def table() -> Table:
    """Wider networks are more accurate; the first one's training diverged."""
    found: Table = {}
    for genes, energy_j in zip(NETWORKS, energies_j(PLAN, NETWORKS), strict=True):
        accuracy = 0.7 + 0.1 * genes[0]
        found[genes] = dict(zip(KEPT, (accuracy, accuracy, accuracy - 0.1, 0.1, accuracy + 0.01, energy_j), strict=True))
    found[NETWORKS[0]] = {"chip.energy_j": found[NETWORKS[0]]["chip.energy_j"]}
    return found


def test_the_space_is_that_of_the_demo_and_the_plain_resnets_are_in_it() -> None:
    assert YAML(typ="safe").load(ROOT / "studies" / "digits-analog.yaml")["space"] == SPACE
    # 3 widths; a stage has 2 depths x 2 branches x 2 block types x 4 widenings = 32 forms, one or two stages: 3 x (32 + 1,024) = 3,168.
    assert len(set(NETWORKS)) == len(NETWORKS) == PLAN.space.size == 3168
    assert len(set(plain_resnets(PLAN))) == 24
    assert len(set(finer_plain_resnets(PLAN))) == 48
    assert set(plain_resnets(PLAN)) <= set(finer_plain_resnets(PLAN)) <= set(NETWORKS)


def test_tables_come_back_as_they_were_written(table: Table, tmp_path: Path) -> None:
    tables = {"digits": {AWARE: {0: table}, DIGITAL: {0: {genes: table[genes] for genes in plain_resnets(PLAN)}}}}
    write_tables(tmp_path / "kept.json", tables, "command")
    assert read_tables(tmp_path / "kept.json") == tables


def test_what_a_table_lacks_is_evaluated_once_and_comes_to_what_is_kept() -> None:
    kept = read_tables(FILE)["digits"][AWARE][0]
    smallest = plain_resnets(PLAN)[0]
    lacking = EvaluatedTable("digits", study_seed=0, training=AWARE, known={})
    assert lacking[smallest] is lacking[smallest]
    # Other processors round otherwise, and a step of training after another that grows.
    assert lacking[smallest] == pytest.approx(kept[smallest], abs=0.1)


@pytest.mark.parametrize("method", METHODS)
def test_searches_ask_networks_of_the_table_each_once_and_never_beat_the_exact_front(method: str, table: Table) -> None:
    asked = search(PLAN, table, method, seed=3)
    assert len(set(asked)) == len(asked) == 48
    if method in STARTS:
        start = STARTS[method](PLAN)
        assert asked[: len(start)] == start
    assert 0 < volume(PLAN, table, asked[:24]) <= volume(PLAN, table, asked) <= volume(PLAN, table, NETWORKS)


def test_only_networks_that_were_trained_both_ways_are_compared(table: Table) -> None:
    digital = {genes: table[genes] for genes in [NETWORKS[0], *NETWORKS[5:8]]}
    pairs = both_ways({AWARE: {0: table}, DIGITAL: {0: digital}}, 0)
    assert pairs == [(table[genes], table[genes]) for genes in NETWORKS[5:8]]


def test_kept_energies_are_those_that_the_target_gives_today() -> None:
    for task, trainings in read_tables(FILE).items():
        for kept in trainings[AWARE].values():
            genotypes = list(kept)
            found = [metrics["chip.energy_j"] for metrics in kept.values()]
            assert np.allclose(found, energies_j(plan_of(task, study_seed=0), genotypes), rtol=1e-6)
