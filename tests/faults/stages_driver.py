"""The program that the tests of clusters run and kill: a small study in stages through the public interface, or going on with it.

python stages_driver.py FOLDER --trials 12 [--address HOST:PORT] [--work-s 0.3] [--measure-s 0.1] [--tag edge] [--count 1] [--workers 2]
    [--shared FOLDER] [--from FOLDER [--takeover]]

Exits as the command line does: with the code of the error, whose message it prints.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

from paretune.core.errors import ParetuneError
from paretune.platform.spec.load import spec_from_mapping
from paretune.platform.study import api
from paretune.platform.study.plan import build_plan
from paretune.platform.study.progress import Progress
from paretune.tasks.digits import Digits
from paretune.testing.evaluators import StagedFormulaEvaluator


def study_values(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """NSGA-II in generations of four on the digits space, measured on one target."""
    return {
        "version": 1,
        "name": "study",
        "seed": 3,
        "task": {"name": "digits"},
        "space": {"name": "digits_conv"},
        "hardware": {"edge": {"kind": "host", "tag": options.tag, "count": options.count}},
        "objectives": [
            {"metric": "accuracy", "goal": "max", "reference": 0.5},
            {"metric": "edge.latency_ms", "goal": "min", "reference": 0.1},
        ],
        "searcher": {"name": "nsga2", "population": 4},
        "budget": {"trials": options.trials},
        "training": {"epochs": 1},
        "run": {
            "mode": "sync",
            "workers": options.workers,
            "trial_timeout": "60s",
            "retries": 1,
            "device_wait": f"{options.device_wait_s}s",
        },
        "tracking": {"uri": "none"},
        "storage": str(folder),
        "shared": options.shared,
    }


def without_data(task: Digits) -> str:
    """Stands for the data's digest: nothing is trained."""
    return "no data"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--trials", type=int, required=True)
    parser.add_argument("--work-s", type=float, default=0.3)
    parser.add_argument("--measure-s", type=float, default=0.1)
    parser.add_argument("--tag", default="edge_pi4")
    parser.add_argument("--count", type=int, default=1)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--device-wait-s", type=int, default=120)
    parser.add_argument("--address")
    parser.add_argument("--shared")
    parser.add_argument("--from", dest="copy")
    parser.add_argument("--takeover", action="store_true")
    parser.add_argument("--witness", type=Path)
    options = parser.parse_args()
    Digits.digest = without_data  # type: ignore[method-assign]
    values = study_values(options.folder, options)
    witness = options.witness or options.folder / "witness"
    witness.mkdir(exist_ok=True)
    plan = build_plan(spec_from_mapping(values))
    evaluator = StagedFormulaEvaluator(
        space=plan.space,
        produced=plan.metrics,
        targets=("edge",),
        work_s=options.work_s,
        measure_s=options.measure_s,
        witness=str(witness.absolute()),
    )
    folder = options.folder / "study"
    try:
        if options.copy:
            how = {"address": options.address, "takeover": options.takeover, "evaluator": evaluator, "progress": Progress()}
            api.resume_from(options.copy, into=options.folder, **how)
        elif (folder / "ledger.db").exists():
            api.resume(folder, address=options.address, evaluator=evaluator, progress=Progress())
        else:
            api.run(values, address=options.address, evaluator=evaluator, progress=Progress())
    except ParetuneError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
