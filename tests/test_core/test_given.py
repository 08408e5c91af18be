"""Candidates written down by people: what counts as complete, and that every mistake is told."""

import numpy as np

from paretune.core.genotype import Decision, from_named
from paretune.core.given import given_genotypes
from paretune.testing.problems import Inactive, TabulatedSpace

# The width of the second layer counts only where there is one; a mode has no choice.
DECISIONS = (
    Decision(name="depth", choices=(1, 2), ordinal=True),
    Decision(name="width1", choices=(8, 16), ordinal=True),
    Decision(name="width2", choices=(8, 16, 32), ordinal=True),
    Decision(name="kind", choices=("basic", "bottleneck"), ordinal=False),
    Decision(name="mode", choices=("only",), ordinal=False),
)
SPACE = TabulatedSpace(DECISIONS, inactive=[Inactive(decision=2, controller=0, choices=(0,))])


def test_what_has_no_effect_may_be_left_out_and_what_has_may_not():
    rows, mistakes = given_genotypes(SPACE, [{"depth": 1, "width1": 16, "kind": "basic"}, {"width1": 8, "depth": 2}])
    assert np.array_equal(rows, [from_named(DECISIONS, {"depth": 1, "width1": 16, "width2": 8, "kind": "basic", "mode": "only"})])
    assert mistakes == [((1,), "leaves open what matters: width2 (one of 8, 16, 32); kind (one of basic, bottleneck)")]


def test_a_decision_left_out_that_would_bring_others_into_play_is_named_with_them():
    _, mistakes = given_genotypes(SPACE, [{"width1": 8, "kind": "basic"}])
    assert mistakes == [((0,), "leaves open what matters: depth (one of 1, 2); width2 (one of 8, 16, 32)")]


def test_every_mistake_of_every_candidate_is_told_with_the_nearest_names():
    good = {"depth": 1, "width1": 8, "kind": "basic"}
    rows, mistakes = given_genotypes(
        SPACE, [{**good, "widht2": 8, "kind": "botleneck"}, good, {**good, "width2": 32}, {**good, "depth": True}]
    )
    assert len(rows) == 1
    assert [way for way, _ in mistakes] == [(0, "widht2"), (0, "kind"), (2,), (3, "depth")]
    messages = [message for _, message in mistakes]
    assert "no such decision. Did you mean 'width2'?" in messages[0]
    assert messages[1] == "'botleneck' is not one of ['basic', 'bottleneck']. Did you mean 'bottleneck'?"
    assert messages[2] == "is the same network as candidate 1; remove one"
    assert messages[3] == "True is not one of [1, 2]"


def test_choices_that_exclude_each_other_are_refused():
    no_wide_bottleneck = TabulatedSpace(DECISIONS, forbidden=[[(1, 1), (3, 1)]])
    rows, mistakes = given_genotypes(no_wide_bottleneck, [{"depth": 1, "width1": 16, "width2": 8, "kind": "bottleneck"}])
    assert len(rows) == 0
    assert mistakes == [((0,), "is no member of the space: its choices exclude each other")]
