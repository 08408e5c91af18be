"""Costs of a device nobody has seen, from a few measurements on it and the tables of other devices.

Legend: N architectures of the pool, S known devices, K measured rows, M candidates, P parts of the covariance.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from paretune.core.errors import BadInput
from paretune.core.genotype import Genotypes
from paretune.core.protocols import SearchSpace
from paretune.core.rng import stream
from paretune.predictors.mixture_process import FittedMixture, WeightPrior, fit_mixture
from paretune.predictors.prediction import LEAST_EXAMPLES, FloatArray, IntArray, Prediction, not_fitted
from paretune.predictors.transfer_features import LIVE, Part, architecture_parts, covariances, device_parts, variances, weighed_covariance

REHEARSED = 150
"""Architectures from which each known device teaches the weights."""
EXPECTED = 20
"""Measurements chosen in the belief that the new device is like the known ones; further ones also test the belief."""
AIMS = 1000
"""Random architectures whose predictions the choice of measurements is to make sure."""
BROAD = WeightPrior(mean=np.log([0.005]), deviation=np.array([3.0]))
"""What is believed of a part's weight before any device was seen: little, since one or two parts explain most devices; targets have
variance 1."""
BROAD_NOISE = float(np.log(0.01))
LEAST_DEVIATION = 0.3
"""Few devices may agree by chance: weights stay at least so uncertain."""
BLOCK = 4096


class DeviceTransfer:
    """A cost of every architecture of a pool on a new device, learned from few measurements.

    A Gaussian process whose covariance is a sum of parts: what known devices say (principal components of their tables), how often
    each choice occurs, where, and what choices do together. How much each part counts is learned on the known devices: each of them
    plays the new one while its own family is hidden. What they teach is the prior of the weights on the new device. Its noise has heavy
    tails, because single latencies are far off.

    Costs are not taken by their logarithms: they add up over layers, and their logarithms do not.

    Example of a call sequence::

        transfer = DeviceTransfer(space, genotypes_ND, tables_NS, families=("gpu", "gpu", "phone"), seed=0)
        rows_K = transfer.choose(10)
        transfer.fit(rows_K, measured_K)
        transfer.predict()   -> Prediction(mean, deviation) of all N

    Args:
        space: the pool's search space.
        genotypes_ND: the pool.
        tables_NS: costs on the known devices, one column each.
        families: the family of each known device: hardware that is nearly the same. At least two.
        seed: decides which architectures teach and which are aimed at.

    Raises:
        BadInput: shapes do not agree, a cost is not finite, or there is one family only.

    Source: after Lee et al., HELP, NeurIPS 2021 (few measurements, reference devices) and Perrone et al., Scalable hyperparameter
    transfer learning, NeurIPS 2018 (what tasks share is learned, the rest is Bayesian linear regression).
    """

    def __init__(
        self, space: SearchSpace, genotypes_ND: Genotypes, tables_NS: FloatArray, *, families: Sequence[str], seed: int = 0
    ) -> None:
        tables_NS = np.asarray(tables_NS, dtype=np.float64)
        if tables_NS.shape != (len(genotypes_ND), len(families)):
            raise BadInput(f"tables: must be {len(genotypes_ND)} architectures x {len(families)} devices (got shape {tables_NS.shape})")
        if not np.all(np.isfinite(tables_NS)):
            raise BadInput("tables: every cost must be finite; leave out architectures that some device did not measure")
        if len(set(families)) < 2:
            raise BadInput(f"families: known devices must be of at least two families (got {', '.join(sorted(set(families))) or 'none'})")
        self._num_rows, self._seed = len(genotypes_ND), seed
        architecture = architecture_parts(space, genotypes_ND)
        self._prior = _rehearsed(architecture, tables_NS, families, seed=seed)
        self._parts: dict[str, Part] = device_parts(tables_NS) | architecture
        self._fitted: tuple[FittedMixture, IntArray, float, float] | None = None

    @property
    def prior_weights(self) -> Mapping[str, float]:
        """Part of the covariance -> its variance as the known devices have it, for targets of variance 1; `noise` too."""
        return dict(zip(("constant", *self._parts, "noise"), np.exp(self._prior.mean).tolist(), strict=True))

    def choose(self, count: int, candidates_M: IntArray | None = None) -> IntArray:
        """Rows to measure: one after another, the one that takes away most variance from 1,000 random rows.

        The first 20 trust the known devices; the others also ask what those cannot tell, whether this device leaves out dead operations.

        The choice needs no measurement, and the first rows of a longer choice are the shorter choice.

        Args:
            count: how many.
            candidates_M: rows that may be chosen; None for all.

        Raises:
            BadInput: fewer candidates than `count`.

        Source: Krause et al., Near-optimal sensor placements in Gaussian processes, JMLR 9, 2008 (greedy choice); Seo et al., IJCNN 2000
        (variance over the whole space).
        """
        candidates_M = np.arange(self._num_rows) if candidates_M is None else np.asarray(candidates_M)
        if not 0 < count <= len(candidates_M):
            raise BadInput(f"count: must be 1 to the number of candidates, {len(candidates_M)} (got {count})")
        rng = stream(self._seed, index=0, purpose="transfer.aims")
        aims_A = rng.choice(self._num_rows, size=min(AIMS, self._num_rows), replace=False)
        chosen = self._greedy(self._prior, aims_A, candidates_M, min(count, EXPECTED), ())
        if count > EXPECTED:
            chosen = self._greedy(_either_way(tuple(self._parts), self._prior), aims_A, candidates_M, count, chosen)
        return np.asarray(candidates_M[list(chosen)])

    def _greedy(self, prior: WeightPrior, aims_A: IntArray, candidates_M: IntArray, count: int, given: tuple[int, ...]) -> tuple[int, ...]:
        """Places among the candidates: those given, then the best ones under a prior's mean."""
        weights, noise = np.exp(prior.mean[:-1]), float(np.exp(prior.mean[-1]))
        open_AM = weighed_covariance(self._parts, weights, aims_A, candidates_M)
        variance_M = weights @ variances(self._parts, candidates_M)
        roots: list[FloatArray] = []
        chosen: list[int] = []
        for step in range(count):
            gain_M = np.einsum("am,am->m", open_AM, open_AM) / (variance_M + noise)
            gain_M[chosen] = -1
            best = given[step] if step < len(given) else int(np.argmax(gain_M))
            row_M = weighed_covariance(self._parts, weights, candidates_M[[best]], candidates_M)[0]
            row_M = row_M - sum((root_M[best] * root_M for root_M in roots), start=np.zeros(len(candidates_M)))
            spread = float(np.sqrt(row_M[best] + noise))
            open_AM = open_AM - np.outer(open_AM[:, best] / spread**2, row_M)
            roots.append(row_M / spread)
            variance_M = np.maximum(variance_M - roots[-1] ** 2, 0)
            chosen.append(best)
        return tuple(chosen)

    def fit(self, rows_K: IntArray, costs_K: FloatArray) -> None:
        """Learn from measurements of some rows; forgets earlier ones.

        Raises:
            BadInput: fewer than four rows, a row that is not in the pool, or a cost that is not finite.
        """
        rows_K, costs_K = np.asarray(rows_K), np.asarray(costs_K, dtype=np.float64)
        if costs_K.shape != rows_K.shape or len(rows_K) < LEAST_EXAMPLES or not np.all(np.isfinite(costs_K)):
            raise BadInput(f"transfer: at least {LEAST_EXAMPLES} rows with one finite cost each are needed (got {len(rows_K)} rows)")
        if rows_K.min() < 0 or rows_K.max() >= self._num_rows:
            raise BadInput(f"transfer: rows must be 0 to {self._num_rows - 1} (got {rows_K.min()} to {rows_K.max()})")
        middle, scale = _scale(costs_K)
        fitted = fit_mixture(covariances(self._parts, rows_K, rows_K), (costs_K - middle) / scale, self._prior)
        self._fitted = fitted, rows_K, middle, scale

    def predict(self) -> Prediction:
        """Mean and deviation of the whole pool; the deviation holds the noise of one measurement.

        Raises:
            BadInput: nothing was learned yet.
        """
        from scipy.linalg import solve_triangular

        if self._fitted is None:
            raise not_fitted()
        fitted, rows_K, mean, scale = self._fitted
        mean_N, variance_N = np.empty(self._num_rows), np.empty(self._num_rows)
        for first in range(0, self._num_rows, BLOCK):
            block = np.arange(first, min(first + BLOCK, self._num_rows))
            covariance_BK = weighed_covariance(self._parts, fitted.weights, block, rows_K)
            root_KB = solve_triangular(fitted.factor, covariance_BK.T, lower=True, check_finite=False)
            mean_N[block] = covariance_BK @ fitted.solved
            variance_N[block] = fitted.weights @ variances(self._parts, block) - np.einsum("kb,kb->b", root_KB, root_KB)
        deviation_N = scale * np.sqrt(np.maximum(variance_N, 1e-9) + fitted.noise)
        return Prediction(mean=mean + scale * mean_N, deviation=deviation_N)


def _scale(costs_K: FloatArray) -> tuple[float, float]:
    """Mean and standard deviation, 1 where all are equal."""
    return float(costs_K.mean()), float(costs_K.std()) or 1.0


def _rehearsed(architecture: Mapping[str, Part], tables_NS: FloatArray, families: Sequence[str], *, seed: int) -> WeightPrior:
    """What the weights were on each known device, while its family was hidden: mean and deviation over the families."""
    num_rows, names = len(tables_NS), np.array(families)
    found: dict[str, list[FloatArray]] = {}
    for device, family in enumerate(families):
        parts = device_parts(tables_NS[:, names != family]) | dict(architecture)
        rng = stream(seed, index=device, purpose="transfer.rehearsal")
        rows_K = rng.choice(num_rows, size=min(REHEARSED, num_rows), replace=False)
        costs_K = tables_NS[rows_K, device]
        broad = WeightPrior(
            mean=np.append(np.full(len(parts) + 1, BROAD.mean[0]), BROAD_NOISE), deviation=np.full(len(parts) + 2, BROAD.deviation[0])
        )
        middle, scale = _scale(costs_K)
        fitted = fit_mixture(covariances(parts, rows_K, rows_K), (costs_K - middle) / scale, broad)
        found.setdefault(family, []).append(fitted.log_weights)
    # Families count alike: nine settings of graphics processors are not nine times as true as one FPGA.
    mean = np.mean([np.mean(rows, axis=0) for rows in found.values()], axis=0)
    variance = np.mean([np.mean((np.array(rows) - mean) ** 2, axis=0) for rows in found.values()], axis=0)
    return WeightPrior(mean=mean, deviation=np.maximum(np.sqrt(variance), LEAST_DEVIATION))


def _either_way(parts: tuple[str, ...], prior: WeightPrior) -> WeightPrior:
    """The prior with both a part and its `live.` twin at the larger of their means."""
    mean = prior.mean.copy()
    for name in parts:
        if LIVE + name in parts:
            twins = [1 + parts.index(name), 1 + parts.index(LIVE + name)]  # the constant stands first
            mean[twins] = mean[twins].max()
    return WeightPrior(mean=mean, deviation=prior.deviation)
