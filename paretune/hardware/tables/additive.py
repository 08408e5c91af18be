"""Costs that are sums over independent choices, and their expectation under probabilities: what searches by gradient descend.

Every slot takes one choice; the cost is a fixed part plus the table's value of each slot's choice. With probabilities instead of choices
the expected cost is a plain sum of products, so torch tensors can be given and differentiated as they are.

Sources: Cai et al., ProxylessNAS, ICLR 2019; Wu et al., FBNet, CVPR 2019; Jang et al., Categorical Reparameterization with Gumbel-Softmax,
ICLR 2017.

Legend: N candidates, S slots, C choices of a slot.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paretune.core.errors import BadInput
from paretune.core.genotype import GENE, Decision, Genotypes, num_choices
from paretune.core.protocols import GenotypeSpace
from paretune.core.rng import stream

FloatArray = NDArray[np.float64]
NUM_PROBES = 64
"""Random architectures on which a space's costs are tried for being a sum."""
TOLERANCE = 1e-9
"""Relative deviation from a sum that rounding explains."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AdditiveTable:
    """The cost of each choice of each slot, in one unit."""

    slots: tuple[str, ...]
    """Names, for example those of decisions."""
    values: tuple[FloatArray, ...]
    """`(C,)` of each slot."""
    fixed: float = 0.0
    """Cost of everything that is not chosen."""

    def __post_init__(self) -> None:
        if len(self.slots) != len(self.values):
            raise ValueError(f"{len(self.slots)} slots and values of {len(self.values)}")

    def total(self, choices_NS: NDArray[Any]) -> FloatArray:
        """`(N,)` cost of N candidates, given the index of each slot's choice."""
        if choices_NS.ndim != 2 or choices_NS.shape[1] != len(self.slots):
            raise ValueError(f"expected the choices of {len(self.slots)} slots; got shape {choices_NS.shape}")
        total_N = np.full(len(choices_NS), self.fixed)
        for slot, values_C in enumerate(self.values):
            total_N = total_N + values_C[choices_NS[:, slot]]
        return total_N

    def expected(self, probabilities: Sequence[Any]) -> Any:
        """Expected cost under the probabilities `(C,)` of each slot's choices: numpy arrays, or torch tensors for autograd.

        Weights of a Gumbel sample (see `gumbel_softmax`) may stand for probabilities; so may 0 and 1.

        Returns:
            A float, or a scalar tensor.

        Raises:
            ValueError: other slots or choices than the table's.
        """
        total: Any = self.fixed
        for values_C, probabilities_C in zip(self._checked(probabilities), probabilities, strict=True):
            total = total + (probabilities_C * _like(values_C, probabilities_C)).sum()
        return total

    def gradient(self, probabilities: Sequence[Any]) -> tuple[FloatArray, ...]:
        """Derivatives of the expected cost by the logits of each slot's softmax: p * (value - the slot's expected value), `(C,)` each.

        Source: ProxylessNAS, section 3.3.2, of which this is the softmax's derivative written out.
        """
        found = []
        for values_C, given_C in zip(self._checked(probabilities), probabilities, strict=True):
            probabilities_C = np.asarray(given_C, dtype=np.float64)
            found.append(probabilities_C * (values_C - probabilities_C @ values_C))
        return tuple(found)

    def _checked(self, probabilities: Sequence[Any]) -> tuple[FloatArray, ...]:
        shapes = [tuple(item.shape) for item in probabilities]
        if shapes != [values_C.shape for values_C in self.values]:
            raise ValueError(f"expected probabilities of {[len(values_C) for values_C in self.values]} choices; got shapes {shapes}")
        return self.values


def softmax(logits_C: FloatArray) -> FloatArray:
    """`(C,)` probabilities."""
    powers_C = np.exp(logits_C - logits_C.max())
    return np.asarray(powers_C / powers_C.sum())


def gumbel_softmax(logits_C: FloatArray, *, temperature: float, rng: np.random.Generator) -> FloatArray:
    """`(C,)` weights of one sample: softmax of (logits + Gumbel noise) / temperature.

    The larger one is chosen with its softmax probability; towards temperature 0 the weights become 0 and 1. For torch tensors there is
    `torch.nn.functional.gumbel_softmax`, whose result `AdditiveTable.expected` takes as well.

    Source: Jang et al., ICLR 2017.
    """
    if temperature <= 0:
        raise ValueError(f"temperature must be above 0; got {temperature}")
    return softmax((logits_C + rng.gumbel(size=logits_C.shape)) / temperature)


def fbnet_temperature(epoch: int, *, start: float = 5.0, rate: float = 0.045) -> float:
    """Temperature of an epoch: start * exp(-rate * epoch), after FBNet."""
    return float(start * np.exp(-rate * epoch))


def tabulate(space: GenotypeSpace, costs: Callable[[Genotypes], FloatArray]) -> AdditiveTable:
    """The table of a space whose costs are a sum over its decisions.

    Args:
        space: any; every row whose indices name choices must be valid.
        costs: `(N, D)` genotypes -> `(N,)` costs.

    Raises:
        BadInput: the costs are no such sum, for example because a layer's channels follow from two decisions.
    """
    sizes_D = num_choices(space.decisions)
    base = np.zeros((1, len(sizes_D)), dtype=GENE)
    changed = [_changed(base, column, int(size)) for column, size in enumerate(sizes_D)]
    found = costs(np.concatenate(changed))
    values = np.split(found, np.cumsum(sizes_D)[:-1])
    total = float(found[0])
    table = AdditiveTable(
        slots=tuple(decision.name for decision in space.decisions),
        values=tuple(values_C - values_C.min() for values_C in values),
        fixed=total + sum(float(values_C.min()) - total for values_C in values),
    )
    rows_ND = stream(0, index=0, purpose="tabulate").integers(0, sizes_D, size=(NUM_PROBES, len(sizes_D))).astype(GENE)
    true_N = costs(rows_ND)
    error = float(np.max(np.abs(table.total(rows_ND) - true_N) / np.maximum(np.abs(true_N), np.finfo(float).tiny)))
    if error > TOLERANCE:
        raise BadInput(
            f"the costs of this space are no sum over its decisions: the sum is up to {error:.2g} of the cost away, for example where the "
            "channels of a layer follow from two decisions. Search it with a searcher that needs no gradient"
        )
    return table


def choice_names(decision: Decision) -> tuple[str, ...]:
    """The choices of a decision as tables write them."""
    return tuple(str(choice) for choice in decision.choices)


def _changed(base: Genotypes, column: int, size: int) -> Genotypes:
    """The base row with every choice of one decision."""
    rows = np.repeat(base, size, axis=0)
    rows[:, column] = np.arange(size)
    return rows


def _like(values_C: FloatArray, other: Any) -> Any:
    """The values as a tensor of the other's type and device, where the other is a tensor."""
    return other.new_tensor(values_C) if hasattr(other, "new_tensor") else values_C
