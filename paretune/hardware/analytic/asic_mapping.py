"""Which sub-accelerator runs which layer: moves by best gain, and the makespan of a list schedule.

A network is a chain: a layer starts when the one before it has ended. Several images in flight keep several sub-accelerators busy.

Source: Yang et al., NASAIC, DAC 2020 (heterogeneous assignment: least energy within a latency limit).

Legend: N networks, L layers at most (shorter networks end in layers of 0 s and 0 J), S sub-accelerators, I images.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from paretune.hardware.analytic.layers import Floats

Integers = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Mapping:
    """Assignments of layers and what they cost."""

    assigned: Integers
    """`(N, L)` sub-accelerator of each layer."""
    makespan_s: Floats
    """`(N,)` time until all images are done."""
    energy_j: Floats
    """`(N,)` of one image."""


def chains_makespan(durations_NL: Floats, assigned_NL: Integers, *, num_engines: int, images: int) -> Floats:
    """`(N,)` time until `images` copies of each chain are done, each layer on its engine, one at a time.

    The layer that can start first starts first; of several, that of the earliest image. Layers of no duration wait for no engine. (In
    `aggregate.list_schedule` the order is given and the engine is chosen; here the engine is given and the order follows.)

    Args:
        durations_NL: `(N, L)` time of each layer on its engine.
        assigned_NL: `(N, L)` engine of each layer.
        num_engines: S.
        images: copies, all ready at time 0.

    Returns:
        `(N,)` in the unit of the durations.
    """
    if images == 1:
        return np.asarray(durations_NL.sum(axis=1))
    num_networks, num_layers = durations_NL.shape
    rows_N = np.arange(num_networks)
    next_NI = np.zeros((num_networks, images), dtype=np.int64)
    ready_NI, free_NS = np.zeros((num_networks, images)), np.zeros((num_networks, num_engines))
    for _ in range(num_layers * images):
        waiting_NI = np.minimum(next_NI, num_layers - 1)
        engine_NI = np.take_along_axis(assigned_NL, waiting_NI, axis=1)
        duration_NI = np.take_along_axis(durations_NL, waiting_NI, axis=1)
        free_NI = np.where(duration_NI > 0, np.take_along_axis(free_NS, engine_NI, axis=1), 0.0)
        start_NI = np.maximum(ready_NI, free_NI)
        image_N = np.where(next_NI < num_layers, start_NI, np.inf).argmin(axis=1)
        end_N = start_NI[rows_N, image_N] + duration_NI[rows_N, image_N]
        ready_NI[rows_N, image_N] = end_N
        busy_N = duration_NI[rows_N, image_N] > 0
        free_NS[rows_N[busy_N], engine_NI[rows_N, image_N][busy_N]] = end_N[busy_N]
        next_NI[rows_N, image_N] += 1
    return np.asarray(ready_NI.max(axis=1))


def map_layers(times_NLS: Floats, energies_NLS: Floats, *, images: int = 1, limit_s: float | None = None) -> Mapping:
    """Assign every layer to a sub-accelerator.

    With a limit: every layer starts where it takes the least energy; while the limit is missed, the layer moves that gains most time for
    its energy. Without one: every layer starts where it is fastest, and moves that shorten the makespan follow. The result is compared
    with all layers on one sub-accelerator, each in turn, so that it is never worse than any of them.

    Args:
        times_NLS: `(N, L, S)` seconds of each layer on each sub-accelerator.
        energies_NLS: `(N, L, S)` joules.
        images: in flight at once.
        limit_s: of the makespan; None for the shortest makespan that the moves find.

    Returns:
        Within the limit the least energy of the mappings compared; where none keeps it, or there is none, the shortest makespan.
    """
    first, second = (times_NLS, energies_NLS) if limit_s is None else (energies_NLS, times_NLS)
    assigned_NL = _least(first, second)
    if times_NLS.shape[2] > 1 and (limit_s is not None or images > 1):
        _move_layers(assigned_NL, times_NLS, energies_NLS, images=images, limit_s=limit_s)
    best = _evaluated(assigned_NL, times_NLS, energies_NLS, images=images)
    if limit_s is None and images == 1:
        return best  # each layer is where it is fastest: nothing is faster
    for engine in range(times_NLS.shape[2]):
        best = _better(best, _evaluated(np.full_like(assigned_NL, engine), times_NLS, energies_NLS, images=images), limit_s)
    return best


def _least(first_NLS: Floats, second_NLS: Floats) -> Integers:
    """`(N, L)` engine with the least first cost, of several that with the least second one."""
    assigned_NL = np.zeros(first_NLS.shape[:2], dtype=np.int64)
    least_NL, second_NL = first_NLS[:, :, 0], second_NLS[:, :, 0]
    for engine in range(1, first_NLS.shape[2]):
        cost_NL, other_NL = first_NLS[:, :, engine], second_NLS[:, :, engine]
        better_NL = (cost_NL < least_NL) | ((cost_NL == least_NL) & (other_NL < second_NL))
        assigned_NL[better_NL] = engine
        least_NL, second_NL = np.where(better_NL, cost_NL, least_NL), np.where(better_NL, other_NL, second_NL)
    return assigned_NL


def _picked(values_NLS: Floats, assigned_NL: Integers) -> Floats:
    """`(N, L)` values on the engines assigned."""
    chosen_NL = values_NLS[:, :, 0]
    for engine in range(1, values_NLS.shape[2]):
        chosen_NL = np.where(assigned_NL == engine, values_NLS[:, :, engine], chosen_NL)
    return chosen_NL


def _evaluated(assigned_NL: Integers, times_NLS: Floats, energies_NLS: Floats, *, images: int) -> Mapping:
    durations_NL = _picked(times_NLS, assigned_NL)
    makespan_N = chains_makespan(durations_NL, assigned_NL, num_engines=times_NLS.shape[2], images=images)
    return Mapping(assigned=assigned_NL, makespan_s=makespan_N, energy_j=_picked(energies_NLS, assigned_NL).sum(axis=1))


def _better(one: Mapping, other: Mapping, limit_s: float | None) -> Mapping:
    """The better of two mappings, network by network."""
    shorter_N = (other.makespan_s < one.makespan_s) | ((other.makespan_s == one.makespan_s) & (other.energy_j < one.energy_j))
    if limit_s is not None:
        keeps_N, other_keeps_N = one.makespan_s <= limit_s, other.makespan_s <= limit_s
        cheaper_N = (other.energy_j < one.energy_j) | ((other.energy_j == one.energy_j) & (other.makespan_s < one.makespan_s))
        shorter_N = np.where(keeps_N, other_keeps_N & cheaper_N, other_keeps_N | shorter_N)
    return Mapping(
        assigned=np.where(shorter_N[:, None], other.assigned, one.assigned),
        makespan_s=np.where(shorter_N, other.makespan_s, one.makespan_s),
        energy_j=np.where(shorter_N, other.energy_j, one.energy_j),
    )


def _move_layers(assigned_NL: Integers, times_NLS: Floats, energies_NLS: Floats, *, images: int, limit_s: float | None) -> None:
    """Move layers, one a network and round, until nothing gains or the limit is kept; changes `assigned_NL`."""
    active = np.arange(len(assigned_NL))
    for _ in range(assigned_NL.shape[1] * (times_NLS.shape[2] - 1)):
        if limit_s is not None:
            found = _evaluated(assigned_NL[active], times_NLS[active], energies_NLS[active], images=images)
            active = active[found.makespan_s > limit_s]
        if not len(active):
            return
        gains_NLS = _gains(times_NLS[active], assigned_NL[active], images)
        scores_NLS = gains_NLS
        if limit_s is not None:
            energies = energies_NLS[active]
            extra_NLS = energies - _picked(energies, assigned_NL[active])[:, :, None]
            # A move that gains time for no energy comes before all that pay.
            scores_NLS = np.divide(gains_NLS, extra_NLS, out=np.full(extra_NLS.shape, np.inf), where=extra_NLS > 0)
            scores_NLS = np.where(gains_NLS > 0, scores_NLS, -np.inf)
        flat = scores_NLS.reshape(len(active), -1).argmax(axis=1)
        layer_N, engine_N = np.divmod(flat, times_NLS.shape[2])
        moves_N = gains_NLS[np.arange(len(active)), layer_N, engine_N] > 0
        active, layer_N, engine_N = active[moves_N], layer_N[moves_N], engine_N[moves_N]
        assigned_NL[active, layer_N] = engine_N


def _gains(times_NLS: Floats, assigned_NL: Integers, images: int) -> Floats:
    """`(N, L, S)` how much moving each layer to each engine shortens the makespan.

    It is estimated as that of a pipeline: the chain once, and the busiest engine's share of it for each image more.
    """
    durations_NL = _picked(times_NLS, assigned_NL)
    gains_NLS = durations_NL[:, :, None] - times_NLS
    if images == 1:
        return gains_NLS
    engines = range(times_NLS.shape[2])
    loads_NS = np.stack([np.where(assigned_NL == engine, durations_NL, 0.0).sum(axis=1) for engine in engines], axis=1)
    before_N = loads_NS.max(axis=1)
    for target in engines:
        after_NL = np.zeros(durations_NL.shape)
        for engine in engines:
            load_NL = loads_NS[:, engine, None] - np.where(assigned_NL == engine, durations_NL, 0.0)
            if engine == target:
                load_NL = load_NL + times_NLS[:, :, target]
            after_NL = np.maximum(after_NL, load_NL)
        gains_NLS[:, :, target] += (images - 1) * (before_N[:, None] - after_NL)
    # Staying where it is gains nothing, and rounding must not make it seem otherwise.
    stays_NLS = assigned_NL[:, :, None] == np.arange(times_NLS.shape[2])
    return np.where(stays_NLS, 0.0, gains_NLS)
