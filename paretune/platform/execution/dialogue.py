"""The order in which one searcher is asked and told, so that proposals do not depend on the number of workers."""

from collections.abc import Mapping
from typing import Any, Literal

from paretune.core.protocols import Searcher
from paretune.core.trial import Outcome, Trial


class Dialogue:
    """Asks and tells one searcher.

    `mode: sync` tells results in ask order and exactly as many as `Searcher.tells_before` demands before each ask, whatever
    else is already there, so the same seed gives the same proposals with any number of workers. `mode: async` tells results
    as they come.
    """

    def __init__(self, searcher: Searcher, mode: Literal["sync", "async"]) -> None:
        self.searcher, self.mode = searcher, mode
        self.num_asked = 0
        self._num_told = 0
        self._waiting: dict[int, Trial] = {}

    @property
    def exhausted(self) -> bool:
        """Whether the searcher has nothing more to propose."""
        return self.searcher.exhausted

    def ask(self) -> tuple[int, tuple[int, ...]] | None:
        """The next proposal as (ask index, genotype); None while results are missing or the space is exhausted."""
        if self.mode == "sync" and not self._tell_in_order(self.searcher.tells_before(self.num_asked)):
            return None
        rows = self.searcher.ask(1)
        if len(rows) == 0:
            return None
        index = self.num_asked
        self.num_asked += 1
        return index, tuple(int(gene) for gene in rows[0])

    def result(self, trial: Trial) -> None:
        """Take in the result of an ask."""
        if self.mode == "async":
            self.searcher.tell([trial])
        else:
            self._waiting[trial.ask_index] = trial

    def _tell_in_order(self, needed: int) -> bool:
        if any(index not in self._waiting for index in range(self._num_told, needed)):
            return False
        if needed > self._num_told:
            self.searcher.tell([self._waiting.pop(index) for index in range(self._num_told, needed)])
            self._num_told = needed
        return True

    def state_dict(self) -> dict[str, Any]:
        """The searcher's state and the results it has not been told yet, as JSON values."""
        waiting = [
            {"ask_index": trial.ask_index, "genotype": list(trial.genotype), "outcome": trial.outcome.value, "metrics": dict(trial.metrics)}
            for _, trial in sorted(self._waiting.items())
        ]
        return {"searcher": self.searcher.state_dict(), "num_asked": self.num_asked, "num_told": self._num_told, "waiting": waiting}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state."""
        self.searcher.load_state_dict(state["searcher"])
        self.num_asked, self._num_told = state["num_asked"], state["num_told"]
        self._waiting = {item["ask_index"]: _trial(item) for item in state["waiting"]}


def _trial(values: Mapping[str, Any]) -> Trial:
    return Trial(
        ask_index=values["ask_index"],
        genotype=tuple(values["genotype"]),
        outcome=Outcome(values["outcome"]),
        metrics=values["metrics"],
    )
