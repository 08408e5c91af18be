"""A real cluster for the tests of a module, and drivers on it."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from small_cluster import Driver, SmallCluster, small_cluster


@pytest.fixture(scope="module")
def shared() -> Iterator[SmallCluster]:
    """One cluster for all tests: nodes take seconds to start."""
    with small_cluster() as made:
        yield made


@pytest.fixture
def cluster(shared: SmallCluster) -> SmallCluster:
    """A head without processors, one node that trains, one with the device, whatever the test before did to them."""
    nodes = {"training": {"cpus": 1}, "edge": {"tags": {"edge_pi4": 1}}}
    for name in [name for name in shared.nodes if name not in (*nodes, "head") or name in shared.drained]:
        shared.kill(name)
    for name, kind in nodes.items():
        if name not in shared.nodes:
            shared.add(name, **kind)  # type: ignore[arg-type]
    return shared


@pytest.fixture
def start(tmp_path: Path) -> Iterator[object]:
    """Starts drivers that do not outlive the test."""
    drivers = []

    def begin(folder: str, address: str | None, *arguments: str) -> Driver:
        drivers.append(Driver(tmp_path / folder, address, *arguments))
        return drivers[-1]

    yield begin
    for driver in drivers:
        driver.close()
