"""The nodes of a real cluster before the first trial: other versions, storage that one does not see, clocks that disagree."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from paretune.core.errors import BadInput
from paretune.platform.execution.nodes import CODE, NodeFacts, refuse_differences, version_table

SAME = {"paretune": "0.1.0", CODE: "abc", "python": "3.11.7", "torch": "2.12.1", "ray": "2.60.0", "numpy": "2.4.6"}


def node(address: str, *, clock_s: float = 0.0, sees: bool = True, **versions: str) -> NodeFacts:
    return NodeFacts(address=address, resources={"CPU": 1.0}, versions={**SAME, **versions}, clock_s=clock_s, sees_storage=sees)


def refused(*nodes: NodeFacts, submitter: dict[str, str] | None = None) -> str:
    with pytest.raises(BadInput) as caught:
        refuse_differences(nodes, submitter=submitter or {}, folder=Path("/shared/runs/x"))
    return str(caught.value)


def test_equal_nodes_pass_whatever_build_of_torch_or_patch_of_python() -> None:
    refuse_differences([node("a"), node("b", python="3.11.9")], submitter=SAME, folder=Path("/shared/runs/x"))


def test_another_version_is_refused_with_a_table_of_what_differs() -> None:
    told = refused(node("10.0.0.1"), node("10.0.0.2", torch="2.10.0"), node("10.0.0.3"))
    table = [line.split() for line in told.splitlines()[1:-1]]
    assert table == [["torch"], ["10.0.0.1", "(driver)", "2.12.1"], ["10.0.0.2", "2.10.0"], ["10.0.0.3", "2.12.1"]]
    assert "numpy" not in told
    assert "constraints.txt" in told


def test_all_differences_are_told_at_once() -> None:
    told = refused(node("a"), node("b", python="3.12.1", clock_s=-40.0), node("c", sees=False))
    assert "3.12.1" in told
    assert "is not seen on c" in told
    assert "clocks disagree by more than 5 s with the driver's: b by -40.0 s" in told


def test_only_the_paretune_of_the_submitter_must_be_the_same() -> None:
    refuse_differences([node("a")], submitter={**SAME, "torch": "2.10.0", "python": "3.13.1"}, folder=None)
    told = refused(node("a"), submitter={**SAME, "paretune": "0.0.9", CODE: "fff"})
    assert "submitted from" in told
    assert "paretune submit --ship-code" in told


def test_table_has_a_row_for_each_node_and_a_column_for_each_name() -> None:
    table = version_table({"a (driver)": {"torch": "2.12.1"}, "b": {"torch": "2.9"}}, ["torch", "ray"])
    assert table.splitlines() == ["              torch   ray", "  a (driver)  2.12.1  unknown", "  b           2.9     unknown"]


@pytest.fixture(scope="module")
def odd_cluster(head: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The head, and a node on which another torch is found."""
    site = tmp_path_factory.mktemp("site")
    (site / "torch-2.9.0.dist-info").mkdir()
    (site / "torch-2.9.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: torch\nVersion: 2.9.0\n")
    changed = {"PYTHONPATH": f"{site}{os.pathsep}{head.environment()['PYTHONPATH']}"}
    head.start_node("--num-cpus=1", '--resources={"odd":1}', **changed)
    yield head
    head.end_nodes()


@pytest.mark.ray
def test_a_node_with_another_torch_keeps_a_study_from_starting(odd_cluster: Any) -> None:
    done = odd_cluster.paretune("cluster", "status", "--address", odd_cluster.gcs, RAY_AUTH_MODE="token")
    assert done.returncode == 2, done.stdout + done.stderr
    assert "odd 1" in done.stdout
    lines = [line.split() for line in done.stderr.splitlines()]
    assert ["torch"] in lines
    assert any(line[-1:] == ["2.9.0"] for line in lines)


@pytest.mark.ray
def test_a_storage_that_a_node_does_not_see_is_told(head: Any) -> None:
    """Nodes on one machine see the same files, so what they look for is one that is not there."""
    program = """
import sys
import ray
from pathlib import Path
from paretune.platform.execution.nodes import ask_nodes
ray.init(address=sys.argv[1], log_to_driver=False)
print("SEES", *[all(node.sees_storage for node in ask_nodes(Path(mark))) for mark in ("/nonexistent/mark", "/")])
"""
    command = [sys.executable, "-W", "ignore", "-c", program, head.gcs]
    environment = head.environment(RAY_AUTH_MODE="token")
    ended = subprocess.run(command, env=environment, cwd=head.folder, capture_output=True, text=True, timeout=100, check=False)
    assert "SEES False True" in ended.stdout, ended.stderr[-1500:]
