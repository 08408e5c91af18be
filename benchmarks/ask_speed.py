"""How long a searcher takes to propose one candidate, by how many it was told; run `python benchmarks/ask_speed.py [--quick]`.

Every search is really run, one ask and one tell at a time, over a space of 20 stages (2e15 architectures). The time is CPU time of ask
plus tell, mean over the asks before the mark; memory is what the searcher holds, traced apart.
"""

import argparse
import json
import sys
import time
import tracemalloc
from statistics import fmean, median

import numpy as np
from goals import Goal, report_goals

from paretune.core.protocols import Searcher
from paretune.searchers import SEARCHERS
from paretune.testing.problems import known_front_problem

MARKS = (100, 1000, 10_000)
LAST_ASKS = 200
KNOWN = known_front_problem(num_stages=20, widest=4)


def ask_seconds(name: str, marks: tuple[int, ...]) -> tuple[dict[int, list[float]], Searcher]:
    """CPU seconds of ask plus tell for the last asks before each mark, and the searcher at the end."""
    searcher: Searcher = SEARCHERS.create(name, KNOWN.space, KNOWN.problem, seed=1)
    seconds = []
    for index in range(max(marks)):
        start = time.process_time_ns()
        row = searcher.ask(1)[0]
        middle = time.process_time_ns()
        trial = KNOWN.trial(index, row)
        again = time.process_time_ns()
        searcher.tell([trial])
        seconds.append((middle - start + time.process_time_ns() - again) / 1e9)
    return {mark: seconds[max(0, mark - LAST_ASKS) : mark] for mark in marks}, searcher


def held_bytes(name: str, count: int) -> float:
    """Bytes a searcher holds for each candidate after `count` asks and tells."""
    searcher: Searcher = SEARCHERS.create(name, KNOWN.space, KNOWN.problem, seed=1)
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    for start in range(0, count, 100):
        rows = searcher.ask(100)
        searcher.tell([KNOWN.trial(start + row, genotype) for row, genotype in enumerate(rows)])
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return (after - before) / count


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="stop at 1,000 candidates; the goal is then held there")
    marks = MARKS[:2] if parser.parse_args().quick else MARKS
    last = max(marks)
    print(
        f"{'searcher':24}"
        + "".join(f"{f'ms at {mark:,}':>14}" for mark in marks)
        + f"{'median':>10}{'99 %':>10}{'B/candidate':>13}{'state kB':>10}"
    )
    goals = []
    for name in SEARCHERS.names():
        seconds, searcher = ask_seconds(name, marks)
        means = [1000 * fmean(seconds[mark]) for mark in marks]
        middle, slow = 1000 * median(seconds[last]), 1000 * float(np.quantile(seconds[last], 0.99))
        state_kb = len(json.dumps(searcher.state_dict())) / 1000
        held = held_bytes(name, last)
        print(f"{name:24}" + "".join(f"{mean:14.3f}" for mean in means) + f"{middle:10.3f}{slow:10.3f}{held:13.0f}{state_kb:10.0f}")
        if name == "nsga2":
            goals.append(Goal(name=f"ask_ms_at_{last}", value=means[-1], sense="<=", bound=2.0))
    return report_goals(goals)


if __name__ == "__main__":
    sys.exit(main())
