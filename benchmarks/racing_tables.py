"""Every programming of every network of a small analog space, kept in a file, so that races can be run again in no time.

    python benchmarks/racing_tables.py [--limit N]    evaluates what results/analog_racing.json lacks, 5 s of a processor each

The networks are trained for the tiles of `analog_search.py`; each is programmed ten times. Processor time of training and of judging is
kept beside them.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from analog_tables import ANALOG, EPOCHS, SPACE, Genes, every_network, plan_of
from numpy.typing import NDArray
from search_store import RESULTS

from paretune.core.genotype import named
from paretune.hardware.analog.drift_report import DriftReport
from paretune.hardware.analog.early_stopping import MINIMUM
from paretune.hardware.analog.presets import AnalogPreset, preset
from paretune.hardware.analog.times import time_name
from paretune.platform.record.jobs import JobFactory, StageEvaluator
from paretune.platform.record.parts import measuring, part_path
from paretune.platform.study.plan import Plan

FILE = RESULTS / "analog_racing.json"
COMMAND = "python benchmarks/racing_tables.py"
SMALL_SPACE = {**SPACE, "branches": [1], "widenings": [1.0, 2.0]}
"""216 networks."""
TARGET = "analog"
PROGRAMMINGS = 10
TIMES_S = (1.0, 86_400.0, 2_592_000.0)
SEED = 0
SAVE_EVERY = 8
UNBEATABLE = {f"{TARGET}.accuracy_1d": 1.5, f"{TARGET}.avm": -1.5}
"""Values that nothing can reach, so that the first look decides."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Programmed:
    """A trained network that was programmed several times; a `Programmable` that only reads."""

    genes: Genes
    right: NDArray[np.int64]
    """`(R, T)` right answers for each of R programmings and T times."""
    num_images: int
    digital_accuracy: float
    costs: Mapping[str, float]
    """What is known before any target judges it."""
    train_s: float
    """Of a processor."""
    judge_s: float
    """Of a processor, for all programmings."""
    stopped_s: float
    """Of a processor, where it is stopped at the first look."""

    times_s: tuple[float, ...] = TIMES_S
    at_once: int = 1

    def seconds(self, ran: int) -> float:
        """Of a processor, to judge it with some programmings: what all and those at the first look took, and a line through them."""
        return self.stopped_s + (self.judge_s - self.stopped_s) * (ran - MINIMUM) / (PROGRAMMINGS - MINIMUM)

    @property
    def preset(self) -> AnalogPreset:
        """The target."""
        return preset(str(ANALOG["preset"]))

    def programmings(self, first: int, count: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """As they were."""
        accuracies_RT = self.right[first : first + count] / self.num_images
        return accuracies_RT, np.zeros_like(accuracies_RT)

    def metrics(self, report: DriftReport) -> dict[str, float]:
        """As a study records them."""
        found = {**self.costs, f"{TARGET}.avm": report.avm}
        for time_s, mean, deviation in zip(report.times_s, report.means_T, report.deviations_T, strict=True):
            found |= {f"{TARGET}.accuracy_{time_name(time_s)}": float(mean), f"{TARGET}.deviation_{time_name(time_s)}": float(deviation)}
        return found


def racing_plan() -> Plan:
    """The study of which candidates are evaluated here: that of `analog_search.py` with more programmings, in a smaller space."""
    return plan_of("digits", study_seed=SEED, space=SMALL_SPACE, analog={**ANALOG, "programmings": PROGRAMMINGS, "racing": True})


def programmed(plan: Plan, genes: Genes) -> Programmed:
    """Train a network and program it."""
    factory = JobFactory(study_seed=SEED, protocol="", search_epochs=EPOCHS, final_epochs=EPOCHS)
    job = factory.search(ask_index=0, genotype=genes, choices=named(plan.space.decisions, genes))
    evaluator = plan.make_evaluator((TARGET,))
    assert isinstance(evaluator, StageEvaluator)
    with tempfile.TemporaryDirectory() as folder:
        workspace = Path(folder) / "work" / "candidate"
        start_s = time.process_time()
        evaluator.evaluate(job, workspace)
        middle_s = time.process_time()
        evaluator.measure(job, workspace, TARGET, plan.devices[TARGET], {})
        end_s = time.process_time()
        found: Any = evaluator.complete(job, workspace)
        part_path(workspace, measuring(TARGET)).unlink()
        again_s = time.process_time()
        evaluator.measure(replace(job, rivals=(UNBEATABLE,)), workspace, TARGET, plan.devices[TARGET], {})
        stopped_s = time.process_time() - again_s
    details = found.details["measurements"][TARGET]
    accuracies_RT = np.array([part["accuracies"] for part in details["drift"].values()]).T
    own = (f"{TARGET}.",)
    return Programmed(
        genes=genes,
        right=np.rint(accuracies_RT * details["images"]).astype(np.int64),
        num_images=details["images"],
        digital_accuracy=details["digital_accuracy"],
        costs={name: value for name, value in found.metrics.items() if not name.startswith(own) and name in KEPT},
        train_s=round(middle_s - start_s, 2),
        judge_s=round(end_s - middle_s, 3),
        stopped_s=round(stopped_s, 3),
    )


KEPT = ("accuracy", "parameters", "macs", "chip.energy_j", "chip.area_mm2", "chip.latency_s")


def read_programmed(path: Path = FILE) -> list[Programmed]:
    """The networks of a file; none where there is no file."""
    if not path.exists():
        return []
    kept = json.loads(path.read_text())
    return [
        Programmed(
            genes=tuple(row["genes"]),
            right=np.array(row["right"]),
            num_images=kept["images"],
            digital_accuracy=row["digital_accuracy"],
            costs=row["costs"],
            train_s=row["train_s"],
            judge_s=row["judge_s"],
            stopped_s=row["stopped_s"],
        )
        for row in kept["networks"]
    ]


def write_programmed(networks: list[Programmed], path: Path = FILE) -> None:
    """To a file, a line for each network."""
    head = {"command": COMMAND, "torch": version("torch"), "times_s": TIMES_S, "images": networks[0].num_images}
    rows = [
        json.dumps(
            {
                "genes": item.genes,
                "right": item.right.tolist(),
                "digital_accuracy": item.digital_accuracy,
                "costs": item.costs,
                "train_s": item.train_s,
                "judge_s": item.judge_s,
                "stopped_s": item.stopped_s,
            }
        )
        for item in networks
    ]
    path.write_text(json.dumps(head)[:-1] + ', "networks": [\n' + ",\n".join(rows) + "\n]}\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--limit", type=int, help="networks that the file shall hold")
    options = parser.parse_args()
    torch.set_num_threads(1)
    plan, networks = racing_plan(), read_programmed()
    known = {item.genes for item in networks}
    for genes in every_network(plan)[: options.limit]:
        if genes not in known:
            networks.append(programmed(plan, genes))
            print(f"{len(networks)}: {networks[-1].train_s:.1f} s of training, {networks[-1].judge_s:.1f} s of judging", flush=True)
            if len(networks) % SAVE_EVERY == 0:
                write_programmed(networks)
    write_programmed(networks)


if __name__ == "__main__":
    main()
