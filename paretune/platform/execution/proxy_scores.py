"""Zero-cost proxies of whole populations before anything is trained, as the same candidates get them when they are evaluated."""

from collections.abc import Iterator
from functools import partial

import numpy as np
from numpy.typing import NDArray

from paretune.core.genotype import Genotypes, named
from paretune.core.protocols import ScoringTask, SearchSpace
from paretune.platform.record.jobs import JobFactory


class ProxyScores:
    """Computes a task's proxies of genotypes and remembers them, in the process of whoever asks.

    A shortlist takes some seconds, in which running candidates go on. The scores follow from the study's seed, so a resumed search
    computes the same ones.

    Args:
        task: scores networks.
        space: builds them.
        study_seed: decides each candidate's weights.
    """

    def __init__(self, task: ScoringTask, space: SearchSpace, *, study_seed: int) -> None:
        self._task, self._space = task, space
        self._factory = JobFactory(study_seed=study_seed, protocol="", search_epochs=1, final_epochs=1)
        self._known: dict[tuple[int, ...], dict[str, float]] = {}

    def __call__(self, genotypes_ND: Genotypes) -> dict[str, NDArray[np.float64]]:
        """Metric -> `(N,)` proxies."""
        found = list(self._scores(genotypes_ND))
        return {name: np.array([scores[name] for scores in found]) for name in (found[0] if found else {})}

    def _scores(self, genotypes_ND: Genotypes) -> Iterator[dict[str, float]]:
        for row in genotypes_ND:
            genotype = tuple(int(gene) for gene in row)
            if genotype not in self._known:
                job = self._factory.search(ask_index=0, genotype=genotype, choices=named(self._space.decisions, genotype))
                self._known[genotype] = dict(self._task.untrained_scores(partial(self._space.build, genotype), seed=job.seed))
            yield self._known[genotype]
