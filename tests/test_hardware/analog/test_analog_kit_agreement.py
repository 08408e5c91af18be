"""Our engine against the kit: conductances one by one, and accuracies of three networks on every preset that both have.

Seeds are fixed, so what is within the scatter today stays there until one of the two changes.
"""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from paretune.hardware.analog.conversion import analog_layers, to_analog
from paretune.hardware.analog.evaluator import evaluate
from paretune.hardware.analog.kit import evaluate_with_kit, kit_problem, rpu_config
from paretune.hardware.analog.presets import HERMES, PCM, RERAM, RRAM, AnalogPreset
from paretune.hardware.analog.programming import Cells

pytestmark = pytest.mark.skipif(kit_problem() is not None, reason=str(kit_problem()))

Data = tuple[Tensor, Tensor, Tensor, Tensor]
BOTH_HAVE = (PCM, HERMES, RERAM, RRAM)
REPEATS = 30
STANDARD_ERRORS = 3.5  # of a difference of means; 64 of them are looked at
MONTH_S = 2_592_000.0


class Block(nn.Module):
    """Of a residual network."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.first, self.first_norm = nn.Conv2d(channels, width, 3, 2, 1, bias=False), nn.BatchNorm2d(width)
        self.second, self.second_norm = nn.Conv2d(width, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width)
        self.shortcut, self.shortcut_norm = nn.Conv2d(channels, width, 1, 2, bias=False), nn.BatchNorm2d(width)

    def forward(self, values: Tensor) -> Tensor:
        inner = torch.relu(self.first_norm(self.first(values)))
        return torch.relu(self.second_norm(self.second(inner)) + self.shortcut_norm(self.shortcut(values)))


def residual() -> nn.Sequential:
    """Eight layers, one of whose 288 rows lie on two tiles."""
    stem = (nn.Conv2d(1, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU())
    return nn.Sequential(*stem, Block(8, 16), Block(16, 32), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10))


def convolutional() -> nn.Sequential:
    first = (nn.Conv2d(1, 12, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(12), nn.ReLU())
    return nn.Sequential(*first, nn.Conv2d(12, 16, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(256, 10))


def perceptron() -> nn.Sequential:
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))


@pytest.fixture(scope="module")
def networks(digits: Data) -> dict[str, nn.Module]:
    """Three networks, trained a little."""
    trained: dict[str, nn.Module] = {}
    makers: tuple[Callable[[], nn.Module], ...] = (perceptron, convolutional, residual)
    for make in makers:
        torch.manual_seed(0)
        network = make()
        optimizer = torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.9)
        for _ in range(4):
            for images, labels in zip(digits[0].split(64), digits[1].split(64), strict=True):
                optimizer.zero_grad()
                nn.functional.cross_entropy(network(images), labels).backward()
                optimizer.step()
        trained[make.__name__] = network.eval()
    return trained


def error_of_log_ratio(first_RT: np.ndarray, second_RT: np.ndarray) -> np.ndarray:
    """Standard error of the logarithm of a ratio of two deviations, from their pooled kurtosis (Bonett, Computational Statistics & Data
    Analysis 50, 2006): now and then a programming fails badly, so accuracies are far from normal (kurtosis 33 in 120 programmings of
    `residual` on `hermes`, in either engine).
    """
    count = len(first_RT)
    centred = np.concatenate([first_RT - first_RT.mean(axis=0), second_RT - second_RT.mean(axis=0)])
    kurtosis_T = len(centred) * (centred**4).sum(axis=0) / (centred**2).sum(axis=0) ** 2
    errors_T: np.ndarray = np.sqrt(2 * (kurtosis_T - (count - 3) / count) / (4 * (count - 1)))
    return errors_T


@pytest.mark.parametrize("preset", BOTH_HAVE, ids=lambda preset: preset.name)
@pytest.mark.parametrize("name", ["perceptron", "convolutional", "residual"])
def test_accuracy_and_error_agree_within_the_scatter_of_repeats(
    name: str, preset: AnalogPreset, networks: dict[str, nn.Module], digits: Data
) -> None:
    times_s = preset.valid_times_s[:2] if preset.valid_times_s else (1.0, MONTH_S)
    images, labels = digits[2][:80], digits[3][:80]
    settings = {"times_s": times_s, "programmings": REPEATS, "seed": 1, "calibration": digits[0][:500]}
    ours, kits = (run(networks[name], preset, images, labels, **settings) for run in (evaluate, evaluate_with_kit))
    assert ours.digital_accuracy == kits.digital_accuracy
    for ours_RT, kits_RT in ((ours.accuracies, kits.accuracies), (ours.logit_errors, kits.logit_errors)):
        deviations = np.array([ours_RT.std(axis=0, ddof=1), kits_RT.std(axis=0, ddof=1)])
        standard_errors_T = np.hypot(*deviations) / math.sqrt(REPEATS)
        assert (np.abs(ours_RT.mean(axis=0) - kits_RT.mean(axis=0)) <= STANDARD_ERRORS * standard_errors_T).all()
        if preset is RERAM and ours_RT is ours.logit_errors:
            continue  # the kit's gain varies from one programming to the next, see below
        log_ratios_T = np.log(deviations[0] / deviations[1])
        assert (np.abs(log_ratios_T) <= STANDARD_ERRORS * error_of_log_ratio(ours_RT, kits_RT)).all()


def conductances(preset: AnalogPreset, time_s: float, repeats: int) -> dict[str, Tensor]:
    """Weights from -1 to 1 as they are read after a time, `(repeats, levels, cells)`: drawn here, and in the kit's two ways."""
    weights = torch.linspace(-1, 1, 41)[:, None].repeat(1, 200)
    layer = nn.Linear(200, 41, bias=False)
    layer.weight.data.copy_(weights)
    (ours,) = analog_layers(to_analog(nn.Sequential(layer), preset)).values()
    model = rpu_config(preset).noise_model
    found: dict[str, list[Tensor]] = {"ours": [], "kit": [], "kit's loop": []}
    for repeat in range(repeats):
        cells = Cells(ours, preset.device, name="layer", repeats=[repeat], seed=0)
        noise = cells._draw("read", *cells._state.target.shape)
        found["ours"].append(cells._weights(preset.device.at(time_s, cells._state, noise))[0])
        with torch.random.fork_rng():
            torch.manual_seed(repeat)
            found["kit"].append(model.apply_noise(weights.clone(), time_s))
            programmed, exponents = model.apply_programming_noise(weights.clone())
            found["kit's loop"].append(model.apply_drift_noise(programmed, exponents, time_s))
    return {name: torch.stack(values) for name, values in found.items()}


def moments(weights: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and deviation of each level."""
    return weights.mean(dim=(0, 2)), weights.std(dim=(0, 2))


@pytest.mark.parametrize("preset", BOTH_HAVE, ids=lambda preset: preset.name)
def test_conductances_are_those_of_the_kit_level_by_level(preset: AnalogPreset) -> None:
    """Against the kit's one-step way, in which both cells of a weight live on: 6,000 cells a level, so deviations are known to 1 %."""
    for time_s in preset.valid_times_s or (1.0, 86_400.0, MONTH_S):
        drawn = conductances(preset, time_s, repeats=30)
        (our_mean, our_deviation), (kit_mean, kit_deviation) = moments(drawn["ours"]), moments(drawn["kit"])
        assert (our_mean - kit_mean).abs().max() < 4.5 * math.sqrt(2 / 6000) * kit_deviation.max()
        assert (our_deviation / kit_deviation - 1).abs().max() < 4.5 * 0.0135  # heavier tails than normal at small weights


@pytest.mark.parametrize(
    ("preset", "gain", "deviation"), [(PCM, 0.01, 0.04), (HERMES, 0.01, 0.04), (RRAM, 0.005, 0.02)], ids=["pcm", "hermes", "rram"]
)
def test_the_kits_loop_departs_a_little_by_forgetting_one_cell(preset: AnalogPreset, gain: float, deviation: float) -> None:
    """It programs a pair, keeps the difference, and lets that drift as one cell; documented with these bounds."""
    drawn = conductances(preset, MONTH_S, repeats=30)
    (our_mean, our_deviation), (loop_mean, loop_deviation) = moments(drawn["ours"]), moments(drawn["kit's loop"])
    assert abs(float(our_mean[-1] / loop_mean[-1]) - 1) < gain
    assert abs(float(our_deviation.square().mean() / loop_deviation.square().mean()) ** 0.5 - 1) < deviation


def test_the_kits_loop_scales_reram_by_the_largest_programmed_weight() -> None:
    """It draws conductances from the targets, and scales them back by the largest programmed one: several percent too much."""
    drawn = conductances(RERAM, 86_400.0, repeats=30)
    target = torch.linspace(-1, 1, 41)[:, None]
    gains = {name: (values * target).sum(dim=(1, 2)) / (target.square().sum() * 200) for name, values in drawn.items()}
    assert gains["ours"].mean().item() == pytest.approx(gains["kit"].mean().item(), abs=0.002)
    assert 1.04 < gains["kit's loop"].mean() < 1.12
    assert gains["kit's loop"].std() > 5 * gains["ours"].std()
