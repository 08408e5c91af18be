"""RL controller: a recurrent network proposes architectures and learns from their rewards by policy gradient (Zoph & Le, ICLR 2017)."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

import numpy as np

from paretune.core.errors import BadInput
from paretune.core.genotype import Genotypes, num_choices
from paretune.core.objectives import Problem
from paretune.core.option_checks import one_of
from paretune.core.protocols import GenotypeSpace
from paretune.core.rng import stream
from paretune.core.trial import Trial
from paretune.searchers.asked import Asked, Starting
from paretune.searchers.operators import random_genotypes
from paretune.searchers.population import Population
from paretune.searchers.scalarisation import FloatArray, Form, merits, preferences, rewards

if TYPE_CHECKING:
    from paretune.searchers.controller_network import ControllerNetwork

Algorithm: TypeAlias = Literal["reinforce", "ppo"]

NUM_REPLAYED = 16
"""Candidates of one replay, each drawn for preferences of its own."""
ELITE = 0.05
"""Share of the known candidates that are replayed under some preferences."""
NUM_KNOWN = 1000
"""Candidates kept to rank rewards against and to replay; the best by constrained dominance and crowding."""
WARMING = 8.0
"""Proposal number k is drawn at the temperature 1 + k / WARMING, so that a controller sure of itself finds new neighbours."""
REPLAYS_A_UPDATE = 64
"""Streams set aside for the replays of one update."""


class RLController(Starting):
    """RL controller: an LSTM chooses one decision after the other, and policy gradient makes what earned much more likely.

    With several objectives every candidate is proposed for preferences of its own, drawn at random, which the controller reads; its
    reward is how well it meets them. So one controller covers the front. A candidate that missed its limits, or was never trained
    because its costs already do, earns less than any other, the more the farther off it is. Beside the policy gradient the best known
    candidates for fresh preferences are replayed, which makes a few hundred evaluations enough.

    Args:
        space: what may be chosen.
        problem: objectives and constraints.
        seed: decides every draw.
        algorithm: `reinforce`, or `ppo`: several clipped steps on each batch.
        reward: `chebyshev` or `weighted` scalarisation of the objectives, ranked among what is known; `value`: the only objective as it
            is, for published rewards.
        batch: candidates of one update; the first batch is random.
        hidden: units of the LSTM.
        learning_rate: of Adam.
        entropy: weight of the entropy bonus, which keeps the controller exploring.
        baseline_decay: of the moving average that rewards are compared with.
        replays: steps of replay after each update; 0 is policy gradient alone.

    Raises:
        BadInput: an option is out of range.

    Source: Zoph & Le, ICLR 2017; REINFORCE: Williams, Machine Learning 8, 1992; PPO: Schulman et al., arXiv:1707.06347, 2017; early
        pruning: Jiang et al. (FNAS), DAC 2019; replay: Abolafia et al., Neural program synthesis with priority queue training, 2018.
    Departs: ranked rewards; preferences as an input; candidates asked before are drawn again, at a rising temperature; the odds are
        those of the canonical genotype, so decisions without effect learn their canonical choice.
    """

    def __init__(
        self,
        space: GenotypeSpace,
        problem: Problem,
        *,
        seed: int,
        algorithm: Algorithm = "reinforce",
        reward: Form = "chebyshev",
        batch: int = 10,
        hidden: int = 48,
        learning_rate: float = 0.01,
        entropy: float = 0.05,
        baseline_decay: float = 0.9,
        replays: int = 2,
    ) -> None:
        _check(algorithm=algorithm, reward=reward, num_objectives=len(problem.objectives))
        limits = {"batch": (batch, 1, 10_000), "hidden": (hidden, 1, 4096), "replays": (replays, 0, REPLAYS_A_UPDATE)}
        for name, (value, least, most) in limits.items():
            if not least <= value <= most:
                raise BadInput(f"{name}: must be between {least} and {most:,} (got {value})")
        if not 0 < learning_rate <= 1:
            raise BadInput(f"learning_rate: must be above 0 and at most 1 (got {learning_rate})")
        for name, share in (("entropy", entropy), ("baseline_decay", baseline_decay)):
            if not 0 <= share <= 1:
                raise BadInput(f"{name}: must be between 0 and 1 (got {share})")
        self._problem, self._seed, self._algorithm, self._form = problem, seed, algorithm, reward
        self._batch, self._hidden, self._learning_rate = batch, hidden, learning_rate
        self._entropy, self._decay, self._replays = entropy, baseline_decay, replays
        self._choices_D = num_choices(space.decisions)
        self._num_objectives = len(problem.objectives)
        self._asked = Asked(space, seed=seed, purpose="rl_controller.ask")
        self._known = self._waiting = self._scored(())
        self._waiting_indices: list[int] = []
        self._baseline, self._num_updates = 0.0, 0

    def ask(self, count: int) -> Genotypes:
        """Up to `count` new genotypes: random until the first update, then sampled by the controller."""
        return self._asked.extend(count, self._propose)

    def tell(self, trials: Sequence[Trial]) -> None:
        """Learn from each `batch` of results, in the order they come; what is left waits for more."""
        for trial in trials:
            if not trial.outcome.teaches:
                continue
            self._waiting = self._waiting.joined(self._scored([trial]))
            self._waiting_indices.append(trial.ask_index)
            if len(self._waiting) == self._batch:
                self._update()

    def tells_before(self, ask_index: int) -> int:
        """Every result of the batches before."""
        return ask_index // self._batch * self._batch

    def state_dict(self) -> dict[str, Any]:
        """What was asked, what is known, what waits for its batch, and the controller's weights."""
        return {
            "asked": self._asked.state(),
            "known": self._known.state(),
            "waiting": self._waiting.state(),
            "waiting_indices": list(self._waiting_indices),
            "baseline": self._baseline,
            "num_updates": self._num_updates,
            "network": self._network.state() if self._num_updates else None,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state."""
        self._asked.load(state["asked"])
        self._known, self._waiting = (
            Population.from_state(state[part], problem=self._problem, num_decisions=len(self._choices_D)) for part in ("known", "waiting")
        )
        self._waiting_indices = list(state["waiting_indices"])
        self._baseline, self._num_updates = float(state["baseline"]), int(state["num_updates"])
        self.__dict__.pop("_network", None)
        if state["network"] is not None:
            self._network.load(state["network"])

    @cached_property
    def _network(self) -> "ControllerNetwork":
        """Made at the first update, since torch takes seconds to import."""
        from paretune.searchers.controller_network import ControllerNetwork

        return ControllerNetwork(
            self._choices_D,
            num_preferences=self._conditions(np.zeros((1, self._num_objectives))).shape[1],
            hidden=self._hidden,
            learning_rate=self._learning_rate,
            rng=stream(self._seed, index=0, purpose="rl_controller.weights"),
        )

    def _scored(self, trials: Sequence[Trial]) -> Population:
        return Population.of(trials, problem=self._problem, num_decisions=len(self._choices_D))

    def _propose(self, index: int, rng: np.random.Generator, count: int) -> Genotypes:
        if self._num_updates == 0:
            return random_genotypes(self._choices_D, rng, count)
        preferences_NM = np.tile(self._preferences(index), (count, 1))
        uniforms_ND = rng.random((count, len(self._choices_D)))
        return self._network.sample(uniforms_ND, self._conditions(preferences_NM), 1 + np.arange(count) / WARMING)

    def _preferences(self, ask_index: int) -> FloatArray:
        """`(M,)` what candidate number `ask_index` is proposed for: a pure function, so nothing of it is kept."""
        return preferences(stream(self._seed, index=ask_index, purpose="rl_controller.preferences"), self._num_objectives)

    def _conditions(self, preferences_NM: FloatArray) -> FloatArray:
        """What the controller reads of the preferences: nothing where there is one objective."""
        return preferences_NM if self._num_objectives > 1 else preferences_NM[:, :0]

    def _update(self) -> None:
        """One step of policy gradient on the waiting batch, then the replays."""
        batch, preferences_NM = self._waiting, np.array([self._preferences(index) for index in self._waiting_indices])
        self._waiting, self._waiting_indices = self._scored(()), []
        known = self._known.joined(batch)
        self._known = known.take(np.sort(known.best_first()[:NUM_KNOWN]))
        rewards_N = rewards(batch, self._known.joined(batch), preferences_NM, self._form)
        advantages_N = rewards_N - (self._baseline if self._num_updates else rewards_N.mean())
        decay = self._decay if self._num_updates else 0.0
        self._baseline = float(decay * self._baseline + (1 - decay) * rewards_N.mean())
        step = self._network.reinforce if self._algorithm == "reinforce" else self._network.ppo
        step(batch.genotypes, self._conditions(preferences_NM), advantages_N, entropy=self._entropy)
        for replay in range(self._replays):
            self._replay(stream(self._seed, index=self._num_updates * REPLAYS_A_UPDATE + replay, purpose="rl_controller.replay"))
        self._num_updates += 1

    def _replay(self, rng: np.random.Generator) -> None:
        """Make some of the best known candidates for fresh preferences more likely."""
        preferences_PM = np.array([preferences(rng, self._num_objectives) for _ in range(NUM_REPLAYED)])
        worth_PN = merits(self._known, self._known, preferences_PM, self._form)
        num_elite = max(1, round(ELITE * worth_PN.shape[1]))
        elite_PN = np.argsort(-worth_PN, axis=1, kind="stable")[:, :num_elite]
        chosen_P = elite_PN[np.arange(NUM_REPLAYED), rng.integers(num_elite, size=NUM_REPLAYED)]
        self._network.imitate(self._known.genotypes[chosen_P], self._conditions(preferences_PM), entropy=self._entropy)


def _check(*, algorithm: str, reward: str, num_objectives: int) -> None:
    one_of("algorithm", algorithm, get_args(Algorithm))
    one_of("reward", reward, get_args(Form))
    if reward == "value" and num_objectives != 1:
        raise BadInput(f"reward: 'value' is the only objective as it is, but there are {num_objectives}; use chebyshev or weighted")
