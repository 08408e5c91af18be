"""The reliability contract on a real Ray: the driver killed at random moments, alone or with its Ray, and resumed.

These tests run `ray_kills.py` with fixed seeds; by hand it takes any seed and any number of kills. PARETUNE_FAULTS=full kills 200 times
with the Ray head kept running and 10 times with everything.
"""

import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from ray_kills import Verdict, kill_and_resume

FULL = os.environ.get("PARETUNE_FAULTS") == "full"
pytestmark = [pytest.mark.ray, pytest.mark.timeout(7200 if FULL else 900)]


def said(verdict: Verdict) -> Verdict:
    """The verdict, printed: it is what the README quotes."""
    print(f"\n{verdict}")
    return verdict


def test_a_driver_killed_again_and_again_loses_repeats_and_changes_nothing() -> None:
    kills = 200 if FULL else 20
    verdict = said(kill_and_resume(kills=kills, seed=20, everything=False))
    assert verdict.kills == kills
    assert verdict.sound, verdict


def test_a_driver_killed_with_its_ray_loses_repeats_and_changes_nothing() -> None:
    kills = 10 if FULL else 3
    verdict = said(kill_and_resume(kills=kills, seed=3, everything=True))
    assert verdict.kills == kills
    assert verdict.sound, verdict


def test_a_search_by_rungs_killed_again_and_again_loses_repeats_and_changes_nothing() -> None:
    kills = 20 if FULL else 4
    verdict = said(kill_and_resume(kills=kills, seed=5, everything=False, rungs=True))
    assert verdict.kills == kills
    assert verdict.sound, verdict


def test_the_harness_finds_results_that_vanish() -> None:
    verdict = said(kill_and_resume(kills=6, seed=1, everything=False, forgetful=True))
    assert verdict.repeated > 0
    assert not verdict.sound
