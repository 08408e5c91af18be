"""Networks of an analog space, evaluated as a study does it but without Ray, and kept in a file, so that searches can be run again."""

import json
import tempfile
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from itertools import product
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from search_store import RESULTS
from search_tasks import DATA

from paretune.core.genotype import as_genotypes, from_named, named
from paretune.platform.execution.evaluator import evaluate_here
from paretune.platform.record.jobs import JobFactory
from paretune.platform.spec.load import spec_from_mapping
from paretune.platform.study.plan import Plan, build_plan

FILE = RESULTS / "analog_search.json"
TASKS: Mapping[str, dict[str, Any]] = {
    "digits": {"name": "digits"},
    "spoken_digits": {
        "name": "spoken_digits",
        "folder": str(DATA / "fsdd"),
        "bands": 8,
        "frames": 8,
        "learning_rate": 0.1,
        "train_limit": 1600,
    },
}
WIDTHS, STAGES, BLOCKS, WIDENINGS = (8, 12, 16), (1, 2), (1, 2), (1.0, 2.0)
"""Of plain ResNets; the space has further widenings."""
SPACE = {"name": "resnet_analog", "first_widths": list(WIDTHS), "main_blocks": list(STAGES), "residual_blocks": list(BLOCKS)}
"""That of studies/digits-analog.yaml."""
ANALOG = {"kind": "analog", "preset": "hermes", "times_s": ["1s", "1d", "30d"], "programmings": 6, "images": 200}
EPOCHS = 4
OBJECTIVES = (
    {"metric": "analog.accuracy_1d", "goal": "max", "reference": 0.5},
    {"metric": "analog.avm", "goal": "min", "reference": 0.4},
    {"metric": "chip.energy_uj", "goal": "min", "reference": 20},
)
KEPT = ("analog.accuracy_1s", "analog.accuracy_1d", "analog.accuracy_30d", "analog.avm", "analog.digital_accuracy", "chip.energy_j")
AWARE, DIGITAL = "trained for the tiles", "trained digitally"
TRAININGS = (AWARE, DIGITAL)

Genes: TypeAlias = tuple[int, ...]
Table = dict[Genes, Mapping[str, float]]
"""`KEPT` of each network; energy alone where training diverged."""
Tables: TypeAlias = dict[str, dict[str, dict[int, Table]]]
"""By task, training, and seed of the study that the networks were trained in."""


def plan_of(
    task: str, *, study_seed: int, training: str = AWARE, space: Mapping[str, Any] = SPACE, analog: Mapping[str, Any] = ANALOG
) -> Plan:
    """The study of which candidates are evaluated here, perhaps in another space and with other options of the tiles."""
    aware = {"hardware_aware": "analog"} if training == AWARE else {}
    spec = {
        "version": 1,
        "name": "analog-search",
        "seed": study_seed,
        "task": TASKS[task],
        "space": dict(space),
        "hardware": {"chip": {"target": "hermes"}, "analog": dict(analog)},
        "objectives": list(OBJECTIVES),
        "searcher": {"name": "random"},  # benchmarks make their own
        "budget": {"trials": 1000},
        "training": {"epochs": EPOCHS, **aware},
    }
    return build_plan(spec_from_mapping(spec))


def evaluated(plan: Plan, genes: Genes) -> dict[str, float]:
    """All metrics, trained, programmed, drifted and judged in this process; the study's seed and the architecture decide everything."""
    factory = JobFactory(study_seed=plan.spec.seed, protocol="", search_epochs=EPOCHS, final_epochs=EPOCHS)
    job = factory.search(ask_index=0, genotype=genes, choices=named(plan.space.decisions, genes))
    with tempfile.TemporaryDirectory() as folder:
        workspace = Path(folder) / "work" / "candidate"
        return dict(evaluate_here(plan.make_evaluator(tuple(plan.devices)), job, workspace, plan.devices).metrics)


class EvaluatedTable(Table):
    """A table that evaluates what it lacks when asked for it."""

    def __init__(self, task: str, *, study_seed: int, training: str, known: Mapping[Genes, Mapping[str, float]]) -> None:
        super().__init__(known)
        self._plan = plan_of(task, study_seed=study_seed, training=training)

    def __missing__(self, genes: Genes) -> Mapping[str, float]:
        self[genes] = {name: round(value, 12) for name, value in evaluated(self._plan, genes).items() if name in KEPT}
        return self[genes]


def every_network(plan: Plan) -> list[Genes]:
    """All genotypes of the space, in a random order, so that a part of them is like the whole."""
    rows_ND = np.array(list(product(*(range(len(decision.choices)) for decision in plan.space.decisions))))
    distinct_ND = np.unique(plan.space.canonical(as_genotypes(rows_ND, rows_ND.shape[1])), axis=0)
    return [tuple(row) for row in np.random.default_rng(0).permutation(distinct_ND).tolist()]


def energies_j(plan: Plan, networks: Sequence[Genes]) -> list[float]:
    """Of an inference of each, from the target."""
    return [float(value) for value in plan.free(as_genotypes(networks, len(plan.space.decisions)))["chip.energy_j"]]


def plain_resnets(plan: Plan) -> list[Genes]:
    """What one would try by hand: basic blocks, every stage as deep, twice as wide where the map is halved, and maybe before."""
    return [
        genes
        for width, blocks, widening in product(WIDTHS, BLOCKS, WIDENINGS)
        for genes in (
            plain_resnet(plan, width=width, stages=((blocks, widening),)),
            plain_resnet(plan, width=width, stages=((blocks, widening), (blocks, 2.0))),
        )
    ]


def finer_plain_resnets(plan: Plan) -> list[Genes]:
    """Twice as many, those of `plain_resnets` among them: each stage as deep as it likes, and the second one also as wide as the first."""
    single = [plain_resnet(plan, width=width, stages=(stage,)) for width, *stage in product(WIDTHS, BLOCKS, WIDENINGS)]
    double = [
        plain_resnet(plan, width=width, stages=((first, before), (second, after)))
        for width, first, second in product(WIDTHS, BLOCKS, BLOCKS)
        for before, after in ((1.0, 1.0), (1.0, 2.0), (2.0, 2.0))
    ]
    return single + double


def textbook_resnets(plan: Plan) -> list[Genes]:
    """Half of `plain_resnets`: those that are twice as wide only where the map is halved (He et al., CVPR 2016)."""
    return [
        plain_resnet(plan, width=width, stages=stages)
        for width, blocks in product(WIDTHS, BLOCKS)
        for stages in (((blocks, 1.0),), ((blocks, 1.0), (blocks, 2.0)))
    ]


def plain_resnet(plan: Plan, *, width: int, stages: Sequence[Sequence[float]]) -> Genes:
    """The ResNet of basic blocks with a first width and (blocks, widening) of each stage."""
    choices: dict[str, Any] = {"first_width": width, "main_blocks": len(stages)}
    for stage in range(1, len(STAGES) + 1):
        blocks, widening = stages[min(stage, len(stages)) - 1]
        parts = {"residual_blocks": blocks, "branches": 1, "type": "basic", "widening": widening}
        choices |= {f"main{stage}.{name}": value for name, value in parts.items()}
    row = from_named(plan.space.decisions, choices)
    return tuple(plan.space.canonical(as_genotypes([row], len(row)))[0].tolist())


def use_threads(threads: int) -> None:
    """Set up a process."""
    import torch

    torch.set_num_threads(threads)


def read_tables(path: Path) -> Tables:
    """From a file; empty where there is none."""
    tables: Tables = {}
    for part in json.loads(path.read_text())["tables"] if path.exists() else ():
        table = {
            tuple(genes): {name: value for name, value in zip(KEPT, values, strict=True) if value is not None}
            for genes, *values in part["rows"]
        }
        tables.setdefault(part["task"], {}).setdefault(part["training"], {})[part["seed"]] = table
    return tables


def write_tables(path: Path, tables: Tables, command: str) -> None:
    """To a file, a line for each network."""
    path.parent.mkdir(exist_ok=True)
    parts = []
    for task, trainings in tables.items():
        for training, seeds in trainings.items():
            for seed, table in sorted(seeds.items()):
                rows = [json.dumps([genes, *(metrics.get(name) for name in KEPT)]) for genes, metrics in sorted(table.items())]
                named_as = {"task": task, "training": training, "seed": seed}
                parts.append(json.dumps(named_as)[:-1] + ', "rows": [\n' + ",\n".join(rows) + "\n]}")
    head = {"command": command, "torch": version("torch"), "columns": ["genotype", *KEPT]}
    path.write_text(json.dumps(head)[:-1] + ', "tables": [\n' + ",\n".join(parts) + "\n]}\n")
