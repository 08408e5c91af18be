"""One small search in this process, as up to N workers would run it that finish in a random order; prints its front.

python one_search.py FOLDER --in-flight 3 --order 17
"""

import argparse
import locale
import random
import time
from pathlib import Path

from paretune.core.objectives import Problem
from paretune.core.protocols import Searcher, SearchSpace
from paretune.platform.execution.phase import Wait
from paretune.platform.execution.worker import Worker, WorkerLimits
from paretune.platform.record.jobs import Job
from paretune.searchers.nsga2 import NSGA2
from paretune.spaces.digits_conv import DigitsConv
from paretune.testing.studies import FormulaStudy, open_formula_study

TRIALS = 48


def nsga2(space: SearchSpace, problem: Problem) -> Searcher:
    return NSGA2(space, problem, seed=11, population=8)


def open_study(folder: Path) -> FormulaStudy:
    space = DigitsConv(input_shape=(1, 8, 8), num_classes=10)
    return open_formula_study(folder, space=space, make_searcher=nsga2, trials=TRIALS)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--in-flight", type=int, required=True)
    parser.add_argument("--order", type=int, required=True)
    options = parser.parse_args()
    time.tzset()
    for name in ("tr_TR.UTF-8", "de_DE.UTF-8", ""):
        try:
            locale.setlocale(locale.LC_ALL, name)
            break
        except locale.Error:
            continue  # not installed here
    study, order, flying = open_study(options.folder), random.Random(options.order), list[Job]()
    worker = Worker(study.evaluator, study.folder.absolute(), WorkerLimits())
    while True:
        step = study.phase.next_job() if len(flying) < options.in_flight else Wait()
        if isinstance(step, Job):
            flying.append(step)
        elif isinstance(step, Wait):
            job = flying.pop(order.randrange(len(flying)))
            study.phase.finished(job.id, worker.run(job))
        else:
            break
    study.ledger.close()
    print(study.front_json())


if __name__ == "__main__":
    main()
