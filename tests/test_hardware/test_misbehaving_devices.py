"""Devices that lie, hang, flood and slow down: real processes behind real sockets. What comes out is right or an error, never a bad value.

Rows G1 to G9 of the faults that docs/devices.md lists.
"""

import json
import os
import subprocess
import sys
import tracemalloc
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from torch import nn

from paretune.core.errors import DeviceError
from paretune.core.trial import Outcome
from paretune.hardware.measured.drift import DriftLimits
from paretune.hardware.measured.remote.device import Remote
from paretune.hardware.measured.remote.pool import DevicePool
from paretune.networks.onnx_conversion import to_onnx
from paretune.platform.execution.worker import classify

SCRIPT = Path(__file__).parent / "misbehaving_device.py"
ROOT = Path(__file__).parents[2]
SHAPE = (1, 1, 8, 8)
NETWORK = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 10)).eval()


@dataclass
class Device:
    """One process, and the file with its orders."""

    address: str
    orders: Path

    def order(self, **orders: Any) -> None:
        self.orders.write_text(json.dumps(orders))


@pytest.fixture(scope="module")
def processes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Device]]:
    folder, started, devices = tmp_path_factory.mktemp("orders"), [], []
    try:
        for number in range(3):
            orders = folder / f"{number}.json"
            orders.write_text("{}")
            process = subprocess.Popen(
                [sys.executable, str(SCRIPT), str(orders)], stdout=subprocess.PIPE, text=True, cwd=ROOT, env=environment()
            )
            started.append(process)
        for number, process in enumerate(started):
            assert process.stdout is not None
            devices.append(Device(f"127.0.0.1:{int(process.stdout.readline())}", folder / f"{number}.json"))
        yield devices
    finally:
        for process in started:
            process.kill()
            process.communicate()


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


@pytest.fixture
def devices(processes: list[Device]) -> list[Device]:
    for number, device in enumerate(processes):
        device.order(fresh=number)
    return processes


def remote(*devices: Device, **options: Any) -> Remote:
    given = {"warm_up_s": 0.001, "max_s": 0.01, "max_attempts": 1, "timeout_s": 2.0, "wait_s": 0.1, **options}
    return Remote(addresses=tuple(device.address for device in devices), **given)


def truth_s() -> float:
    """What the made-up devices really take for `NETWORK`, see `misbehaving_device.true_latency_s`."""
    return 3e-4 + 1e-8 * len(to_onnx(NETWORK, SHAPE))


LIES = ["zero", "negative", "nan", "inf", "text", "list", "null", "true", "tiny", "huge"]
BREAKS = ["disconnect", "half", "garbage", "huge_length", "flood", "flood_inside", "deep", "twice", "few_samples", "wrong_median"]
CONFUSIONS = ["milliseconds", "microseconds", "kiloseconds", "old", "other_model"]


@pytest.mark.parametrize("fault", LIES + BREAKS + CONFUSIONS)
def test_a_bad_answer_never_comes_out_and_another_device_measures(fault: str, devices: list[Device]) -> None:
    bad, good, _ = devices
    bad.order(candidate=["ok", fault])
    both = remote(bad, good)
    assert both.measure(NETWORK, SHAPE).details["device"] == bad.address
    measurement = both.measure(NETWORK, SHAPE)
    assert measurement.values["latency_s"] == pytest.approx(truth_s(), rel=0.03)
    assert measurement.details["device"] == good.address
    assert list(measurement.details["quarantined"]) == [bad.address]


RAW = {
    "zero": "is 0;",
    "negative": "is -0.001;",
    "nan": "NaN is no number",
    "inf": "Infinity is no number",
    "text": "is '3.2';",
    "list": r"is \[0.001\];",
    "null": "is None;",
    "true": "is True;",
    "tiny": "is 1e-12;",
    "huge": "is 1000000000000.0;",
}


@pytest.mark.parametrize("fault", LIES)
def test_a_lone_liar_is_a_device_error_with_the_raw_value(fault: str, devices: list[Device]) -> None:
    devices[0].order(candidate=[fault] * 9)
    with pytest.raises(DeviceError, match=RAW[fault]) as caught:
        remote(devices[0]).measure(NETWORK, SHAPE)
    assert classify(caught.value) is Outcome.DEVICE_ERROR
    assert not classify(caught.value).teaches


@pytest.mark.parametrize("unit", ["milliseconds", "kiloseconds"])
def test_a_device_in_a_wrong_unit_shows_with_the_reference_network_already(unit: str, devices: list[Device]) -> None:
    devices[0].order(candidate=[unit] * 9, reference=[unit] * 9)
    with pytest.raises(DeviceError, match="a wrong unit or clock"):
        remote(devices[0]).measure(NETWORK, SHAPE)


@pytest.mark.parametrize("fault", ["hang", "drip"])
def test_a_device_that_never_ends_is_left_at_the_deadline(fault: str, devices: list[Device]) -> None:
    devices[0].order(candidate=[fault])
    measurement = remote(*devices[:2], timeout_s=1.0).measure(NETWORK, SHAPE)
    assert measurement.details["device"] == devices[1].address
    assert "no whole answer within 1 s" in measurement.details["quarantined"][devices[0].address]


@pytest.mark.parametrize("fault", ["flood", "flood_inside", "huge_length"])
def test_a_flood_is_not_held_in_memory(fault: str, devices: list[Device]) -> None:
    devices[0].order(candidate=[fault] * 9)
    device = remote(devices[0])
    tracemalloc.start()
    try:
        with pytest.raises(DeviceError, match=r"larger than the limit|begins with|no strict JSON"):
            device.measure(NETWORK, SHAPE)
        assert tracemalloc.get_traced_memory()[1] < 16 * 2**20
    finally:
        tracemalloc.stop()


def test_values_from_a_device_that_slows_down_for_a_while_are_measured_again(devices: list[Device]) -> None:
    # Two references for the baseline, one candidate between two; then from within the second candidate on everything takes twice as long,
    # for the candidate, the reference after it, and the reference before the first repetition.
    devices[0].order(factors=[1, 1, 1, 1, 2, 2, 2])
    slow = remote(devices[0])
    first, second = slow.measure(NETWORK, SHAPE), slow.measure(NETWORK, SHAPE)
    assert first.details["reference"]["repeats"] == 0
    assert second.details["reference"]["repeats"] == 2
    for measurement in (first, second):
        assert measurement.values["latency_s"] == pytest.approx(truth_s(), rel=0.03)
        assert measurement.details["reference"]["after"] == pytest.approx(1, abs=0.05)


def test_a_device_that_stays_slow_is_refused(devices: list[Device]) -> None:
    devices[0].order(factors=[1, 1] + [2] * 40)
    with pytest.raises(DeviceError, match=r"2.00 times its baseline"):
        remote(devices[0], max_repeats=1).measure(NETWORK, SHAPE)


def test_a_known_baseline_shows_a_device_that_is_slow_from_the_start(devices: list[Device]) -> None:
    devices[0].order(factor=2.0)
    with pytest.raises(DeviceError, match=r"2.00 times its baseline of 0.00025 s"):
        remote(devices[0], max_repeats=1, baseline_s=2.5e-4).measure(NETWORK, SHAPE)


def test_one_of_three_that_disagrees_is_quarantined_by_name(devices: list[Device]) -> None:
    devices[0].order(factor=1.1)
    measurement = remote(*devices).measure(NETWORK, SHAPE)
    assert measurement.values["latency_s"] == pytest.approx(truth_s(), rel=0.03)
    assert measurement.details["device"] == devices[1].address
    assert "1.10 times what it takes on the others" in measurement.details["quarantined"][devices[0].address]


def test_of_two_that_disagree_none_is_believed(devices: list[Device]) -> None:
    devices[0].order(factor=1.1)
    with pytest.raises(DeviceError, match=f"{devices[0].address}.*{devices[1].address}.*baseline_s"):
        remote(*devices[:2]).measure(NETWORK, SHAPE)


def test_outliers_in_a_fifth_of_the_runs_do_not_move_the_value(devices: list[Device]) -> None:
    devices[0].order(candidate=["outliers"] * 9)
    measurement = remote(devices[0]).measure(NETWORK, SHAPE)
    assert measurement.values["latency_s"] == pytest.approx(truth_s(), rel=0.03)
    assert measurement.details["num_outliers"] == 8
    assert 0 < measurement.details["relative_interval"] < 0.03


def test_a_device_that_tells_the_median_of_all_its_samples_is_believed_on_a_busy_day(devices: list[Device]) -> None:
    devices[0].order(candidate=["two_speeds"] * 9)
    measurement = remote(devices[0]).measure(NETWORK, SHAPE)
    assert measurement.values["latency_s"] == pytest.approx(truth_s(), rel=0.03)
    assert measurement.details["num_outliers"] == 18


def test_when_all_devices_are_gone_the_error_says_so_of_each(devices: list[Device]) -> None:
    for device in devices:
        device.order(candidate=["disconnect"] * 99, reference=["disconnect"] * 99)
    with pytest.raises(DeviceError, match=r"all 3 devices are gone, also after waiting 0.1 s") as caught:
        remote(*devices).measure(NETWORK, SHAPE)
    assert all(f"{device.address}: the connection ended" in str(caught.value) for device in devices)
    assert caught.value.exit_code == 75


def test_measuring_waits_for_a_device_to_come_back(devices: list[Device]) -> None:
    devices[0].order(reference=["disconnect"] * 2)
    measurement = remote(devices[0], wait_s=30.0).measure(NETWORK, SHAPE)
    assert measurement.values["latency_s"] == pytest.approx(truth_s(), rel=0.03)


def test_one_measurement_has_an_end_however_many_devices_fail(devices: list[Device]) -> None:
    def drips(address: str) -> float:
        clock.append(clock[-1] + 30)
        raise DeviceError("too slow")

    clock = [0.0]
    pool = DevicePool(
        [device.address for device in devices],
        time_reference=lambda address: 1.0,
        limits=DriftLimits(),
        wait_s=1000.0,
        total_s=50.0,
        clock=lambda: clock[-1],
        sleep=lambda seconds: clock.append(clock[-1] + seconds),
    )
    with pytest.raises(DeviceError, match=r"no device measured within 50 s.*too slow.*too slow"):
        pool.measured(drips)
    assert clock[-1] == 60


def test_what_two_devices_refuse_is_the_networks_fault(devices: list[Device]) -> None:
    for device in devices:
        device.order(candidate=["refuse"] * 9)
    pool = remote(*devices)
    with pytest.raises(DeviceError, match=r"no kernel for this operator.*no kernel for this operator"):
        pool.measure(NETWORK, SHAPE)
    for device in devices:
        device.order()
    assert pool.measure(NETWORK, SHAPE).details["quarantined"] == {}


def test_a_device_that_refuses_what_another_can_do_is_quarantined(devices: list[Device]) -> None:
    devices[0].order(candidate=["refuse"])
    measurement = remote(*devices[:2]).measure(NETWORK, SHAPE)
    assert "no kernel for this operator" in measurement.details["quarantined"][devices[0].address]
