"""What hardware-aware training and accuracy under drift cost: in steps and forwards of plain torch, and beside aihwkit in the same run.

    python benchmarks/analog.py            ResNet-8 (16, 32, 64 channels; 78,042 parameters), 3x32x32, batch 128, one thread
    python benchmarks/analog.py --quick    the same, fewer repeats
    python benchmarks/analog.py --device cuda    without aihwkit

Plain torch and each variant take turns, process time on the CPU, best of the repeats. A drift evaluation is 1 s, 1 day and 30 days of
each programming on 256 images; a variant is one programming at one time. Both engines have the same networks, tiles, ranges, images and
times; aihwkit draws its output noise afresh, ours does where the row says so. A candidate is 100 training steps and 10 programmings at
3 times, added up from the rows above it.
"""

import argparse
import sys
import time
from collections.abc import Callable

import torch
from goals import Goal, report_goals
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, relu

from paretune.hardware.analog.conversion import after_each_step, to_analog
from paretune.hardware.analog.evaluator import DriftEvaluator
from paretune.hardware.analog.kit import KitEvaluator, kit_problem, to_kit
from paretune.hardware.analog.presets import PRESETS, AnalogPreset
from paretune.hardware.analog.training import HardwareAwareTraining

BATCH, IMAGES, PARAMETERS = 128, 256, 78_042
TIMES_S = (1.0, 86_400.0, 2_592_000.0)
STEP_GOAL = 2.0
TIMES_FASTER_GOAL = 12.0
KIT, KIT_CPP = "aihwkit, torch tile", "aihwkit, C++ tile"
CANDIDATE_STEPS, CANDIDATE_VARIANTS = 100, 30
Seconds = dict[str, float]


class Block(nn.Module):
    """Two 3x3 convolutions and a shortcut."""

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.first, self.first_norm = nn.Conv2d(channels, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width)
        self.second, self.second_norm = nn.Conv2d(width, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width)
        self.shortcut = nn.Sequential()
        if stride > 1:
            self.shortcut = nn.Sequential(nn.Conv2d(channels, width, 1, stride, bias=False), nn.BatchNorm2d(width))

    def forward(self, values: Tensor) -> Tensor:
        """Half the map where the stride is 2."""
        inner = relu(self.first_norm(self.first(values)))
        return relu(self.second_norm(self.second(inner)) + self.shortcut(values))


def resnet8() -> nn.Module:
    """ResNet-8 for 3x32x32 images."""
    torch.manual_seed(0)
    stem = (nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU())
    blocks = (Block(16, 16, 1), Block(16, 32, 2), Block(32, 64, 2))
    network = nn.Sequential(*stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))
    assert sum(parameter.numel() for parameter in network.parameters()) == PARAMETERS
    return network


def seconds(run: Callable[[], object], device: str) -> float:
    """Process time on the CPU, time on the clock on a GPU."""
    if device == "cpu":
        start_s = time.process_time()
        run()
        return time.process_time() - start_s
    torch.cuda.synchronize()
    start_s = time.perf_counter()
    run()
    torch.cuda.synchronize()
    return time.perf_counter() - start_s


def best_of(runs: dict[str, Callable[[], object]], repeats: int, device: str) -> dict[str, float]:
    """Least seconds of each, all taking turns after one round to warm up."""
    best = dict.fromkeys(runs, float("inf"))
    for repeat in range(repeats + 1):
        for name, run in runs.items():
            found_s = seconds(run, device)
            if repeat:
                best[name] = min(best[name], found_s)
    return best


def stepper(network: nn.Module, images: Tensor, labels: Tensor, *, amp: bool) -> Callable[[], None]:
    """One training step; analog networks are clipped and remapped after it."""
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9)
    after_each_step(network, optimizer)
    network.train()

    def step() -> None:
        optimizer.zero_grad()
        with torch.autocast(images.device.type, dtype=torch.bfloat16, enabled=amp):
            loss = cross_entropy(network(images), labels)
        loss.backward()
        optimizer.step()

    return step


def training(presets: dict[str, AnalogPreset], repeats: int, device: str, *, amp: bool, with_kit: bool) -> tuple[list[Goal], Seconds]:
    """Training steps beside plain torch, and the seconds of each."""
    images, labels = torch.randn(BATCH, 3, 32, 32, device=device), torch.randint(0, 10, (BATCH,), device=device)
    options = HardwareAwareTraining(range_batches=1)
    runs: dict[str, Callable[[], object]] = {"plain": stepper(resnet8().to(device), images, labels, amp=amp)}
    for name, preset in presets.items():
        runs[name] = stepper(to_analog(resnet8().to(device), preset, options=options), images, labels, amp=amp)
    fresh = to_analog(resnet8().to(device), presets["pcm"], options=options, pooled_noise=False)
    runs["pcm, fresh noise"] = stepper(fresh, images, labels, amp=amp)
    if with_kit:
        runs[KIT] = stepper(to_kit(resnet8(), presets["pcm"], seed=0, options=options), images, labels, amp=amp)
        runs[KIT_CPP] = stepper(to_kit(resnet8(), presets["pcm"], seed=0, options=options, tiles="cpp"), images, labels, amp=amp)
    found = best_of(runs, repeats, device)
    print(f"\ntraining step, batch {BATCH}, {device}{', bfloat16' if amp else ''}")
    print(f"{'':20}{'ms':>9}{'x plain':>9}")
    for name, found_s in found.items():
        print(f"{name:20}{1e3 * found_s:9.1f}{found_s / found['plain']:9.2f}")
    label = f"training_step_{device}{'_amp' if amp else ''}"
    return [Goal(name=f"{label}_x_plain", value=found["pcm"] / found["plain"], sense="<=", bound=STEP_GOAL)], found


def drifting(presets: dict[str, AnalogPreset], repeats: int, device: str, *, with_kit: bool) -> tuple[list[Goal], Seconds]:
    """Drift evaluations beside plain forwards and the kit's loop, and the seconds of a variant of each."""
    images = torch.randn(IMAGES, 3, 32, 32, device=device)
    network = resnet8().to(device)
    network(images)  # batch norm sees some
    network.eval()

    def forward() -> None:
        with torch.inference_mode():
            network(images)

    runs: dict[str, Callable[[], object]] = {"plain": forward}
    programmings = dict.fromkeys(presets, 2 if device == "cpu" else 8)
    labels = torch.zeros(IMAGES, dtype=torch.int64, device=device)
    for name, preset in presets.items():
        settings = {"times_s": preset.valid_times_s or TIMES_S, "seed": 0, "calibration": images}
        for label, pooled in ((name, True), (f"{name}, fresh noise", False)):
            evaluator = DriftEvaluator(network, preset, images, labels, pooled_noise=pooled, **settings)
            runs[label] = lambda evaluator=evaluator: evaluator.programmings(0, programmings["pcm"])
        if with_kit and name == "pcm":
            for label, tiles in ((KIT, "torch"), (KIT_CPP, "cpp")):
                kit = KitEvaluator(network, preset, images, labels, tiles=tiles, **settings)
                runs[label] = lambda kit=kit: kit.programmings(0, 1)
    found = best_of(runs, repeats, device)
    print(f"\ndrift evaluation, {IMAGES} images, {device}")
    print(f"{'':20}{'ms a variant':>13}{'plain forwards':>15}")
    variants = {"plain": 1, KIT: len(TIMES_S), KIT_CPP: len(TIMES_S)}
    per_variant = {name: found_s / variants.get(name, programmings["pcm"] * len(TIMES_S)) for name, found_s in found.items()}
    for name, found_s in per_variant.items():
        print(f"{name:20}{1e3 * found_s:13.1f}{found_s / per_variant['plain']:15.2f}")
    if not with_kit:
        return [], per_variant
    value = per_variant[KIT] / per_variant["pcm"]
    print(f"aihwkit's loop takes {value:.1f} times as long, {per_variant[KIT] / per_variant['pcm, fresh noise']:.1f} where noise is fresh")
    return [Goal(name=f"drift_evaluation_{device}_x_faster_than_aihwkit", value=value, sense=">=", bound=TIMES_FASTER_GOAL)], per_variant


def candidates(steps: Seconds, variants: Seconds) -> None:
    """What a candidate of a search costs with each engine, and how much the kit's is slower."""
    print(f"\na candidate: {CANDIDATE_STEPS} steps and {CANDIDATE_VARIANTS} variants, cpu")
    totals = {name: CANDIDATE_STEPS * steps[name] + CANDIDATE_VARIANTS * variants[name] for name in ("plain", "pcm", KIT, KIT_CPP)}
    for name, total_s in totals.items():
        print(f"{name:20}{total_s:9.1f} s{total_s / totals['pcm']:9.2f} x ours")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer repeats, two targets")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    options = parser.parse_args()
    torch.set_num_threads(1)
    repeats, names = (3, ("pcm", "rram")) if options.quick else (8, ("pcm", "hermes", "reram", "rram"))
    presets = {name: PRESETS[name] for name in names}
    device = torch.cuda.get_device_name() if options.device == "cuda" else "one thread"
    print(f"torch {torch.__version__}, {device}")
    with_kit = options.device == "cpu" and kit_problem() is None
    if not with_kit:
        print(f"without aihwkit, hence without its goal: {kit_problem() or 'on the CPU only'}")
    goals, steps = training(presets, repeats, options.device, amp=False, with_kit=with_kit)
    if options.device == "cuda":
        goals += training(presets, repeats, options.device, amp=True, with_kit=False)[0]
    drift_goals, variants = drifting(presets, repeats, options.device, with_kit=with_kit)
    if with_kit:
        candidates(steps, variants)
    return report_goals(goals + drift_goals)


if __name__ == "__main__":
    sys.exit(main())
