"""The recurrent network of the RL controller: an LSTM that chooses one decision after the other, and its optimiser.

Imported when the first candidate is sampled, since torch takes seconds. Everything is single-threaded float32 on the CPU and draws
nothing itself: initial weights and uniform numbers come in.

Legend: N episodes, D decisions, C choices of all decisions together, M preferences (one an objective), H hidden units.
"""

from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from paretune.core.errors import BadInput
from paretune.core.genotype import GENE, Genotypes

PPO_CLIP, PPO_STEPS = 0.2, 4
MEAN_DECAY, SQUARE_DECAY = 0.9, 0.999
"""Adam's, of the mean gradient and of its square."""
TINY = 1e-8
LARGEST_GRADIENT = 1.0
"""Gradients are clipped to this norm."""
STORED = np.dtype("<f4")

FloatArray: TypeAlias = NDArray[np.float64]
Loss: TypeAlias = Callable[[Tensor, Tensor], Tensor]
"""`(log-probabilities (N,), entropies (N,)) -> ()`."""


class ControllerNetwork:
    """An LSTM over the decisions: each step reads the choice before and the preferences, and gives the odds of the next choices.

    Args:
        num_choices_D: choices of each decision.
        num_preferences: M; 0 for a controller without preferences.
        hidden: H.
        learning_rate: of Adam.
        rng: draws the initial weights.

    Source: Zoph & Le, Neural architecture search with reinforcement learning, ICLR 2017.
    """

    def __init__(
        self, num_choices_D: NDArray[np.int64], *, num_preferences: int, hidden: int, learning_rate: float, rng: np.random.Generator
    ) -> None:
        self._ends_D = np.cumsum(num_choices_D)
        self._starts_D = self._ends_D - num_choices_D
        num_tokens = int(self._ends_D[-1])
        with torch.device("meta"):  # no weights yet, so that torch's global generator is left alone
            net = _Net(num_tokens, num_preferences, hidden)
        self._net = net.to_empty(device="cpu")
        self._learning_rate = learning_rate
        choices_C = torch.arange(num_tokens)
        own_DC = (choices_C >= torch.from_numpy(self._starts_D)[:, None]) & (choices_C < torch.from_numpy(self._ends_D)[:, None])
        self._others_DC = torch.where(own_DC, 0.0, -torch.inf)
        self._sizes = [parameter.numel() for parameter in self._net.parameters()]
        weights = rng.uniform(-0.1, 0.1, size=sum(self._sizes)).astype(np.float32)
        self._load(weights)
        self._sampler: _Sampler | None = None
        self._mean, self._square, self._num_steps = torch.zeros(len(weights)), torch.zeros(len(weights)), 0

    def sample(self, uniforms_ND: FloatArray, preferences_NM: FloatArray, temperatures_N: FloatArray) -> Genotypes:
        """`(N, D)` genotypes by inverse distribution function: a uniform number decides each gene, a high temperature evens the odds."""
        if self._sampler is None:
            self._sampler = _Sampler(self._net)
        sampler, (num_episodes, num_decisions) = self._sampler, uniforms_ND.shape
        rows_ND = np.zeros((num_episodes, num_decisions), dtype=GENE)
        start_NG = preferences_NM @ sampler.preferences_MG
        token_N = np.zeros(num_episodes, dtype=np.int64)
        out_NH = cell_NH = np.zeros((num_episodes, len(sampler.recurrent_HG)))
        for decision in range(num_decisions):
            out_NH, cell_NH = sampler.step(token_N, start_NG, out_NH, cell_NH)
            start, end = int(self._starts_D[decision]), int(self._ends_D[decision])
            logits = (out_NH @ sampler.head_HC[:, start:end] + sampler.head_C[start:end]) / temperatures_N[:, np.newaxis]
            odds = np.exp(logits - logits.max(axis=1, keepdims=True)).cumsum(axis=1)
            genes_N = (uniforms_ND[:, decision, np.newaxis] * odds[:, -1:] >= odds).sum(axis=1).clip(max=end - start - 1)
            rows_ND[:, decision], token_N = genes_N, 1 + start + genes_N
        return rows_ND

    def log_probabilities(self, genotypes_ND: Genotypes, preferences_NM: FloatArray) -> FloatArray:
        """`(N,)` natural logarithm of the odds with which each genotype would be sampled."""
        with torch.inference_mode(), _one_thread():
            return np.asarray(self._evaluate(genotypes_ND, preferences_NM)[0].double().numpy())

    def reinforce(self, genotypes_ND: Genotypes, preferences_NM: FloatArray, advantages_N: FloatArray, *, entropy: float) -> None:
        """One step of REINFORCE: what earned more than the baseline becomes more likely.

        Source: Williams, Machine Learning 8, 1992.
        """
        gains_N = _tensor(advantages_N)
        self._learn(genotypes_ND, preferences_NM, lambda logs_N, entropies_N: -(gains_N * logs_N + entropy * entropies_N).mean())

    def ppo(self, genotypes_ND: Genotypes, preferences_NM: FloatArray, advantages_N: FloatArray, *, entropy: float) -> None:
        """Several steps on one batch, none of which gains from odds that moved by more than the clip.

        Source: Schulman et al., Proximal policy optimization algorithms, arXiv:1707.06347, 2017.
        """
        gains_N, before_N = _tensor(advantages_N), _tensor(self.log_probabilities(genotypes_ND, preferences_NM))

        def loss(logs_N: Tensor, entropies_N: Tensor) -> Tensor:
            ratios_N = (logs_N - before_N).exp()
            clipped_N = ratios_N.clamp(1 - PPO_CLIP, 1 + PPO_CLIP)
            return -(torch.minimum(ratios_N * gains_N, clipped_N * gains_N) + entropy * entropies_N).mean()

        for _ in range(PPO_STEPS):
            self._learn(genotypes_ND, preferences_NM, loss)

    def imitate(self, genotypes_ND: Genotypes, preferences_NM: FloatArray, *, entropy: float) -> None:
        """One step that makes genotypes more likely.

        Source: Abolafia et al., Neural program synthesis with priority queue training, arXiv:1801.03526, 2018.
        """
        self._learn(genotypes_ND, preferences_NM, lambda logs_N, entropies_N: -(logs_N + entropy * entropies_N).mean())

    def state(self) -> dict[str, Any]:
        """Weights and the optimiser's memory as JSON values, bit-exact."""
        weights = torch.cat([parameter.detach().flatten() for parameter in self._net.parameters()])
        return {"weights": _text(weights), "mean": _text(self._mean), "square": _text(self._square), "num_steps": self._num_steps}

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from a state.

        Raises:
            BadInput: it belongs to a network of another shape.
        """
        weights, mean, square = (_numbers(state[part]) for part in ("weights", "mean", "square"))
        if len(weights) != sum(self._sizes):
            raise BadInput(f"searcher state: the controller has {sum(self._sizes):,} weights, the state {len(weights):,}")
        self._load(weights)
        self._mean, self._square, self._num_steps = torch.from_numpy(mean), torch.from_numpy(square), int(state["num_steps"])

    def _learn(self, genotypes_ND: Genotypes, preferences_NM: FloatArray, loss: Loss) -> None:
        """One step of Adam down the gradient of `loss`, its norm clipped."""
        with _one_thread():
            self._net.zero_grad()
            loss(*self._evaluate(genotypes_ND, preferences_NM)).backward()  # type: ignore[no-untyped-call]
            gradient = torch.cat([parameter.grad.flatten() for parameter in self._net.parameters() if parameter.grad is not None])
            gradient *= (LARGEST_GRADIENT / (gradient.norm() + TINY)).clamp(max=1.0)
            self._num_steps += 1
            self._mean.lerp_(gradient, 1 - MEAN_DECAY)
            self._square.lerp_(gradient**2, 1 - SQUARE_DECAY)
            mean, square = self._mean / (1 - MEAN_DECAY**self._num_steps), self._square / (1 - SQUARE_DECAY**self._num_steps)
            step = self._learning_rate * mean / (square.sqrt() + TINY)
            for parameter, change in zip(self._net.parameters(), torch.split(step, self._sizes), strict=True):
                parameter.data -= change.view_as(parameter)
        self._sampler = None

    def _load(self, weights: NDArray[np.float32]) -> None:
        self._sampler = None
        for parameter, values in zip(self._net.parameters(), torch.split(torch.from_numpy(weights), self._sizes), strict=True):
            parameter.data.copy_(values.view_as(parameter))

    def _evaluate(self, genotypes_ND: Genotypes, preferences_NM: FloatArray) -> tuple[Tensor, Tensor]:
        """`(N,)` log-probabilities and `(N,)` entropies, summed over the decisions."""
        tokens_ND = torch.from_numpy(1 + self._starts_D + genotypes_ND)
        before_ND = nn.functional.pad(tokens_ND[:, :-1], (1, 0))
        out_NDH, _ = self._net.lstm(self._net.tokens(before_ND) + (_tensor(preferences_NM) @ self._net.reading.T)[:, None])
        logs_NDC = torch.log_softmax(self._net.head(out_NDH) + self._others_DC, dim=2)
        chosen_ND = logs_NDC.gather(2, tokens_ND[:, :, None] - 1)[:, :, 0]
        entropies_N = -(logs_NDC.exp() * logs_NDC.clamp(min=-1e9)).sum(dim=(1, 2))
        return chosen_ND.sum(dim=1), entropies_N


class _Net(nn.Module):
    """The layers. Token 0 starts an episode; token 1 + c is choice c of all decisions in a row."""

    def __init__(self, num_tokens: int, num_preferences: int, hidden: int) -> None:
        super().__init__()
        self.tokens = nn.Embedding(1 + num_tokens, hidden)
        self.reading = nn.Parameter(torch.empty(hidden, num_preferences))
        self.lstm = nn.LSTM(hidden, hidden, batch_first=True)
        self.head = nn.Linear(hidden, num_tokens)


class _Sampler:
    """The network as float64 arrays: one step costs a tenth of torch's, which is made for larger batches. G = 4 H gates."""

    def __init__(self, net: _Net) -> None:
        weights = {name: value.detach().double().numpy() for name, value in net.named_parameters()}
        into_HG = weights["lstm.weight_ih_l0"].T
        self.tokens_TG = weights["tokens.weight"] @ into_HG + weights["lstm.bias_ih_l0"] + weights["lstm.bias_hh_l0"]
        self.preferences_MG = weights["reading"].T @ into_HG
        self.recurrent_HG = weights["lstm.weight_hh_l0"].T
        self.head_HC, self.head_C = weights["head.weight"].T, weights["head.bias"]

    def step(
        self, token_N: NDArray[np.int64], start_NG: FloatArray, out_NH: FloatArray, cell_NH: FloatArray
    ) -> tuple[FloatArray, FloatArray]:
        """Output and cell state after reading one choice."""
        gates_NG = self.tokens_TG[token_N] + start_NG + out_NH @ self.recurrent_HG
        hidden = out_NH.shape[1]
        sigmoids_NG = 1 / (1 + np.exp(-gates_NG))
        candidate_NH = np.tanh(gates_NG[:, 2 * hidden : 3 * hidden])
        cell_NH = sigmoids_NG[:, hidden : 2 * hidden] * cell_NH + sigmoids_NG[:, :hidden] * candidate_NH
        return sigmoids_NG[:, 3 * hidden :] * np.tanh(cell_NH), cell_NH


@contextmanager
def _one_thread() -> Iterator[None]:
    """Sums in one order, whatever the process uses elsewhere."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _tensor(values: FloatArray) -> Tensor:
    return torch.from_numpy(values.astype(np.float32))


def _text(values: Tensor) -> str:
    return b64encode(values.numpy().astype(STORED).tobytes()).decode("ascii")


def _numbers(text: str) -> NDArray[np.float32]:
    return np.frombuffer(b64decode(text, validate=True), dtype=STORED).astype(np.float32)
