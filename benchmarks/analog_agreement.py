"""How well two engines agree on accuracy under drift: ours and aihwkit's loop, network by network and preset by preset.

    python benchmarks/analog_agreement.py            100 programmings, 256 digits; an hour on one thread
    python benchmarks/analog_agreement.py --quick    30 programmings, 100 digits, perceptron and convolutions; a minute

Each line has mean and deviation of accuracy and of the logit error, and the difference of means in its standard errors. The goal bounds the
largest of all: 4 standard errors, which one in 16,000 honest differences exceeds. The loop's weights depart by about 2 % (see
docs/analog.md), which shows once the error of a mean is well below that: with many hundred programmings.
"""

import argparse
import math
import sys

import numpy as np
import torch
from analog import resnet8
from goals import Goal, report_goals
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from paretune.hardware.analog.drift_report import Floats
from paretune.hardware.analog.evaluator import evaluate
from paretune.hardware.analog.kit import evaluate_with_kit, kit_problem
from paretune.hardware.analog.presets import PRESETS

TIMES_S = (1.0, 86_400.0, 2_592_000.0)


def digits() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Three channels of training images, their labels, test images, their labels."""
    bundle = load_digits()
    order = torch.randperm(len(bundle.target), generator=torch.Generator().manual_seed(0))
    images = torch.tensor(bundle.images, dtype=torch.float32)[order, None].repeat(1, 3, 1, 1) / 8 - 1
    labels = torch.tensor(bundle.target)[order]
    return images[:1400], labels[:1400], images[1400:], labels[1400:]


def networks() -> dict[str, nn.Module]:
    """Untrained, by name."""
    torch.manual_seed(0)
    first = (nn.Conv2d(3, 12, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(12), nn.ReLU())
    return {
        "perceptron": nn.Sequential(nn.Flatten(), nn.Linear(192, 64), nn.ReLU(), nn.Linear(64, 10)),
        "convolutions": nn.Sequential(*first, nn.Conv2d(12, 16, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(256, 10)),
        "resnet8": resnet8(),
    }


def train(network: nn.Module, images: Tensor, labels: Tensor) -> None:
    """A few epochs of plain gradient descent."""
    optimizer = torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.9)
    for _ in range(4):
        for batch, truth in zip(torch.split(images, 64), torch.split(labels, 64), strict=True):
            optimizer.zero_grad()
            cross_entropy(network(batch), truth).backward()
            optimizer.step()
    network.eval()


def apart(ours_R: Floats, kits_R: Floats) -> float:
    """Difference of two means in its standard errors; 0 where neither scatters and both are equal."""
    error = math.hypot(ours_R.std(ddof=1), kits_R.std(ddof=1)) / math.sqrt(len(ours_R))
    return 0.0 if error == 0 and ours_R.mean() == kits_R.mean() else float((ours_R.mean() - kits_R.mean()) / error)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer programmings, images and networks")
    options = parser.parse_args()
    problem = kit_problem()
    if problem is not None:
        sys.exit(problem)
    torch.set_num_threads(1)
    programmings, count = (30, 100) if options.quick else (100, 256)
    images, labels, test_images, test_labels = digits()
    largest = 0.0
    for name, network in networks().items():
        if options.quick and name == "resnet8":
            continue
        train(network, images, labels)
        for preset in (preset for preset in PRESETS.values() if not preset.exact_products):
            times_s = preset.valid_times_s or TIMES_S
            both = [
                run(network, preset, test_images[:count], test_labels[:count], times_s, programmings, calibration=images[:500])
                for run in (evaluate, evaluate_with_kit)
            ]
            for column, time_s in enumerate(times_s):
                line = f"{name:13}{preset.name:7}{time_s:9g} s"
                for kind in ("accuracies", "logit_errors"):
                    ours_R, kits_R = (np.asarray(getattr(report, kind))[:, column] for report in both)
                    largest = max(largest, abs(apart(ours_R, kits_R)))
                    line += f"  {ours_R.mean():.4f} +- {ours_R.std(ddof=1):.4f} | {kits_R.mean():.4f} +- {kits_R.std(ddof=1):.4f}"
                    line += f" ({apart(ours_R, kits_R):+.1f})"
                print(line, flush=True)
    return report_goals([Goal(name="largest_difference_standard_errors", value=largest, sense="<=", bound=4.0)])


if __name__ == "__main__":
    sys.exit(main())
