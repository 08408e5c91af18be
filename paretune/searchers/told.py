"""Everything a searcher was told, as arrays: the examples from which predictors learn.

Legend: N told, D decisions, K metrics that the problem reads and scores that predictors may use, M objectives.
"""

import binascii
import math
import zlib
from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paretune.core.errors import BadInput
from paretune.core.genotype import GENE, Genotypes, as_genotypes
from paretune.core.metrics import EPOCHS_METRIC
from paretune.core.objectives import Problem
from paretune.core.trial import Outcome, Trial
from paretune.searchers.operators import FloatArray


class Told:
    """The trials that teach, in the order they were told.

    Grows by doubling, so that telling one by one costs the same as telling many.

    A candidate that was trained for fewer epochs than others (see `EPOCHS_METRIC`) teaches what such a training gives, and has no place on
    the front: its objectives count as infinite.

    Args:
        problem: which metrics are kept.
        num_decisions: length of a genotype.
        scores: other metrics that are kept, if they are told.
    """

    def __init__(self, problem: Problem, *, num_decisions: int, scores: Sequence[str] = ()) -> None:
        self._problem = problem
        self._names = tuple(dict.fromkeys([*problem.metrics, *scores]))
        self._clear(num_decisions)

    def _clear(self, num_decisions: int) -> None:
        self._count = 0
        self._genotypes_ND: Genotypes = np.zeros((0, num_decisions), dtype=GENE)
        self._values_NK: FloatArray = np.zeros((0, len(self._names)))
        self._epochs_N: FloatArray = np.zeros(0)
        self._failed_N: NDArray[np.bool_] = np.zeros(0, dtype=np.bool_)
        self._points_NM: FloatArray = np.zeros((0, len(self._problem.objectives)))
        self._violations_N: FloatArray = np.zeros(0)

    def __len__(self) -> int:
        return self._count

    @property
    def genotypes(self) -> Genotypes:
        """`(N, D)`, canonical."""
        return self._genotypes_ND[: self._count]

    @property
    def failed(self) -> NDArray[np.bool_]:
        """`(N,)` whether the candidate was tried and gave nothing; one stopped at the gate did not fail."""
        return self._failed_N[: self._count]

    @property
    def points(self) -> FloatArray:
        """`(N, M)` minimised objectives, infinite where there are none and where the training was not a full one."""
        points_NM = self._points_NM[: self._count]
        return np.where(self.partial[:, np.newaxis], np.inf, points_NM) if self.fidelities else points_NM

    @property
    def epochs(self) -> FloatArray:
        """`(N,)` epochs of the training that gave the metrics; 0 where nobody said or there was none."""
        return self._epochs_N[: self._count]

    @property
    def fidelities(self) -> tuple[int, ...]:
        """The different epochs told, ascending, the last of a full training; empty unless there are at least two."""
        different = np.unique(self.epochs[self.epochs > 0])
        return tuple(int(epochs) for epochs in different) if len(different) > 1 else ()

    @property
    def partial(self) -> NDArray[np.bool_]:
        """`(N,)` whether the metrics come from fewer epochs than the most that were told."""
        return np.asarray((self.epochs > 0) & (self.epochs < self.epochs.max(initial=0.0)))

    @property
    def violations(self) -> FloatArray:
        """`(N,)` 0.0 is feasible, infinite for failed candidates."""
        return self._violations_N[: self._count]

    def metric(self, name: str) -> FloatArray:
        """`(N,)` values of one metric, NaN where it is unknown."""
        return self._values_NK[: self._count, self._names.index(name)]

    def add(self, trials: Sequence[Trial]) -> None:
        """Remember the trials that teach."""
        for trial in trials:
            if trial.outcome.teaches:
                values = [trial.metrics.get(name, math.nan) for name in self._names]
                epochs = trial.metrics.get(EPOCHS_METRIC, 0.0) if trial.outcome is Outcome.OK else 0.0
                self._append(trial.genotype, values, failed=trial.outcome not in (Outcome.OK, Outcome.INFEASIBLE), epochs=epochs)

    def state(self) -> dict[str, Any]:
        """As JSON values: three compressed arrays, and the epochs where they differ."""
        epochs = {"epochs": self.epochs.tolist()} if self.epochs.any() else {}
        return {
            "genotypes": _packed(self.genotypes.astype("<i2")),
            "metrics": _packed(self._values_NK[: self._count].astype("<f8")),
            "failed": _packed(self.failed.astype("u1")),
            **epochs,
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from a state.

        Raises:
            BadInput: it is damaged or belongs to another space or problem.
        """
        num_decisions, num_metrics = self._genotypes_ND.shape[1], len(self._names)
        try:
            genes = np.frombuffer(zlib.decompress(b64decode(state["genotypes"], validate=True)), dtype="<i2")
            values = np.frombuffer(zlib.decompress(b64decode(state["metrics"], validate=True)), dtype="<f8")
            failed_N = np.frombuffer(zlib.decompress(b64decode(state["failed"], validate=True)), dtype="u1").astype(np.bool_)
            genotypes_ND = as_genotypes(genes.reshape(len(failed_N), num_decisions), num_decisions)
            values_NK = values.reshape(len(failed_N), num_metrics)
            epochs_N = np.asarray(state.get("epochs", np.zeros(len(failed_N))), dtype=np.float64).reshape(failed_N.shape)
        except (KeyError, TypeError, binascii.Error, zlib.error, ValueError) as error:
            raise BadInput(f"searcher state: 'told' is damaged or of another space or problem ({error})") from error
        self._clear(num_decisions)
        for genotype_D, values_K, failed, epochs in zip(genotypes_ND, values_NK, failed_N, epochs_N, strict=True):
            self._append(genotype_D, values_K, failed=bool(failed), epochs=float(epochs))

    def _append(self, genotype: Sequence[int] | Genotypes, values: Sequence[float] | FloatArray, *, failed: bool, epochs: float) -> None:
        if self._count == len(self._failed_N):
            more = max(64, self._count)
            self._genotypes_ND, self._values_NK, self._epochs_N, self._failed_N, self._points_NM, self._violations_N = (
                np.concatenate([array, np.zeros((more, *array.shape[1:]), dtype=array.dtype)]) for array in self._arrays()
            )
        row = self._count
        known = {name: float(value) for name, value in zip(self._names, values, strict=True) if not math.isnan(value)}
        complete = all(name in known for name in self._problem.metrics)
        outcome = Outcome.CRASHED if failed else Outcome.OK if complete else Outcome.INFEASIBLE
        score = self._problem.score(Trial(ask_index=row, genotype=(), outcome=outcome, metrics=known))
        self._genotypes_ND[row], self._values_NK[row], self._failed_N[row] = genotype, values, failed
        self._epochs_N[row] = epochs
        self._points_NM[row], self._violations_N[row] = score
        self._count += 1

    def _arrays(self) -> tuple[NDArray[Any], ...]:
        return self._genotypes_ND, self._values_NK, self._epochs_N, self._failed_N, self._points_NM, self._violations_N


def _packed(array: NDArray[Any]) -> str:
    return b64encode(zlib.compress(array.tobytes())).decode("ascii")
