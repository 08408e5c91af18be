"""Energy from counters: the kernel's real layout of RAPL zones in files, wrap-around, and the share of one run."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from paretune.core.errors import BadInput, DeviceError
from paretune.hardware.measured.energy import NvmlCounter, RaplCounter, first_gpu, measure_energy
from paretune.hardware.measured.host import Host

RANGE_UJ = 262_143_328_850
"""Of a real package zone."""


def make_zone(folder: Path, zone: str, name: str, energy_uj: int) -> Path:
    """A zone as the kernel lays it out: real folders nested below the control type, links to all of them side by side."""
    parts = zone.split(":")
    real = folder / "devices" / "virtual" / "powercap" / parts[0]
    for depth in range(2, len(parts) + 1):
        real = real / ":".join(parts[:depth])
    real.mkdir(parents=True, exist_ok=True)
    (real / "name").write_text(f"{name}\n")
    (real / "energy_uj").write_text(f"{energy_uj}\n")
    (real / "max_energy_range_uj").write_text(f"{RANGE_UJ}\n")
    links = folder / "class" / "powercap"
    links.mkdir(parents=True, exist_ok=True)
    (links / zone).symlink_to(real, target_is_directory=True)
    return real / "energy_uj"


@pytest.fixture
def zones(tmp_path: Path) -> dict[str, Path]:
    """Two sockets, each with cores and DRAM, the platform, and the packages again by memory-mapped registers."""
    listed = {
        "intel-rapl:0": "package-0",
        "intel-rapl:0:0": "core",
        "intel-rapl:0:1": "dram",
        "intel-rapl:1": "package-1",
        "intel-rapl:1:0": "dram",
        "intel-rapl:2": "psys",
        "intel-rapl-mmio:0": "package-0",
    }
    found = {zone: make_zone(tmp_path, zone, name, 1_000_000) for zone, name in listed.items()}
    (tmp_path / "class" / "powercap" / "intel-rapl").symlink_to(tmp_path / "devices" / "virtual" / "powercap" / "intel-rapl")
    return found


def powercap(tmp_path: Path) -> Path:
    return tmp_path / "class" / "powercap"


def test_packages_and_dram_are_added_up_and_nothing_twice(zones: dict[str, Path], tmp_path: Path) -> None:
    counter = RaplCounter(powercap(tmp_path))
    assert counter.source == "RAPL package-0 + dram-0 + package-1 + dram-1"
    assert counter.read_j() == 0
    for number, zone in enumerate(zones):
        zones[zone].write_text(str(1_000_000 + 10**number * 1_000_000))
    # package-0: 1 J, core (inside it): 10, dram: 100, package-1: 1,000, dram: 10,000, psys: 100,000, mmio: 1,000,000.
    assert counter.read_j() == pytest.approx(1 + 100 + 1_000 + 10_000)


def test_a_counter_that_starts_anew_goes_on(tmp_path: Path) -> None:
    file = make_zone(tmp_path, "intel-rapl:0", "package-0", RANGE_UJ - 500_000)
    counter = RaplCounter(powercap(tmp_path))
    file.write_text("1499999")  # 500,000 to the end, one step to 0, 1,499,999 on
    assert counter.read_j() == pytest.approx(2.0)
    file.write_text("2499999")
    assert counter.read_j() == pytest.approx(3.0)
    file.write_text("0")
    assert counter.read_j() == pytest.approx(3.0 + (RANGE_UJ + 1 - 2_499_999) * 1e-6)


def test_what_cannot_be_read_is_refused_with_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="has no power zones"):
        RaplCounter(tmp_path / "nowhere")
    make_zone(tmp_path, "intel-rapl:0", "psys", 0)
    with pytest.raises(BadInput, match="no RAPL package zone"):
        RaplCounter(powercap(tmp_path))
    file = make_zone(tmp_path, "intel-rapl:1", "package-0", 0)
    file.write_text("much")
    with pytest.raises(BadInput, match="cannot be read"):
        RaplCounter(powercap(tmp_path))


def test_a_counter_for_root_alone_says_how_to_open_it(tmp_path: Path) -> None:
    file = make_zone(tmp_path, "intel-rapl:0", "package-0", 0)
    file.chmod(0)
    try:
        file.read_text()
    except PermissionError:
        with pytest.raises(BadInput, match=r"sudo chmod a\+r"):
            RaplCounter(powercap(tmp_path))
    else:
        pytest.skip("this user may read everything")


def test_a_counter_that_goes_away_is_a_device_error(tmp_path: Path) -> None:
    file = make_zone(tmp_path, "intel-rapl:0", "package-0", 0)
    counter = RaplCounter(powercap(tmp_path))
    file.unlink()
    with pytest.raises(DeviceError, match="cannot be read any more"):
        counter.read_j()


class Plant:
    """A simulated machine: 20 W idle; a run takes 10 ms at 50 W, or with a neighbour at 90 W."""

    source = "a plant"

    def __init__(self, watts: Callable[[int], float] = lambda run: 50.0) -> None:
        self.now_ns, self.energy_j, self.runs, self.watts = 0, 0.0, 0, watts

    def run(self) -> None:
        self._pass(10_000_000, self.watts(self.runs))
        self.runs += 1

    def sleep(self, seconds: float) -> None:
        self._pass(round(seconds * 1e9), 20.0)

    def _pass(self, time_ns: int, watts: float) -> None:
        self.now_ns += time_ns
        self.energy_j += watts * time_ns * 1e-9

    def clock(self) -> int:
        return self.now_ns

    def read_j(self) -> float:
        return self.energy_j


def test_energy_of_a_run_is_its_share_of_a_window() -> None:
    plant = Plant()
    energy = measure_energy(plant.run, plant, window_s=0.1, clock=plant.clock, sleep=plant.sleep)
    assert energy.energy_j == pytest.approx(0.5)  # 50 W for 10 ms
    assert (energy.power_w, energy.idle_power_w) == (pytest.approx(50), pytest.approx(20))
    assert (energy.num_windows, energy.num_runs) == (5, 50)
    assert energy.iqr_j == pytest.approx(0, abs=1e-9)


def test_a_neighbour_during_one_window_does_not_count() -> None:
    plant = Plant(lambda run: 90.0 if run < 10 else 50.0)
    energy = measure_energy(plant.run, plant, window_s=0.1, clock=plant.clock, sleep=plant.sleep)
    assert energy.energy_j == pytest.approx(0.5)


def test_a_counter_that_stands_still_is_a_device_error() -> None:
    plant = Plant(lambda run: 0.0)
    with pytest.raises(DeviceError, match="counted nothing in 5 windows"):
        measure_energy(plant.run, plant, window_s=0.1, clock=plant.clock, sleep=plant.sleep)


def problem_of(make: Callable[[], object]) -> str:
    """Why something cannot be made; empty where it can."""
    try:
        make()
    except BadInput as error:
        return str(error)
    return ""


def test_energy_is_refused_where_this_machine_does_not_tell_it() -> None:
    if problem := problem_of(RaplCounter):
        with pytest.raises(BadInput, match=f"energy: {re.escape(problem)}"):
            Host(energy=True)
    else:
        assert [metric.name for metric in Host(energy=True).metrics] == ["latency_s", "energy_j"]


@pytest.mark.parametrize(
    ("cuda_uuid", "visible", "gpu"),
    [
        ("5a1f0c2e-0000-1111-2222-333344445555", "1,0", "GPU-5a1f0c2e-0000-1111-2222-333344445555"),
        (None, "", 0),
        (None, "2,3", 2),
        (None, "GPU-8932f937,0", "GPU-8932f937"),
    ],
)
def test_the_energy_is_that_of_the_gpu_that_this_process_uses(cuda_uuid: str | None, visible: str, gpu: str | int) -> None:
    assert first_gpu(cuda_uuid=cuda_uuid, visible=visible) == gpu


def test_energy_of_a_gpu_without_nvml_says_what_is_missing() -> None:
    problem = problem_of(NvmlCounter)
    assert not problem or "pynvml" in problem or "NVML" in problem
