"""Hypothesis strategies for decisions, spaces, genotypes, problems and trials. Needs the `test` extra.

Legend: N genotypes, D decisions.
"""

import math

from hypothesis import strategies as st

from paretune.core.genotype import Choice, Decision, Genotypes, as_genotypes
from paretune.core.metrics import Direction
from paretune.core.objectives import Constraint, Objective, Problem
from paretune.core.trial import Outcome, Trial
from paretune.testing.problems import Inactive, TabulatedSpace

NAMES = st.from_regex(r"[a-z][a-z0-9_]{0,7}(\.[a-z][a-z0-9_]{0,7})?", fullmatch=True)
FINITE = st.floats(min_value=-1e9, max_value=1e9, allow_nan=False)


def choices() -> st.SearchStrategy[Choice]:
    """One value of a decision: integer, finite float, text or boolean."""
    return st.one_of(st.integers(-1000, 1000), st.floats(-1e6, 1e6), st.text(max_size=6), st.booleans())


@st.composite
def decisions(draw: st.DrawFn, *, name: str | None = None, max_choices: int = 5) -> Decision:
    """A decision with 1 to `max_choices` different values, of mixed types."""
    values = draw(st.lists(choices(), min_size=1, max_size=max_choices, unique_by=lambda value: (type(value).__name__, value)))
    return Decision(name=draw(NAMES) if name is None else name, choices=tuple(values), ordinal=draw(st.booleans()))


@st.composite
def spaces(draw: st.DrawFn, *, max_decisions: int = 4, max_choices: int = 4) -> TabulatedSpace:
    """A space small enough to list, with inactive decisions and sometimes forbidden pairs; never empty."""
    num_decisions = draw(st.integers(1, max_decisions))
    made = [draw(decisions(name=f"decision{index}", max_choices=max_choices)) for index in range(num_decisions)]
    rules = []
    for later in range(1, num_decisions):
        if draw(st.booleans()):
            earlier = draw(st.integers(0, later - 1))
            rules.append(Inactive(decision=later, controller=earlier, choices=(draw(st.integers(0, len(made[earlier].choices) - 1)),)))
    forbidden = []
    if num_decisions >= 2 and len(made[0].choices) >= 2 and draw(st.booleans()):
        forbidden.append([(0, len(made[0].choices) - 1), (1, draw(st.integers(0, len(made[1].choices) - 1)))])
    return TabulatedSpace(made, inactive=rules, forbidden=forbidden)


def genotypes(space: TabulatedSpace, *, max_size: int = 20) -> st.SearchStrategy[Genotypes]:
    """`(N, D)` any genotypes of a space, canonical and valid or not; at least one row."""
    row = st.tuples(*(st.integers(0, len(decision.choices) - 1) for decision in space.decisions))
    return st.lists(row, min_size=1, max_size=max_size).map(lambda rows: as_genotypes(rows, len(space.decisions)))


@st.composite
def problems(draw: st.DrawFn, *, metrics: tuple[str, ...] = ("accuracy", "host.latency_s", "parameters")) -> Problem:
    """One to all of the metrics as objectives, any of them constrained."""
    order = draw(st.permutations(metrics))
    num_objectives = draw(st.integers(1, len(metrics)))
    constraints = []
    for name in metrics:
        if draw(st.booleans()):
            lower, upper = sorted((draw(FINITE), draw(FINITE)))
            constraints.append(Constraint(metric=name, upper=upper, lower=draw(st.sampled_from([lower, -math.inf]))))
    directions = [draw(st.sampled_from(Direction)) for _ in metrics]
    objectives = [Objective(metric=name, direction=way, reference=draw(FINITE)) for name, way in zip(order, directions, strict=True)]
    return Problem(objectives=tuple(objectives[:num_objectives]), constraints=tuple(constraints))


@st.composite
def trials(draw: st.DrawFn, *, space: TabulatedSpace, problem: Problem, ask_index: int = 0) -> Trial:
    """A trial of a canonical genotype of the space; every metric of the problem where it is `ok`, any of them otherwise."""
    genotype = space.canonical(draw(genotypes(space, max_size=1)))[0]
    outcome = draw(st.sampled_from(Outcome))
    values = {name: draw(FINITE) for name in problem.metrics}
    if outcome is not Outcome.OK:
        values = {name: value for name, value in values.items() if draw(st.booleans())}
    return Trial(ask_index=ask_index, genotype=tuple(int(gene) for gene in genotype), outcome=outcome, metrics=values)
