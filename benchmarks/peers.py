"""Peers from PyPI as they come, driven by lines of JSON; runs in an environment of its own (requirements.txt), without paretune.

Started by search_quality.py as `python benchmarks/peers.py`. Each line read is one order:

    {"start": {"peer": NAME, "seed": 1, ...}}      the fields of `Order`
    {"tell": [0.25, 0.01]}                         the minimised objectives of the last proposal

and each is answered with the next proposal, `{"ask": [3, 0], "cpu_s": 0.001}`: choice indices, and CPU seconds of this peer's tell and ask.

Defaults of each library, except: population 50 in every evolutionary one (and 20, which is ours, beside it), 40 initial points for
SMAC, the reference point told to Nevergrad, Optuna's Gaussian process knows that there is no noise. Ordinal decisions are integers, the
others categories.
"""

import json
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol

import numpy as np

LIBRARIES = ("optuna", "pymoo", "smac", "nevergrad", "syne-tune")


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What is to be searched."""

    peer: str
    seed: int
    choices: list[int]
    """Number of choices of each decision."""
    ordinal: list[bool]
    """Whether neighbouring choices are alike."""
    num_objectives: int
    reference: list[float]
    """Reference point, minimised."""
    budget: int


class Peer(Protocol):
    """One search of a library."""

    def ask(self) -> list[int]:
        """The next proposal."""
        ...

    def tell(self, values: Sequence[float]) -> None:
        """Minimised objectives of the last proposal."""
        ...


class OptunaPeer:
    """Optuna's ask and tell with one of its samplers."""

    def __init__(self, order: Order, sampler: Any) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._order = order
        self._study = optuna.create_study(directions=["minimize"] * order.num_objectives, sampler=sampler)

    def ask(self) -> list[int]:
        """The next proposal."""
        self._trial = self._study.ask()
        genes = []
        for index, (count, ordinal) in enumerate(zip(self._order.choices, self._order.ordinal, strict=True)):
            if ordinal:
                genes.append(self._trial.suggest_int(f"gene{index}", 0, count - 1))
            else:
                genes.append(self._trial.suggest_categorical(f"gene{index}", list(range(count))))
        return genes

    def tell(self, values: Sequence[float]) -> None:
        """Minimised objectives of the last proposal."""
        self._study.tell(self._trial, list(values))


def optuna_nsga2(order: Order, population: int) -> Peer:
    from optuna.samplers import NSGAIISampler

    return OptunaPeer(order, NSGAIISampler(population_size=population, seed=order.seed))


def optuna_tpe(order: Order) -> Peer:
    from optuna.samplers import TPESampler

    return OptunaPeer(order, TPESampler(seed=order.seed))


def optuna_gp(order: Order) -> Peer:
    from optuna.samplers import GPSampler

    return OptunaPeer(order, GPSampler(seed=order.seed, deterministic_objective=True))


class PymooPeer:
    """NSGA-II of pymoo on integer genes: its uniform crossover, and each gene drawn anew with 1/d (it has no such mutation for arrays)."""

    def __init__(self, order: Order, population: int) -> None:
        from pymoo.algorithms.moo.nsga2 import NSGA2
        from pymoo.core.evaluator import Evaluator
        from pymoo.core.mutation import Mutation
        from pymoo.core.problem import Problem
        from pymoo.operators.crossover.ux import UniformCrossover
        from pymoo.operators.sampling.rnd import IntegerRandomSampling
        from pymoo.problems.static import StaticProblem

        class Redrawn(Mutation):
            def _do(self, problem: Any, X: Any, random_state: Any = None, **_: Any) -> Any:
                change = random_state.random(X.shape) < 1 / X.shape[1]
                return np.where(change, random_state.integers(0, problem.xu + 1, size=X.shape), X)

        upper = np.array(order.choices) - 1
        self._problem = Problem(n_var=len(upper), n_obj=order.num_objectives, xl=np.zeros_like(upper), xu=upper, vtype=int)
        operators = {"sampling": IntegerRandomSampling(), "crossover": UniformCrossover(), "mutation": Redrawn()}
        self._algorithm = NSGA2(pop_size=population, eliminate_duplicates=True, **operators)
        self._algorithm.setup(self._problem, termination=("n_eval", 10**9), seed=order.seed, verbose=False)
        self._evaluate = lambda infills, values: Evaluator().eval(StaticProblem(self._problem, F=np.array(values)), infills)
        self._infills: Any = []
        self._values: list[list[float]] = []

    def ask(self) -> list[int]:
        """The next proposal."""
        if len(self._values) == len(self._infills):
            if self._values:
                self._evaluate(self._infills, self._values)
                self._algorithm.tell(infills=self._infills)
            self._infills, self._values = self._algorithm.ask(), []
        return [int(gene) for gene in self._infills[len(self._values)].X]

    def tell(self, values: Sequence[float]) -> None:
        """Minimised objectives of the last proposal."""
        self._values.append(list(values))


class SmacPeer:
    """SMAC's random forest with ParEGO."""

    def __init__(self, order: Order) -> None:
        from ConfigSpace import CategoricalHyperparameter, ConfigurationSpace, UniformIntegerHyperparameter
        from smac import HyperparameterOptimizationFacade, Scenario
        from smac.multi_objective.parego import ParEGO
        from smac.runhistory.dataclasses import TrialValue

        space = ConfigurationSpace(seed=order.seed)
        for index, (count, ordinal) in enumerate(zip(order.choices, order.ordinal, strict=True)):
            name = f"gene{index}"
            space.add(UniformIntegerHyperparameter(name, 0, count - 1) if ordinal else CategoricalHyperparameter(name, list(range(count))))
        names = [f"objective{index}" for index in range(order.num_objectives)]
        self._folder = tempfile.TemporaryDirectory()  # removed when this object is
        scenario = Scenario(
            space, objectives=names, n_trials=order.budget, seed=order.seed, deterministic=True, output_directory=Path(self._folder.name)
        )
        self._smac = HyperparameterOptimizationFacade(
            scenario,
            target_function=lambda config, seed=0: None,  # noqa: ARG005 - SMAC wants one; it is never called
            multi_objective_algorithm=ParEGO(scenario) if order.num_objectives > 1 else None,
            initial_design=HyperparameterOptimizationFacade.get_initial_design(scenario, n_configs=40),
            overwrite=True,
            logging_level=False,
        )
        self._num_genes, self._value = len(order.choices), TrialValue

    def ask(self) -> list[int]:
        """The next proposal."""
        self._info = self._smac.ask()
        return [int(self._info.config[f"gene{index}"]) for index in range(self._num_genes)]

    def tell(self, values: Sequence[float]) -> None:
        """Minimised objectives of the last proposal."""
        self._smac.tell(self._info, self._value(cost=list(values) if len(values) > 1 else values[0]))


class NevergradPeer:
    """Nevergrad's ask and tell with one of its optimisers."""

    def __init__(self, order: Order, optimizer: str) -> None:
        import nevergrad as ng

        genes = [
            ng.p.TransitionChoice(range(count)) if ordinal else ng.p.Choice(range(count))
            for count, ordinal in zip(order.choices, order.ordinal, strict=True)
        ]
        parametrization = ng.p.Tuple(*genes)
        parametrization.random_state.seed(order.seed)
        self._optimizer = ng.optimizers.registry[optimizer](parametrization=parametrization, budget=order.budget, num_workers=1)
        if order.num_objectives > 1:
            self._optimizer.tell(ng.p.MultiobjectiveReference(), order.reference)

    def ask(self) -> list[int]:
        """The next proposal."""
        self._candidate = self._optimizer.ask()
        return [int(gene) for gene in self._candidate.value]

    def tell(self, values: Sequence[float]) -> None:
        """Minimised objectives of the last proposal."""
        self._optimizer.tell(self._candidate, list(values) if len(values) > 1 else values[0])


class SynePeer:
    """Syne Tune's multi-objective regularised evolution."""

    def __init__(self, order: Order) -> None:
        from syne_tune.config_space import choice, randint
        from syne_tune.optimizer.schedulers.multiobjective.multi_objective_regularized_evolution import MultiObjectiveRegularizedEvolution

        space = {
            f"gene{index}": randint(0, count - 1) if ordinal else choice(list(range(count)))
            for index, (count, ordinal) in enumerate(zip(order.choices, order.ordinal, strict=True))
        }
        self._searcher = MultiObjectiveRegularizedEvolution(space, population_size=50, random_seed=order.seed)
        self._names, self._count = list(space), 0

    def ask(self) -> list[int]:
        """The next proposal."""
        self._config = self._searcher.suggest()
        return [int(self._config[name]) for name in self._names]

    def tell(self, values: Sequence[float]) -> None:
        """Minimised objectives of the last proposal."""
        self._searcher.on_trial_complete(self._count, self._config, list(values))
        self._count += 1


PEERS: dict[str, Callable[[Order], Peer]] = {
    "pymoo_nsga2": lambda order: PymooPeer(order, 50),
    "pymoo_nsga2_20": lambda order: PymooPeer(order, 20),
    "optuna_nsga2": lambda order: optuna_nsga2(order, 50),
    "optuna_nsga2_20": lambda order: optuna_nsga2(order, 20),
    "syne_morea": SynePeer,
    "nevergrad_de": lambda order: NevergradPeer(order, "DE"),
    "nevergrad_ngopt": lambda order: NevergradPeer(order, "NGOpt"),
    "optuna_tpe": optuna_tpe,
    "smac_parego": SmacPeer,
    "optuna_gp": optuna_gp,
}


def main() -> None:
    warnings.simplefilter("ignore")
    answers, sys.stdout = sys.stdout, sys.stderr  # libraries print; only answers belong to the dialogue
    print(json.dumps({"versions": {name: version(name) for name in LIBRARIES}}), file=answers, flush=True)
    peer: Peer
    for line in sys.stdin:
        order = json.loads(line)
        if "start" in order:
            peer = PEERS[order["start"]["peer"]](Order(**order["start"]))
        start = time.process_time()
        if "tell" in order:
            peer.tell(order["tell"])
        genes = peer.ask()
        print(json.dumps({"ask": genes, "cpu_s": time.process_time() - start}), file=answers, flush=True)


if __name__ == "__main__":
    main()
