"""What analog tiles report of a network: names, units and sources of the metrics, and their values in a drift report."""

from typing import Any

from paretune.core.metrics import Direction, Metric
from paretune.hardware.analog.drift_report import DriftReport
from paretune.hardware.analog.engines import Engine
from paretune.hardware.analog.presets import AnalogPreset
from paretune.hardware.analog.times import time_name

CONFIDENCE = 0.95


def metrics_of(chosen: AnalogPreset, times_s: tuple[float, ...], *, programmings: int, engine: Engine, racing: bool) -> tuple[Metric, ...]:
    """`accuracy_1d` and `deviation_1d` for each time, `avm`, `digital_accuracy`; `programmings` where candidates race."""
    counted = f"up to {programmings}" if racing else str(programmings)
    source = f"simulated: {chosen.name} tiles, {counted} programmings, engine {engine}"
    largest = Direction.MAX
    found = []
    for time_s in times_s:
        name = time_name(time_s)
        told = f"accuracy {name} after programming, mean over programmings"
        found.append(Metric(name=f"accuracy_{name}", unit="", direction=largest, lower=0, upper=1, description=told, source=source))
        told = f"standard deviation over programmings of the accuracy {name} after each"
        found.append(Metric(name=f"deviation_{name}", unit="", direction=Direction.MIN, lower=0, upper=1, description=told, source=source))
    told = f"accuracy variation: mean accuracy after {time_name(times_s[0])} less that after {time_name(times_s[-1])}"
    avm = Metric(name="avm", unit="", direction=Direction.MIN, lower=-1, upper=1, description=told, source=source)
    told = "accuracy of the same weights without tiles, on the same images"
    digital = Metric(name="digital_accuracy", unit="", direction=largest, lower=0, upper=1, description=told, source="evaluated")
    if racing:
        told, most = "programmings that the other values rest on", programmings
        found.append(Metric(name="programmings", unit="", direction=largest, lower=1, upper=most, description=told, source="counted"))
    return (*found, avm, digital)


def values_of(report: DriftReport) -> dict[str, float]:
    """Metric -> its value, but for the number of programmings."""
    values = {}
    for time_s, mean, deviation in zip(report.times_s, report.means_T, report.deviations_T, strict=True):
        values[f"accuracy_{time_name(time_s)}"] = float(mean)
        values[f"deviation_{time_name(time_s)}"] = float(deviation)
    return {**values, "avm": report.avm, "digital_accuracy": report.digital_accuracy}


def details_of(report: DriftReport) -> dict[str, Any]:
    """What helps to judge the numbers, as JSON values; intervals are of the mean over programmings."""
    drift = {}
    for column, time_s in enumerate(report.times_s):
        low, high = report.interval(time_s, confidence=CONFIDENCE)
        drift[time_name(time_s)] = {
            "time_s": time_s,
            "mean": float(report.means_T[column]),
            "deviation": float(report.deviations_T[column]),
            "low": low,
            "high": high,
            "worst": float(report.accuracies[:, column].min()),
            "accuracies": report.accuracies[:, column].tolist(),
            "logit_error": float(report.logit_errors[:, column].mean()),
        }
    low, high = report.avm_interval(confidence=CONFIDENCE)
    return {
        "source": "simulated",
        "preset": report.preset,
        "programmings": report.programmings,
        "images": report.num_images,
        "confidence": f"{100 * CONFIDENCE:g} %",
        "drift": drift,
        "avm": {"low": low, "high": high},
        "digital_accuracy": report.digital_accuracy,
    }
