"""Nodes that join a cluster while a study runs: each is held against the driver's, and nothing of the study goes where one does not fit.

The driver asks a node when it sees that it has joined. A worker that is there before the answer looks at its node itself, before its first
job; so no candidate is ever evaluated on a node that does not fit.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import ray
from ray._private.state import state
from ray.exceptions import RayActorError, RayError

from paretune.core.errors import ClusterLost
from paretune.platform.execution.capacity import cluster_facts
from paretune.platform.execution.demands import ClusterFacts, Demand
from paretune.platform.execution.nodes import Expected, Misfit, NodeFacts, Question, alive_nodes, answer, begin_asking, misfit

logger = logging.getLogger(__name__)

LOOK_EVERY_S = 5.0
REFUSED_AT_MOST = 3
"""Nodes in a row that do not fit: then no other start is believed in. Each is paid for, and they come from one image."""


class Newcomers:
    """Which nodes that joined a study's cluster it may use.

    Args:
        expected: what they must be like; None where nobody is asked, since nobody can join.
        say: told in words about each that does not fit, once.
        clock: monotonic seconds.
    """

    def __init__(
        self, expected: Expected | None = None, *, say: Callable[[str], None] = logger.warning, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._expected, self._say, self._clock = expected, say, clock
        self._looked_s = clock()
        self._fit: set[str] = set(expected.checked) if expected else set()
        self._questions: dict[str, Question] = {}
        self._misfits: dict[str, Misfit] = {}
        self._left: set[str] = set()
        """Those of them that have gone; an id never comes again."""
        self._num_in_a_row = 0
        self._places: tuple[float, int] | None = None
        """When it was looked, and how many there were."""

    def __getstate__(self) -> dict[str, Any]:
        """Tune pickles its scheduler for its own resume, which is never used."""
        return {}

    @property
    def expected(self) -> Expected | None:
        """What travels to the workers."""
        return self._expected and replace(self._expected, checked=frozenset(self._fit))

    @property
    def refused(self) -> tuple[str, ...]:
        """Ids of nodes that nothing of the study may run on."""
        return tuple(node_id for node_id in self._misfits if node_id not in self._left)

    @property
    def hopeless(self) -> bool:
        """Whether the nodes that join by themselves do not fit, one like another."""
        return self._num_in_a_row >= REFUSED_AT_MOST

    def facts(self, *, nodes_come: bool) -> ClusterFacts:
        """The cluster as far as the study may use it.

        Args:
            nodes_come: whether the user says that nodes join by themselves.
        """
        found = cluster_facts(nodes_come=nodes_come, without=frozenset(self.refused))
        return replace(found, nodes_come=False, node_types=None) if self.hopeless else found

    def places(self, needed: Demand) -> int | None:
        """How many of a demand may be placed or pending, so that no node is started that would be refused; None where nobody minds.

        One at least, since whoever waits is told so, and in the end.
        """
        if not self.hopeless:
            return None
        now_s = self._clock()
        if self._places is None or now_s - self._places[0] >= LOOK_EVERY_S:
            self._places = now_s, max(1, self.facts(nodes_come=False).room(needed))
        return self._places[1]

    def look(self) -> None:
        """Ask those who have joined, if it is time to, and take in what they say. Never waits."""
        if self._expected is None:
            return
        if self._clock() - self._looked_s >= LOOK_EVERY_S:
            self._looked_s = self._clock()
            self._ask_unknown()
        calls = {question.call: node_id for node_id, question in self._questions.items()}
        ready, _ = ray.wait(list(calls), num_returns=len(calls), timeout=0) if calls else ([], [])
        for call in ready:
            self._hear(self._questions.pop(calls[call]))

    def refuse(self, found: Misfit) -> None:
        """A node does not fit."""
        if found.node_id in self._misfits:
            return
        self._misfits[found.node_id] = found
        self._num_in_a_row += 1
        self._say(f"node {found.address} joined and does not fit, so nothing runs there:\n{found.told}")
        if self._num_in_a_row == REFUSED_AT_MOST:
            self._say(f"{REFUSED_AT_MOST} nodes in a row do not fit: the study asks for no more nodes than there are")

    def blame(self, error: BaseException | None) -> Misfit | None:
        """The node of a worker that could not even start, where it does not fit; another paretune may fail in any way.

        Waits for the answer of the node, if it has not been asked yet.
        """
        if self._expected is None or not isinstance(error, RayActorError) or not error.actor_init_failed:
            return None
        node_id = _node_of(error)
        if node_id in self._misfits:
            return self._misfits[node_id]
        self._ask_unknown()
        question = self._questions.pop(node_id, None)
        if question is not None:
            self._hear(question)
        return self._misfits.get(node_id)

    def _ask_unknown(self) -> None:
        assert self._expected is not None
        nodes = alive_nodes()
        self._left = self._misfits.keys() - {node["NodeID"] for node in nodes}
        for node in nodes:
            if node["NodeID"] not in (*self._fit, *self._misfits, *self._questions):
                self._questions[node["NodeID"]] = begin_asking(node, self._expected.mark)

    def _hear(self, question: Question) -> None:
        assert self._expected is not None
        try:
            facts: NodeFacts | None = answer(question)
        except ClusterLost as error:  # it is asked again
            logger.warning("%s", error)
            return
        if facts is None:
            return
        found = misfit(facts, self._expected)
        if found is not None:
            self.refuse(found)
        elif facts.node_id not in self._misfits:
            self._fit.add(facts.node_id)
            self._num_in_a_row = 0


def _node_of(error: RayActorError) -> str:
    """Id of the node that an actor was on; empty where nobody knows."""
    try:
        told: Any = state.actor_table(error.actor_id) if error.actor_id else {}
    except (RayError, ConnectionError, ValueError):
        return ""
    return str(told.get("Address", {}).get("NodeID", ""))
