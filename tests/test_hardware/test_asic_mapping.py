"""The mapper against hand-worked cases, brute force and every one of its sub-accelerators alone."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from paretune.hardware.analytic.asic_mapping import chains_makespan, map_layers

TIMES = st.floats(0.0, 10.0).map(lambda value: round(value, 2))


@st.composite
def costs(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Times and energies of up to 4 layers of 2 networks on 2 or 3 engines."""
    shape = (2, draw(st.integers(1, 4)), draw(st.integers(2, 3)))
    return draw(arrays(np.float64, shape, elements=TIMES)), draw(arrays(np.float64, shape, elements=TIMES))


def schedule(durations: list[float], engines: list[int], images: int) -> float:
    return float(chains_makespan(np.array([durations]), np.array([engines]), num_engines=2, images=images)[0])


def test_list_schedule_of_a_pipeline_worked_by_hand() -> None:
    # The first layer of three images ends at 2, 4, 6; the second runs 2-5, 5-8, 8-11.
    assert schedule([2, 3], [0, 1], images=3) == 11
    # On one engine nothing overlaps.
    assert schedule([2, 3], [0, 0], images=3) == 15
    assert schedule([2, 3], [0, 1], images=1) == 5


def test_a_layer_that_can_start_first_starts_first() -> None:
    # Two images, engines 0, 1, 0, of 1, 4, 1: engine 0 takes both first layers (0-1, 1-2), engine 1 runs 1-5 and 5-9, the last ends at 10.
    assert schedule([1, 4, 1], [0, 1, 0], images=2) == 10


def test_layers_of_no_duration_wait_for_no_engine() -> None:
    assert schedule([2, 0, 3], [0, 0, 1], images=3) == schedule([2, 3], [0, 1], images=3)


@settings(max_examples=30, deadline=None)
@given(costs(), st.integers(1, 3), st.one_of(st.none(), st.floats(0.5, 30)))
def test_the_mapper_is_never_worse_than_one_engine_alone(found: tuple[np.ndarray, np.ndarray], images: int, limit_s: float | None) -> None:
    times, energies = found
    best = map_layers(times, energies, images=images, limit_s=limit_s)
    for engine in range(times.shape[2]):
        alone_s, alone_j = images * times[:, :, engine].sum(axis=1), energies[:, :, engine].sum(axis=1)
        for network in range(len(times)):
            if limit_s is None:
                assert best.makespan_s[network] <= alone_s[network] + 1e-9
            elif alone_s[network] <= limit_s - 1e-9:
                assert best.makespan_s[network] <= limit_s + 1e-9
                assert best.energy_j[network] <= alone_j[network] + 1e-9


@settings(max_examples=30, deadline=None)
@given(costs(), st.integers(1, 2))
def test_what_the_mapper_reports_is_what_its_assignment_costs(found: tuple[np.ndarray, np.ndarray], images: int) -> None:
    times, energies = found
    best = map_layers(times, energies, images=images)
    durations = np.take_along_axis(times, best.assigned[:, :, None], axis=2)[:, :, 0]
    again = chains_makespan(durations, best.assigned, num_engines=times.shape[2], images=images)
    assert best.makespan_s == pytest.approx(again)
    assert best.energy_j == pytest.approx(np.take_along_axis(energies, best.assigned[:, :, None], axis=2).sum(axis=(1, 2)))


@settings(max_examples=30, deadline=None)
@given(costs())
def test_one_image_without_limit_gets_the_shortest_of_all_assignments(found: tuple[np.ndarray, np.ndarray]) -> None:
    times, energies = found
    best = map_layers(times, energies)
    for network, rows in enumerate(times):
        every = [
            sum(row[engine] for row, engine in zip(rows, choice, strict=True)) for choice in product(range(rows.shape[1]), repeat=len(rows))
        ]
        assert best.makespan_s[network] == pytest.approx(min(every))


@settings(max_examples=30, deadline=None)
@given(costs(), st.floats(0.5, 30))
def test_a_limit_that_some_assignment_keeps_is_kept(found: tuple[np.ndarray, np.ndarray], limit_s: float) -> None:
    times, energies = found
    best = map_layers(times, energies, limit_s=limit_s)
    possible = times.min(axis=2).sum(axis=1) <= limit_s - 1e-9
    assert np.all(best.makespan_s[possible] <= limit_s + 1e-9)


def test_the_layer_that_gains_most_time_for_its_energy_moves_first() -> None:
    # On engine 0 both layers take 10 s and 1 J. Engine 1 gains 8 s for 4 J in the first, 6 s for 1 J in the second: 2 against 6 s a joule.
    times = np.array([[[10.0, 2.0], [10.0, 4.0]]])
    energies = np.array([[[1.0, 5.0], [1.0, 2.0]]])
    assert map_layers(times, energies, limit_s=20).assigned.tolist() == [[0, 0]]
    assert map_layers(times, energies, limit_s=15).assigned.tolist() == [[0, 1]]
    assert map_layers(times, energies, limit_s=6).assigned.tolist() == [[1, 1]]
    # A limit that nothing keeps: as short as can be.
    assert map_layers(times, energies, limit_s=1).makespan_s.tolist() == [6]


def test_images_in_flight_spread_over_equal_engines() -> None:
    # Two layers of 5 s, alike on both engines: one engine needs 4 x 10 s, two in a pipeline 10 + 3 x 5.
    times, energies = np.full((1, 2, 2), 5.0), np.ones((1, 2, 2))
    best = map_layers(times, energies, images=4)
    assert best.makespan_s.tolist() == [25]
    assert sorted(best.assigned[0].tolist()) == [0, 1]
