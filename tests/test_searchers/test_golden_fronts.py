"""The front of every registered searcher on a known problem, kept in `golden/`.

A change that is meant to keep numbers leaves these files alone. After one that is meant to move them, write them anew with
`python tests/test_searchers/test_golden_fronts.py --write` and say in the commit why they moved.
"""

import json
import platform
import sys
from pathlib import Path

import pytest

from paretune.core.genotype import fingerprint, named
from paretune.core.pareto import ParetoArchive
from paretune.searchers import SEARCHERS
from paretune.testing.problems import constrained_front_problem
from paretune.testing.searcher import drive

FOLDER = Path(__file__).parent / "golden"
LEARNING = ("auto", "lemonade", "predictor_guided", "rl_controller")
"""Searchers that solve equations with floating-point numbers, which other processors round otherwise."""
SEED = 2024
NUM_CANDIDATES = 200


def search_record(name):
    """The front after a fixed budget in `mode: sync`, in ask order, as people read it."""
    known = constrained_front_problem()
    trials = drive(SEARCHERS.create(name, known.space, known.problem, seed=SEED), known, num_candidates=NUM_CANDIDATES)
    archive = ParetoArchive(len(known.problem.objectives))
    for trial in trials:
        archive.insert(trial.ask_index, *known.problem.score(trial))
    members = [trials[index] for index in archive]
    front = [
        {"ask_index": trial.ask_index, "architecture": named(known.space.decisions, trial.genotype), "metrics": trial.metrics}
        for trial in members
    ]
    share = archive.hypervolume(known.problem.reference) / _best_volume(known)
    processor = {"processor": _processor()} if name in LEARNING else {}
    return {
        "searcher": name,
        "seed": SEED,
        "num_candidates": NUM_CANDIDATES,
        **processor,
        "hypervolume_share": round(share, 12),
        "front": front,
    }


def _processor():
    """The first processor's name and abilities, which decide the kernels that numpy and torch take."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    facts = [next((line for line in lines if line.startswith(name)), platform.processor()) for name in ("model name", "flags")]
    return fingerprint(facts)[:12]


def _best_volume(known):
    best = ParetoArchive(known.front.shape[1])
    for index, point in enumerate(known.front):
        best.insert(index, point)
    return best.hypervolume(known.problem.reference)


def test_no_golden_front_is_missing_or_left_over():
    assert sorted(path.stem for path in FOLDER.glob("*.json")) == list(SEARCHERS.names())


@pytest.mark.parametrize("name", SEARCHERS.names())
def test_the_front_is_the_golden_one(name):
    found, golden = search_record(name), json.loads((FOLDER / f"{name}.json").read_text())
    if found.get("processor") == golden.get("processor"):
        assert found == golden
    else:
        assert found["hypervolume_share"] == pytest.approx(golden["hypervolume_share"], abs=0.02)


if __name__ == "__main__":
    if sys.argv[1:] != ["--write"]:
        sys.exit(f"usage: python {sys.argv[0]} --write")
    for searcher_name in SEARCHERS.names():
        (FOLDER / f"{searcher_name}.json").write_text(json.dumps(search_record(searcher_name), indent=1) + "\n")
        print(FOLDER / f"{searcher_name}.json")
