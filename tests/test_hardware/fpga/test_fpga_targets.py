"""The shipped FPGA targets: complete, feasible where they say so, and the published one published."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hotnas_networks import mobilenet_v2, resnet18
from ruamel.yaml import YAML

import paretune.hardware
from paretune.core.costs import CostModel, design_violation, one_design
from paretune.core.workload import WorkloadBatch
from paretune.hardware import HARDWARE

FOLDER = Path(paretune.hardware.__file__).with_name("targets")


def created(name: str) -> CostModel:
    content = YAML(typ="safe").load((FOLDER / f"{name}.yaml").read_text())
    options: dict[str, Any] = {}
    for option, given in content["options"].items():
        if isinstance(given, dict):
            assert given["source"], option
            options[option] = given["value"]
        else:
            assert not isinstance(given, int | float), f"{option}: a number without a source"
            options[option] = tuple(given) if isinstance(given, list) else given
    model: CostModel = HARDWARE.create(content["kind"], **options)
    return model


@pytest.mark.parametrize("name", ["zcu102", "zcu102_codesign", "zcu102_hotnas2020", "zcu102_pipeline", "codesign_nas"])
def test_fpga_target_has_a_feasible_design_and_costs_of_a_known_network(name: str) -> None:
    model = created(name)
    middle = one_design({decision.name: decision.choices[0] for decision in model.space()})
    assert design_violation(model.check(middle)).tolist() == [0]
    latency_s = model.estimate(WorkloadBatch.from_layers([resnet18(as_released=False)]), middle)["latency_s"].values[0]
    # ResNet-18 has 1.8e9 MACs: on at most 2520 multipliers at 200 MHz at least 3.6 ms.
    assert 3.6e-3 < latency_s < 10


def test_published_target_gives_the_published_latency() -> None:
    latency_s = created("zcu102_hotnas2020").estimate(WorkloadBatch.from_layers([resnet18(as_released=True)]), {})["latency_s"].values[0]
    assert latency_s == pytest.approx(6.27328e-3, rel=1e-12)


def test_corrected_target_holds_depthwise_networks_too() -> None:
    costs = created("zcu102").estimate(WorkloadBatch.from_layers([mobilenet_v2()]), {})["latency_s"]
    assert np.isfinite(costs.values).all()
    assert costs.layer_bottlenecks is not None
    assert set(costs.layer_bottlenecks.tolist()) <= {"O", "I", "W", "C"}
