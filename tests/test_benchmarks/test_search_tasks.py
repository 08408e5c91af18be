import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))
DATA = Path(os.environ.get("PARETUNE_DATA", ROOT.parent / "shared" / "data"))
if not DATA.exists():
    pytest.skip(f"the measured tables are not at {DATA}", allow_module_level=True)

from made_up import MobileSpace, error_and_latency, stored_front  # noqa: E402 - found by the path above
from search_runs import Run, judged, search  # noqa: E402
from search_store import Figure, Store  # noqa: E402
from search_tasks import DEVICES, RowsSpace, SearchTask, accel_task, task_makers  # noqa: E402

from paretune.core.genotype import GENE, Decision, num_choices  # noqa: E402
from paretune.core.pareto import hypervolume, non_dominated  # noqa: E402
from paretune.searchers.operators import mutated, random_genotypes  # noqa: E402
from paretune.testing.problems import known_front_problem  # noqa: E402

FRONT_SIZES = {
    "nb201 cifar10 1080ti_1 200 epochs": 32,
    "nb201 cifar10 pixel3 200 epochs": 44,
    "nb201 cifar100 fpga 12 epochs": 15,
    "accel accuracy zcu102": 42,
    "macro accuracy parameters": 39,
    "analog accuracy deviation macs": 27,
    "mobile error latency": 460,
}


def swept(points_F2: np.ndarray, reference: np.ndarray) -> float:
    """Hypervolume of two objectives, a strip for each point from left to right: a second road beside the C code."""
    volume, ceiling = 0.0, float(reference[1])
    for first, second in sorted(points_F2.tolist()):
        if first < reference[0] and second < ceiling:
            volume += (reference[0] - first) * (ceiling - second)
            ceiling = second
    return float(volume)


@pytest.mark.parametrize(("name", "count"), FRONT_SIZES.items(), ids=[name.replace(" ", "_") for name in FRONT_SIZES])
def test_fronts_have_their_known_size_and_volume_and_nothing_dominates_them(name: str, count: int) -> None:
    task = task_makers()[name]()
    assert len(task.front) == count
    assert non_dominated(task.front).all()
    if task.front.shape[1] == 2:
        assert hypervolume(task.front, task.reference) == pytest.approx(swept(task.front, task.reference), rel=1e-12)


def test_every_task_has_the_name_it_is_listed_under_and_there_are_six_devices() -> None:
    assert len(DEVICES) >= 6
    assert [make().name for make in task_makers().values()] == list(task_makers())


@pytest.mark.parametrize("name", ["nb201 cifar10 gold_6240 200 epochs", "analog accuracy deviation macs"])
def test_who_evaluates_everything_finds_the_whole_front(name: str) -> None:
    task = task_makers()[name]()
    assert isinstance(task.space, RowsSpace)
    assert task.quality(task.space.members()) == (pytest.approx(1.0), 1.0)
    assert task.bound == 1.0


def test_the_short_training_misleads_even_who_knows_all_of_it() -> None:
    task = task_makers()["nb201 cifar100 pixel3 12 epochs"]()
    assert isinstance(task.space, RowsSpace)
    volume, recall = task.quality(task.space.members())
    assert volume == pytest.approx(task.bound)
    assert volume < 1.0
    assert recall < 1.0


def test_the_optima_are_the_published_ones() -> None:
    assert -100 * task_makers()["nb201 cifar100 alone"]().front[0, 0] == pytest.approx(73.51, abs=0.005)
    assert -100 * task_makers()["analog accuracy alone"]().front[0, 0] == pytest.approx(90.07)


def test_the_first_nasbench201_cell_has_the_figures_of_the_tables() -> None:
    """Cell 0 has the latency that the table's source prints for it on the FPGA, 2.57296 ms."""
    task = task_makers()["nb201 cifar10 fpga 200 epochs"]()
    assert isinstance(task.space, RowsSpace)
    first_1D = task.space.members()[:1]
    assert task.signal(first_1D)[0, 1] == pytest.approx(0.00257296)
    assert task.report(first_1D)[0, 0] == -task.signal(first_1D)[0, 0]


def test_genotypes_outside_a_nearest_table_stand_for_a_row_that_no_other_is_closer_than() -> None:
    space = accel_task().space
    assert isinstance(space, RowsSpace)
    random_ND = random_genotypes(num_choices(space.decisions), np.random.default_rng(0), 20)
    canonical_ND = space.canonical(random_ND)
    distances_NR = (random_ND[:, np.newaxis] != space.rows_RD).sum(axis=2)
    assert np.array_equal((random_ND != canonical_ND).sum(axis=1), distances_NR.min(axis=1))
    assert np.array_equal(space.canonical(canonical_ND), canonical_ND)


def test_genotypes_outside_another_table_are_invalid() -> None:
    decisions = [Decision(name=name, choices=(0, 1), ordinal=False) for name in "ab"]
    space = RowsSpace("two of four", decisions, np.array([[0, 0], [1, 1]], dtype=GENE))
    assert space.valid(np.array([[0, 0], [0, 1], [1, 0], [1, 1]], dtype=GENE)).tolist() == [True, False, False, True]


def test_the_made_up_space_has_its_exact_size_and_layers_beyond_the_depth_decide_nothing() -> None:
    """A stage has 3 widths and 6, 36 or 216 ways of its layers: (3 * 258) ** 6 * 4 resolutions."""
    space = MobileSpace()
    assert space.size == 4 * 774**6
    genotypes_ND = np.zeros((1, 49), dtype=GENE)
    changed_ND = genotypes_ND.copy()
    changed_ND[0, 5] = 2  # kernel of the first stage's second layer, at depth 1
    assert np.array_equal(space.canonical(changed_ND), genotypes_ND)


def test_no_single_change_improves_the_best_known_front() -> None:
    space, rng = MobileSpace(), np.random.default_rng(1)
    front_ND = stored_front()
    choices_D = num_choices(space.decisions)
    mutants_ND = space.canonical(mutated(np.repeat(front_ND, 20, axis=0), choices_D, probability=0.0, rng=rng))
    points = np.concatenate([error_and_latency(front_ND), error_and_latency(mutants_ND) + 1e-9])  # equal networks round differently
    assert non_dominated(points)[: len(front_ND)].all()


def test_a_search_told_batch_by_batch_has_no_repeats_and_its_volume_never_falls() -> None:
    known = known_front_problem()
    signs = np.array([objective.sign for objective in known.problem.objectives])

    def signal(genotypes_ND: np.ndarray) -> np.ndarray:
        return np.array([[known.evaluate(row)[name] for name in known.problem.metrics] for row in genotypes_ND])

    task = SearchTask(
        name="known",
        space=known.space,
        problem=known.problem,
        signal=signal,
        report=lambda genotypes_ND: signal(genotypes_ND) * signs,
        reference=known.problem.reference,
        front=known.front,
        bound=1.0,
    )
    run = search(task, "nsga2", seed=3, budget=300)
    assert run.repeats == 0
    assert 0 < run.volumes[0] <= run.volumes[1] <= 1
    again = judged(task, np.zeros((4, len(known.space.decisions)), dtype=GENE), seed=0, cpu_s_N=[0.0, 0.001, 0.001, 0.002])
    assert again.repeats == 0.75
    assert again.cpu_ms == again.early_cpu_ms == 0.5


def test_runs_survive_their_file_and_figures_are_those_of_the_textbook(tmp_path: Path) -> None:
    """1, 2, 3 and 2, 3, 4: means 2 and 3, deviations 1; the difference has the standard error sqrt(2 / 3)."""
    store = Store(versions={"peer": "1.0"})
    run = Run(seed=2, volumes=(0.5, 0.75), recalls=(0.0, 0.25), repeats=0.125, cpu_ms=1.5, early_cpu_ms=2.5, optimum_at=None)
    store.add("task", "method", run)
    store.write(tmp_path / "runs.json", "a command")
    assert Store.read(tmp_path / "runs.json") == store
    assert json.loads((tmp_path / "runs.json").read_text())["command"] == "a command"
    one, other = Figure.of([1.0, 2.0, 3.0]), Figure.of([2.0, 3.0, 4.0])
    assert one.z_against(other) == pytest.approx(-1 / np.sqrt(2 / 3))
