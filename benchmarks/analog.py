"""What hardware-aware training and accuracy under drift cost: in steps and forwards of plain torch, and beside aihwkit in the same run.

    python benchmarks/analog.py            ResNet-8 (16, 32, 64 channels; 78,042 parameters), 3x32x32, one thread
    python benchmarks/analog.py --quick    the same, fewer repeats, aihwkit's loop at one of the times
    python benchmarks/analog.py --device cuda    without aihwkit

Plain torch and all variants take turns, process time on the CPU, best of the repeats. Training is in batches of 128. A drift evaluation is
each programming at 1 s, 1 day and 30 days on 256 images; a variant is one programming at one time. Both engines have the same networks,
tiles, ranges, images, times and batches; aihwkit draws its output noise afresh, ours does where the row says so. The goals are at
batches of 256 images, as in the loop that they were set for; aihwkit is faster by 32, which further rows show. A candidate
is a network that is built, trained and evaluated from beginning to end with each engine. At last, what racing saves in a study
(`analog_racing.py`): read from programmings that are kept in results/analog_racing.json, and one network anew.
"""

import argparse
import sys
import time
from collections.abc import Callable

import torch
from analog_racing import show_racing
from goals import Goal, report_goals
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, relu

from paretune.hardware.analog.conversion import after_each_step, to_analog
from paretune.hardware.analog.evaluator import DriftEvaluator, evaluate
from paretune.hardware.analog.kit import KitEvaluator, evaluate_with_kit, kit_problem, to_kit
from paretune.hardware.analog.presets import PRESETS, AnalogPreset
from paretune.hardware.analog.training import HardwareAwareTraining

BATCH, IMAGES, PARAMETERS = 128, 256, 78_042
TIMES_S = (1.0, 86_400.0, 2_592_000.0)
STEP_GOAL = 2.0
TIMES_FASTER_GOAL = 12.0
KIT, KIT_CPP = "aihwkit, torch tile", "aihwkit, C++ tile"
FEWER_IMAGES = (32,)
TURNS = 3
Runs = dict[str, Callable[[], object]]


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


def best_of(runs: Runs, repeats: int, device: str, *, kit_repeats: int) -> dict[str, float]:
    """Least seconds of each, all taking turns; those of the kit, which take ten times as long, one turn where others have some."""
    best = dict.fromkeys(runs, float("inf"))
    for repeat in range(repeats):
        for turn in range(TURNS):
            for name, run in runs.items():
                if not name.startswith("aihwkit") or (turn == 0 and repeat < kit_repeats):
                    best[name] = min(best[name], seconds(run, device))
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


def training(presets: dict[str, AnalogPreset], repeats: int, device: str, *, amp: bool, with_kit: bool) -> list[Goal]:
    """Training steps beside plain torch."""
    images, labels = torch.randn(BATCH, 3, 32, 32, device=device), torch.randint(0, 10, (BATCH,), device=device)
    options = HardwareAwareTraining(range_batches=1)
    runs: Runs = {"plain": stepper(resnet8().to(device), images, labels, amp=amp)}
    for name, preset in presets.items():
        runs[name] = stepper(to_analog(resnet8().to(device), preset, options=options), images, labels, amp=amp)
    fresh = to_analog(resnet8().to(device), presets["pcm"], options=options, pooled_noise=False)
    runs["pcm, fresh noise"] = stepper(fresh, images, labels, amp=amp)
    if with_kit:
        runs[KIT] = stepper(to_kit(resnet8(), presets["pcm"], seed=0, options=options), images, labels, amp=amp)
        runs[KIT_CPP] = stepper(to_kit(resnet8(), presets["pcm"], seed=0, options=options, tiles="cpp"), images, labels, amp=amp)
    found = best_of(runs, repeats, device, kit_repeats=(repeats + 1) // 2)
    print(f"\ntraining step, batch {BATCH}, {device}{', bfloat16' if amp else ''}")
    print(f"{'':24}{'ms':>9}{'x plain':>9}")
    for name, found_s in found.items():
        print(f"{name:24}{1e3 * found_s:9.1f}{found_s / found['plain']:9.2f}")
    label = f"training_step_{device}{'_amp' if amp else ''}"
    return [Goal(name=f"{label}_x_plain", value=found["pcm"] / found["plain"], sense="<=", bound=STEP_GOAL)]


def drifting(presets: dict[str, AnalogPreset], kit_times_s: tuple[float, ...], repeats: int, device: str, *, with_kit: bool) -> list[Goal]:
    """Drift evaluations beside plain forwards and the kit's loop."""
    images = torch.randn(IMAGES, 3, 32, 32, device=device)
    network = resnet8().to(device)
    network(images)  # batch norm sees some
    network.eval()
    labels, count = torch.zeros(IMAGES, dtype=torch.int64, device=device), 1 if device == "cpu" else 8

    def forward(batch: int) -> None:
        with torch.inference_mode():
            for part in images.split(batch):
                network(part)

    def programmings(evaluator: DriftEvaluator | KitEvaluator) -> Callable[[], object]:
        return lambda: evaluator.programmings(0, count)

    runs: Runs = {"plain": lambda: forward(IMAGES)}
    settings = {"times_s": TIMES_S, "seed": 0, "calibration": images}
    for name, preset in presets.items():
        own = settings | {"times_s": preset.valid_times_s or TIMES_S}
        runs[name] = programmings(DriftEvaluator(network, preset, images, labels, batch=IMAGES, **own))
    fresh = DriftEvaluator(network, presets["pcm"], images, labels, pooled_noise=False, batch=IMAGES, **settings)
    runs["pcm, fresh noise"] = programmings(fresh)
    kit_settings = settings | {"times_s": kit_times_s}
    for batch in (IMAGES, *FEWER_IMAGES) if with_kit else ():
        some, target = "" if batch == IMAGES else f", by {batch}", presets["pcm"]
        if some:
            runs[f"plain{some}"] = lambda batch=batch: forward(batch)
            runs[f"pcm{some}"] = programmings(DriftEvaluator(network, target, images, labels, batch=batch, **settings))
        for label, tiles in ((KIT, "torch"), (KIT_CPP, "cpp"))[: 1 if some else 2]:
            runs[label + some] = programmings(KitEvaluator(network, target, images, labels, tiles=tiles, batch=batch, **kit_settings))
    found = best_of(runs, repeats, device, kit_repeats=repeats)
    print(f"\ndrift evaluation, {IMAGES} images at once unless said otherwise, {device}")
    print(f"{'':24}{'ms a variant':>13}{'plain forwards':>15}")
    variants = {name: count * len(kit_times_s if name.startswith("aihwkit") else TIMES_S) for name in found}
    variants |= {name: 1 for name in found if name.startswith("plain")}
    each = {name: found_s / variants[name] for name, found_s in found.items()}
    for name, found_s in each.items():
        print(f"{name:24}{1e3 * found_s:13.1f}{found_s / each['plain']:15.2f}")
    return faster(each) if with_kit else []


def faster(each: dict[str, float]) -> list[Goal]:
    """How many times as long the kit's loop takes, at equal settings, and with the batch at which it is fastest."""
    value, fresh = each[KIT] / each["pcm"], each[KIT] / each["pcm, fresh noise"]
    print(f"aihwkit's loop, torch tile, takes {value:.1f} times as long, {fresh:.1f} where our noise is fresh as its own")
    for batch in FEWER_IMAGES:
        print(f"    both by {batch}: {each[f'{KIT}, by {batch}'] / each[f'pcm, by {batch}']:.1f} times as long")
    quickest = min((name for name in each if name.startswith("aihwkit")), key=each.__getitem__)
    print(f"    its fastest ({quickest}) beside our fastest: {each[quickest] / min(each['pcm'], each['pcm, by 32']):.1f} times as long")
    return [Goal(name="drift_evaluation_cpu_x_faster_than_aihwkit", value=value, sense=">=", bound=TIMES_FASTER_GOAL)]


def candidates(preset: AnalogPreset, times_s: tuple[float, ...], steps: int, programmings: int) -> None:
    """A candidate of a search from beginning to end with each engine: built, put on tiles, trained and evaluated under drift."""
    images, labels = torch.randn(IMAGES, 3, 32, 32), torch.randint(0, 10, (IMAGES,))
    options = HardwareAwareTraining(range_batches=1)
    print(f"\na candidate: {steps} steps, {programmings} programmings at {len(times_s)} times, cpu")

    def candidate(engine: str) -> None:
        network = resnet8()
        if engine == "ours":
            network = to_analog(network, preset, options=options)
        elif engine == KIT:
            network = to_kit(network, preset, seed=0, options=options)
        step = stepper(network, images[:BATCH], labels[:BATCH], amp=False)
        for _ in range(steps):
            step()
        run = {"ours": evaluate, KIT: evaluate_with_kit}.get(engine)
        if run is not None:
            run(network, preset, images, labels, times_s, programmings, batch=IMAGES)
        else:
            network.eval()(images)

    runs: Runs = {name: lambda name=name: candidate(name) for name in ("plain", "ours", KIT)}
    found = best_of(runs, 1, "cpu", kit_repeats=1)
    for name, found_s in found.items():
        print(f"{name:24}{found_s:9.2f} s{found_s / found['ours']:9.2f} x ours")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer repeats, two targets")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    options = parser.parse_args()
    torch.set_num_threads(1)
    repeats, names = (2, ("pcm", "rram")) if options.quick else (8, ("pcm", "hermes", "reram", "rram"))
    kit_times_s = TIMES_S[1:2] if options.quick else TIMES_S
    presets = {name: PRESETS[name] for name in names}
    device = torch.cuda.get_device_name() if options.device == "cuda" else "one thread"
    print(f"torch {torch.__version__}, {device}")
    with_kit = options.device == "cpu" and kit_problem() is None
    if not with_kit:
        print(f"without aihwkit, hence without its goal: {kit_problem() or 'on the CPU only'}")
    goals = training(presets, repeats, options.device, amp=False, with_kit=with_kit)
    if options.device == "cuda":
        goals += training(presets, repeats, options.device, amp=True, with_kit=False)
    goals += drifting(presets, kit_times_s, repeats, options.device, with_kit=with_kit)
    if with_kit:
        candidates(presets["pcm"], kit_times_s, *((4, 1) if options.quick else (50, 5)))
    if options.device == "cpu":
        goals += show_racing(quick=options.quick)
    print(f"\n{time.process_time():.0f} s of the processor")
    return report_goals(goals)


if __name__ == "__main__":
    sys.exit(main())
