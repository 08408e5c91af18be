"""Says so while no node of the cluster can train, and ends the waiting where none will come. Knows no Ray."""

import time
from collections.abc import Callable

from paretune.core.errors import ClusterLost
from paretune.platform.execution.demands import ClusterFacts, Demand

LOOK_EVERY_S = 5.0
SAY_AFTER_S, SAY_EVERY_S = 10.0, 60.0


class RoomWatch:
    """Looks now and then whether there is room for one candidate at all; Tune waits for it without end and without a word.

    Args:
        training: what one candidate takes.
        facts: the cluster as it is now.
        patience_s: how long to wait where no node joins by itself.
        say: told in words.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        training: Demand,
        facts: Callable[[], ClusterFacts],
        *,
        patience_s: float,
        say: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._training, self._facts, self._patience_s, self._say, self._clock = training, facts, patience_s, say, clock
        self._looked_s, self._said_s = clock(), 0.0
        self._since_s: float | None = None

    def look(self) -> None:
        """Look, if it is time to.

        Raises:
            ClusterLost: nobody can train, and has not been able to for too long.
        """
        now_s = self._clock()
        if now_s - self._looked_s < LOOK_EVERY_S:
            return
        self._looked_s = now_s
        cluster = self._facts()
        if cluster.room(self._training) > 0:
            self._since_s, self._said_s = None, 0.0
            return
        self._since_s = now_s if self._since_s is None else self._since_s
        waited_s = now_s - self._since_s
        refused = f"; nodes there that do not fit: {cluster.num_refused}" if cluster.num_refused else ""
        if waited_s >= self._patience_s and not cluster.nodes_come:
            raise ClusterLost(
                f"no node that is left can train ({self._training} on one node), also after waiting {waited_s:.0f} s{refused}"
            )
        if waited_s >= SAY_AFTER_S and (self._said_s == 0.0 or now_s - self._said_s >= SAY_EVERY_S):
            self._said_s = now_s
            coming = "waiting for the autoscaler" if cluster.nodes_come else "waiting for a node to join"
            self._say(f"no node can train ({self._training} on one node): {coming} since {waited_s:.0f} s{refused}")
