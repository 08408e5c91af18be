"""The program that the kill harness kills: runs a small study through the public interface, or goes on with it.

python study_driver.py STORAGE NAME --trials 60 --work-s 0.06 --witness FOLDER [--address HOST:PORT] [--forgetful]

Exits as the command line does: with the code of the error, whose message it prints.
"""

import argparse
import sys
import time
from pathlib import Path

from paretune.core.errors import ParetuneError
from paretune.platform.record.jobs import Job
from paretune.platform.record.results import result_path
from paretune.platform.spec.load import spec_from_mapping
from paretune.platform.study import api
from paretune.platform.study.plan import build_plan
from paretune.tasks.digits import Digits
from paretune.testing.evaluators import FormulaEvaluator


def study_values(storage: Path, name: str, trials: int, *, workers: int = 2, seed: int = 3, rungs: bool = False) -> dict[str, object]:
    """The study that is run: NSGA-II in generations of 8 on the digits space; with rungs of 1, 2 and 4 epochs or without."""
    ladder = {"fidelity": {"min_epochs": 1, "eta": 2}} if rungs else {}
    return {
        "version": 1,
        "name": name,
        "seed": seed,
        "task": {"name": "digits"},
        "space": {"name": "digits_conv"},
        "hardware": {"host": {"kind": "host"}},
        "objectives": [
            {"metric": "accuracy", "goal": "max", "reference": 0.5},
            {"metric": "host.latency_ms", "goal": "min", "reference": 0.1},
        ],
        "constraints": [{"metric": "parameters", "max": 60000}],
        "searcher": {"name": "nsga2", "population": 8},
        "budget": {"trials": trials},
        "training": {"epochs": 4 if rungs else 1},
        **ladder,
        "run": {"mode": "sync", "workers": workers, "trial_timeout": "60s"},
        "tracking": {"uri": "none"},
        "storage": str(storage),
    }


class ForgetfulEvaluator(FormulaEvaluator):
    """A planted defect: durable results vanish, as if workers did not write them before they report, and reports take a second."""

    def release(self, job: Job, workspace: Path) -> None:
        super().release(job, workspace)
        result_path(workspace.parents[1], job.id).unlink()
        time.sleep(1.0)  # longer than the harness waits after work began: most kills fall between the work and its report


def without_data(task: Digits) -> str:
    """Stands for the data's digest: nothing is trained, and reading the digits would take two seconds of every start."""
    return "no data"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("storage", type=Path)
    parser.add_argument("name")
    parser.add_argument("--trials", type=int, required=True)
    parser.add_argument("--work-s", type=float, default=0.06)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--witness", type=Path, required=True)
    parser.add_argument("--address")
    parser.add_argument("--forgetful", action="store_true", help="plant a defect that the harness must find")
    parser.add_argument("--rungs", action="store_true", help="a search by rungs")
    options = parser.parse_args()
    Digits.digest = without_data  # type: ignore[method-assign]
    values = study_values(options.storage, options.name, options.trials, workers=options.workers, rungs=options.rungs)
    plan = build_plan(spec_from_mapping(values))
    kind = ForgetfulEvaluator if options.forgetful else FormulaEvaluator
    evaluator = kind(space=plan.space, produced=plan.metrics, work_s=options.work_s, witness=str(options.witness.absolute()))
    folder = options.storage / options.name
    try:
        if (folder / "ledger.db").exists():
            api.resume(folder, address=options.address, evaluator=evaluator)
        else:
            api.run(values, address=options.address, evaluator=evaluator)
    except ParetuneError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
