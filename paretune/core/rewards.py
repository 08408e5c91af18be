"""Published rewards of hardware-aware search as pure functions of metrics and settings.

Parameters before the star are metrics of one candidate (a tuple takes several); those after it are settings. So any of them can stand
under `derived:` in a spec, and the result is a metric like every other: an objective or a limit for any searcher. Rewards are to be
maximised; a loss says so in its return type. Values are SI and only their ratios matter.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, TypeAlias

from paretune.core.errors import BadInput
from paretune.core.metrics import Direction


@dataclass(frozen=True, slots=True)
class UnitOf:
    """Marks a setting that is a value of a metric: it is read and checked in the unit of the metric that the parameter names."""

    parameter: str


Loss: TypeAlias = Annotated[float, Direction.MIN]
"""A result to be minimised."""

LatencyLimit: TypeAlias = Annotated[float, UnitOf("latency")]
CostLimit: TypeAlias = Annotated[float, UnitOf("cost")]
CostLimits: TypeAlias = Annotated[tuple[float, ...], UnitOf("costs")]


def ratio(numerator: float, denominator: float, *, floor: float = 0.0) -> float:
    """One metric over another, for example accuracy over its deviation (robustness on analog hardware).

    Args:
        numerator: to be large.
        denominator: to be small.
        floor: smaller denominators count as this much, so that one lucky measurement does not win everything.

    Raises:
        BadInput: the denominator and the floor are 0, or `floor` is negative.

    Source: the objective of AnalogNAS (Benmeziane et al., IEEE EDGE 2023).
    """
    if floor < 0:
        raise BadInput(f"floor: must be at least 0 (got {floor})")
    divisor = math.copysign(max(abs(denominator), floor), denominator)
    if divisor == 0:
        raise BadInput("floor: the denominator is 0 for this candidate, so the ratio needs a floor above 0")
    return numerator / divisor


def weighted_sum(metrics: tuple[float, ...], *, weights: tuple[float, ...]) -> float:
    """Sum of weights times metrics; a weight below 0 makes a metric a cost."""
    _same_length(weights=weights, metrics=metrics)
    return math.fsum(weight * metric for weight, metric in zip(weights, metrics, strict=True))


def mnasnet(accuracy: float, latency: float, *, target: LatencyLimit, alpha: float = -0.07, beta: float = -0.07) -> float:
    """Accuracy times (latency / target) to the power `alpha` within the target, `beta` beyond it.

    Soft as published: both -0.07, so twice the latency is worth about 5 % of accuracy. Hard: `alpha: 0`, `beta: -1`.

    Source: Tan et al., MnasNet, CVPR 2019.
    """
    _positive(target=target)
    return accuracy * math.pow(_share(latency, target), alpha if latency <= target else beta)


def proxyless(accuracy: float, latency: float, *, target: LatencyLimit, power: float = 0.1) -> float:
    """Accuracy times (target / latency) to a power: ProxylessNAS trained by REINFORCE.

    Source: Cai et al., ProxylessNAS, ICLR 2019, and its published code.
    """
    _positive(target=target)
    return accuracy / math.pow(_share(latency, target), power)


def proxyless_mul_log(cross_entropy: float, latency: float, *, target: LatencyLimit, factor: float = 0.2, power: float = 0.3) -> Loss:
    """`factor` * cross-entropy * (log latency / log target) ** power; latencies in milliseconds, since logarithms need a unit.

    Raises:
        BadInput: a latency or the target is not above 1 ms, where the form has no meaning.

    Source: the `mul#log` loss of ProxylessNAS' published code.
    """
    latency_ms, target_ms = 1000 * latency, 1000 * target
    if latency_ms <= 1 or target_ms <= 1:
        raise BadInput(f"target: this loss needs latencies above 1 ms (latency {latency_ms:g} ms, target {target_ms:g} ms)")
    return factor * cross_entropy * math.pow(math.log(latency_ms) / math.log(target_ms), power)


def proxyless_add_linear(cross_entropy: float, latency: float, *, target: LatencyLimit, weight: float = 0.1) -> Loss:
    """Cross-entropy plus `weight` times the relative excess over the target; a faster network gets a bonus.

    Source: the `add#linear` loss of ProxylessNAS' published code.
    """
    _positive(target=target)
    return cross_entropy + weight * (latency - target) / target


def fbnet(cross_entropy: float, latency: float, *, factor: float = 0.2, power: float = 0.6) -> Loss:
    """Cross-entropy * `factor` * log(latency) ** power, the latency in microseconds as its lookup table has it.

    Raises:
        BadInput: a latency is not above 1 microsecond, where the form has no meaning.

    Source: Wu et al., FBNet, CVPR 2019.
    """
    latency_us = 1e6 * latency
    if latency_us <= 1:
        raise BadInput(f"latency: this loss needs more than 1 us (got {latency_us:g} us)")
    return cross_entropy * factor * math.pow(math.log(latency_us), power)


def fnas(accuracy: float, latency: float, *, target: LatencyLimit, baseline: float = 0.0) -> float:
    """Gain over a baseline accuracy plus the share of the target used; below -1, by how much it is missed, beyond the target.

    Source: Jiang et al., Accuracy vs. efficiency (FNAS), DAC 2019.
    """
    _positive(target=target)
    return (target - latency) / target - 1 if latency > target else accuracy - baseline + latency / target


def hotnas(
    accuracy: float,
    latency: float,
    *,
    fast: LatencyLimit,
    slow: LatencyLimit,
    lowest: float = 0.80,
    highest: float = 0.89,
    weight: float = 0.7,
    continuous: bool = False,
) -> float:
    """Accuracy and latency in ranges, each mapped to -1 ... 1 and weighted.

    Args:
        accuracy: fraction; below `lowest` counts -1, above `highest` counts 1.
        latency: faster than `fast` counts 1, `slow` counts -1; beyond it see `continuous`.
        fast: lower end of the latency range.
        slow: upper end of the latency range.
        lowest: lower end of the accuracy range.
        highest: upper end of the accuracy range.
        weight: of the accuracy; the latency has the rest.
        continuous: what a latency beyond `slow` counts. As published it is minus the excess in milliseconds, so a network that is a
            little too slow is worth more than one that is just in time; continuous: -1 less the excess in widths of the range.

    Source: Jiang et al., HotNAS, CODES+ISSS 2020, and its published code.
    """
    if not 0 < fast < slow:
        raise BadInput(f"slow: must be above fast, and fast above 0 (got {slow:g} and {fast:g})")
    if lowest >= highest:
        raise BadInput(f"highest: must be above lowest (got {highest:g} and {lowest:g})")
    quality = min(1.0, max(-1.0, 2 * (accuracy - lowest) / (highest - lowest) - 1))
    if latency <= slow:
        speed = min(1.0, 2 * (slow - latency) / (slow - fast) - 1)
    else:
        speed = -1 - (latency - slow) / (slow - fast) if continuous else 1000 * (slow - latency)
    return weight * quality + (1 - weight) * speed


def nasaic(
    accuracies: tuple[float, ...],
    costs: tuple[float, ...],
    *,
    limits: CostLimits,
    bounds: CostLimits,
    weights: tuple[float, ...] = (),
    penalty: float = 10.0,
) -> float:
    """Weighted accuracy of several tasks less `penalty` times how far each cost exceeds its limit, relative to bound - limit.

    Args:
        accuracies: of the tasks.
        costs: latency, energy, area or others.
        limits: largest cost allowed.
        bounds: cost of the largest network, where an excess counts 1.
        weights: of the accuracies; none gives all the same.
        penalty: rho.

    Source: Yang et al., NASAIC, DAC 2020.
    """
    weights = weights or (1 / len(accuracies),) * len(accuracies)
    _same_length(weights=weights, accuracies=accuracies)
    _same_length(limits=limits, costs=costs)
    _same_length(bounds=bounds, costs=costs)
    for limit, bound in zip(limits, bounds, strict=True):
        if bound <= limit:
            raise BadInput(f"bounds: each must be above its limit (got {bound:g} for {limit:g})")
    excess = sum(max(cost - limit, 0.0) / (bound - limit) for cost, limit, bound in zip(costs, limits, bounds, strict=True))
    return weighted_sum(accuracies, weights=weights) - penalty * excess


def codesign(
    accuracy: float,
    costs: tuple[float, ...],
    *,
    least: Annotated[tuple[float, ...], UnitOf("costs")],
    most: Annotated[tuple[float, ...], UnitOf("costs")],
    weights: tuple[float, ...],
    accuracy_weight: float,
    lowest: float = 0.0,
    highest: float = 1.0,
    limits: CostLimits = (),
    accuracy_limit: float = 0.0,
) -> float:
    """Weighted sum of accuracy and costs, each scaled to 0 ... 1, where all thresholds are met; else minus the scaled distance.

    Args:
        accuracy: fraction.
        costs: area, latency or others.
        least: each cost's smallest value, which scales to 1.
        most: each cost's largest value, which scales to 0.
        weights: of the costs.
        accuracy_weight: of the accuracy.
        lowest: accuracy that scales to 0.
        highest: accuracy that scales to 1.
        limits: largest cost allowed, one for each or none at all.
        accuracy_limit: smallest accuracy allowed.

    Source: Abdelfattah et al., Best of both worlds (Codesign-NAS), DAC 2020.
    """
    for values in ({"least": least}, {"most": most}, {"weights": weights}, *([{"limits": limits}] if limits else [])):
        _same_length(**values, costs=costs)
    for small, large in ((lowest, highest), *zip(least, most, strict=True)):
        if small >= large:
            raise BadInput(f"most: must be above least, and highest above lowest (got {large:g} and {small:g})")
    spans = [large - small for small, large in zip(least, most, strict=True)]
    missed = max(accuracy_limit - accuracy, 0.0) / (highest - lowest)
    missed += sum(max(cost - limit, 0.0) / span for cost, limit, span in zip(costs, limits or costs, spans, strict=True))
    if missed > 0:
        return -missed
    scaled = [(large - cost) / span for cost, large, span in zip(costs, most, spans, strict=True)]
    return accuracy_weight * (accuracy - lowest) / (highest - lowest) + weighted_sum(tuple(scaled), weights=weights)


def monas(accuracy: float, cost: float, *, most: CostLimit, weight: float = 0.5) -> float:
    """`weight` * accuracy - (1 - `weight`) * cost / `most`: the mixed reward of MONAS.

    Source: Hsu et al., MONAS, arXiv:1806.10332, 2018.
    """
    _positive(most=most)
    return weight * accuracy - (1 - weight) * cost / most


def monas_bounded(accuracy: float, cost: float, *, limit: CostLimit) -> float:
    """Accuracy where the cost is below the limit, else 0: the bounded reward of MONAS.

    Source: Hsu et al., MONAS, arXiv:1806.10332, 2018.
    """
    return accuracy if cost < limit else 0.0


def feasible_first(objective: float, costs: tuple[float, ...], *, limits: CostLimits) -> float:
    """The objective, at least 0, where every limit holds; else minus the sum of the relative excesses.

    So any feasible candidate is worth more than any other, and infeasible ones are ordered by how far they are off.

    Source: Deb, An efficient constraint handling method for genetic algorithms, 2000.
    """
    _same_length(limits=limits, costs=costs)
    _positive(limits=min(limits, default=1.0))
    excess = sum(max(cost / limit - 1, 0.0) for cost, limit in zip(costs, limits, strict=True))
    return -excess if excess > 0 else max(objective, 0.0)


def _share(value: float, target: float) -> float:
    if value <= 0:
        raise BadInput(f"latency: must be above 0 for this reward (got {value:g})")
    return value / target


def _positive(**settings: float) -> None:
    for name, value in settings.items():
        if not value > 0:
            raise BadInput(f"{name}: must be above 0 (got {value:g})")


def _same_length(**two: Sequence[float]) -> None:
    (first, values), (second, others) = two.items()
    if len(values) != len(others):
        raise BadInput(f"{first}: {len(values)} given for {len(others)} {second}; give one for each")
