"""Cluster files: the shipped ones are in order, planted mistakes are told at their line, all at once."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from paretune.core.errors import SpecError
from paretune.platform.clusters.load import load_cluster
from paretune.platform.execution.cluster import prepare_environment

prepare_environment()
ROOT = Path(__file__).parents[2]
SHIPPED = ("cluster.yaml", "deploy/gcp.yaml", "deploy/azure.yaml", "deploy/on-premises.yaml")
Change = Callable[[dict[str, Any]], object]
Planted = Callable[[Change], Path]


def types(values: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = values["available_node_types"]
    return found


def ours(values: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = values["metadata"]["paretune"]
    return found


@pytest.mark.parametrize("file", SHIPPED)
def test_shipped_file_is_in_order_and_offers_the_same_types(file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    cluster = load_cluster(file).cluster
    assert {item.name for item in cluster.node_types} == {"head", "cpu", "gpu", "analog", "edge"}
    offered = {item.name: dict(item.resources) for item in cluster.workers}
    assert offered == {
        "cpu": {"CPU": 16},
        "gpu": {"CPU": 8, "GPU": 1},
        "analog": {"CPU": 16, "analog": 4},
        "edge": {"CPU": 0, "edge_pi4": 1},
    }
    assert cluster.storage == "/shared/runs"


@pytest.mark.parametrize("file", SHIPPED)
def test_what_a_shipped_file_leaves_to_the_user_is_named_and_keeps_it_from_starting(file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    text = (ROOT / file).read_text()
    told = "\n".join(load_cluster(file).blockers)
    for example in ("ami-0", "fs-0", "CHANGE-ME-", "192.0.2.1"):
        assert (example in text.partition("cluster_name:")[2]) == (example in told)


OPEN = {"FromPort": 8265, "ToPort": 8265, "IpProtocol": "tcp", "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}
MISTAKES: dict[str, tuple[Change, str, str]] = {
    # what Ray's schema refuses
    "unknown field": (lambda v: v.update(idle_timeout_minuts=5), "idle_timeout_minuts", "Did you mean 'idle_timeout_minutes'?"),
    "text for a number": (
        lambda v: v.update(idle_timeout_minutes="5"),
        "idle_timeout_minutes",
        "expected a number, got text '5'. Remove the quotes",
    ),
    "tag as text": (
        lambda v: types(v)["analog"]["resources"].update(analog="4"),
        "available_node_types.analog.resources.analog",
        "a whole number",
    ),
    "node type without resources": (lambda v: types(v)["cpu"].pop("resources"), "available_node_types.cpu.resources", "is missing"),
    "unknown field of a node type": (
        lambda v: types(v)["gpu"].update(max_worker=3),
        "available_node_types.gpu.max_worker",
        "Did you mean 'max_workers'?",
    ),
    # what Ray accepts although it is wrong
    "no name": (lambda v: v.pop("cluster_name"), "cluster_name", "is missing"),
    "negative": (lambda v: types(v)["gpu"].update(max_workers=-1), "available_node_types.gpu.max_workers", "at least 0"),
    "min above max": (
        lambda v: types(v)["cpu"].update(min_workers=9),
        "available_node_types.cpu.min_workers",
        "9 machines at least, but max_workers is 8",
    ),
    "sum of min": (
        lambda v: v.update(max_workers=7) or [item.update(min_workers=4, max_workers=4) for item in types(v).values()],
        "max_workers",
        "are 16",
    ),
    "more than all": (
        lambda v: types(v)["cpu"].update(max_workers=99),
        "available_node_types.cpu.max_workers",
        "of the whole cluster is 24",
    ),
    "head of no type": (lambda v: v.update(head_node_type="heat"), "head_node_type", "Did you mean 'head'?"),
    "no CPU": (lambda v: types(v)["cpu"].update(resources={}), "available_node_types.cpu.resources", "CPU is missing"),
    # what is not safe
    "no token": (
        lambda v: v.update(worker_start_ray_commands=["ray stop", "ray start --address=$RAY_HEAD_IP:6379"]),
        "worker_start_ray_commands[1]",
        "without token authentication",
    ),
    "Ray's own commands": (lambda v: v.pop("head_start_ray_commands"), "head_start_ray_commands", "would start without a token"),
    "open dashboard": (
        lambda v: v.update(head_start_ray_commands=["RAY_AUTH_MODE=token ray start --head --dashboard-host 0.0.0.0"]),
        "head_start_ray_commands[0]",
        "opens the dashboard and job server on 0.0.0.0",
    ),
    "open port": (
        lambda v: v["provider"]["security_group"].update(IpPermissions=[OPEN]),
        "provider.security_group.IpPermissions[0]",
        "opens ports 8265 to 8265 to the whole world",
    ),
    # what Amazon refuses
    "field of AWS": (
        lambda v: types(v)["gpu"]["node_config"].update(InstanceMarketOptions={"MarketTyp": "spot"}),
        "available_node_types.gpu.node_config.InstanceMarketOptions.MarketTyp",
        "Did you mean 'MarketType'?",
    ),
    "market": (
        lambda v: types(v)["gpu"]["node_config"].update(InstanceMarketOptions={"MarketType": "spott"}),
        "available_node_types.gpu.node_config.InstanceMarketOptions.MarketType",
        "Did you mean 'spot'?",
    ),
    "machine": (
        lambda v: types(v)["gpu"]["node_config"].update(InstanceType="g5.2xlarg"),
        "available_node_types.gpu.node_config.InstanceType",
        "Did you mean 'g5.2xlarge'?",
    ),
    "type of a value": (
        lambda v: types(v)["cpu"]["node_config"].update(ImageId=7),
        "available_node_types.cpu.node_config.ImageId",
        "AWS expects str, got 7",
    ),
    # our section
    "unknown field of ours": (lambda v: ours(v).update(storge="/x"), "metadata.paretune.storge", "Did you mean 'storage'?"),
    "price of nothing": (
        lambda v: ours(v)["prices"]["per_hour"].update(gpus=1.0),
        "metadata.paretune.prices.per_hour.gpus",
        "Did you mean 'gpu'?",
    ),
    "negative price": (
        lambda v: ours(v)["prices"]["per_hour"].update(gpu=-1.0),
        "metadata.paretune.prices.per_hour.gpu",
        "greater than or equal to 0",
    ),
    "relative storage": (lambda v: ours(v).update(storage="runs"), "metadata.paretune.storage", "is relative"),
    "no hosts": (
        lambda v: ours(v)["static_hosts"]["edge"].update(hosts=[]),
        "metadata.paretune.static_hosts.edge.hosts",
        "at least 1 item",
    ),
    "name given twice": (
        lambda v: ours(v)["static_hosts"].update(cpu=ours(v)["static_hosts"]["edge"]),
        "metadata.paretune.static_hosts.cpu",
        "another name",
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_planted_mistake_is_the_one_that_is_told(name: str, planted: Planted) -> None:
    change, field, words = MISTAKES[name]
    path = planted(change)
    with pytest.raises(SpecError) as caught:
        load_cluster(path)
    (problem,) = [item for item in caught.value.problems if item.path == field]
    assert words in problem.message
    assert len(caught.value.problems) == 1
    assert problem.line
    line = path.read_text().splitlines()[problem.line - 1]
    last = field.rpartition(".")[2]
    assert last in line or line.strip().startswith("- ") or problem.message.startswith("is missing") or "token" in problem.message


def test_all_mistakes_come_at_once_sorted_by_line(planted: Planted) -> None:
    def everything(values: dict[str, Any]) -> None:
        values["upscaling_sped"] = 1
        types(values)["cpu"]["min_workers"] = 9
        types(values)["gpu"]["node_config"]["InstanceType"] = "g5.huge"
        ours(values)["prices"]["per_hour"]["tpu"] = 1.0

    with pytest.raises(SpecError) as caught:
        load_cluster(planted(everything))
    lines = [item.line for item in caught.value.problems]
    assert len(lines) == 4
    assert lines == sorted(lines)


def test_hosts_on_premises_are_each_described_and_each_started(tmp_path: Path) -> None:
    values = yaml.safe_load((ROOT / "deploy" / "on-premises.yaml").read_text())
    values["provider"]["worker_ips"].remove("192.0.2.31")
    values["provider"]["worker_ips"].append("192.0.2.99")
    path = tmp_path / "cluster.yaml"
    path.write_text(yaml.safe_dump(values))
    with pytest.raises(SpecError) as caught:
        load_cluster(path)
    told = str(caught.value)
    assert "192.0.2.99 stands in no list of metadata.paretune.static_hosts" in told
    assert "192.0.2.31 is not among provider.worker_ips" in told


@pytest.mark.parametrize(
    "text", ["", "a: [", "- 1\n- 2\n", "cluster_name: x\ncluster_name: y\n", "a: &x [*x]\n", "provider: 3\ncluster_name: x\n"]
)
def test_what_is_no_cluster_file_is_refused_with_a_place(text: str, tmp_path: Path) -> None:
    path = tmp_path / "broken.yaml"
    path.write_text(text)
    with pytest.raises(SpecError):
        load_cluster(path)


def test_validate_prints_problems_as_file_line_column(planted: Planted, paretune: Callable[..., Any]) -> None:
    path = planted(lambda values: types(values)["cpu"].update(min_workers=9))
    done = paretune("cluster", "validate", path)
    assert done.exit_code == 2
    assert done.stderr.startswith(f"{path}:")
    told = json.loads(paretune("cluster", "validate", path, "--json").stdout)
    assert (told["ok"], told["problems"][0]["path"]) == (False, "available_node_types.cpu.min_workers")


def test_a_cluster_with_example_values_does_not_start(paretune: Callable[..., Any]) -> None:
    done = paretune("cluster", "up", "cluster.yaml", "--yes")
    assert done.exit_code == 2
    assert "cannot start yet" in done.stderr
    assert "ami-0123456789abcdef0 is the example's" in done.stderr


def test_a_static_host_starts_ray_with_what_the_file_says_of_it(paretune: Callable[..., Any]) -> None:
    words = ("cluster", "host-options", "deploy/on-premises.yaml", "--host")
    assert paretune(*words, "192.0.2.41").stdout == '--num-cpus=16 --resources={"analog":4}\n'
    assert paretune(*words, "192.0.2.31").stdout == "--num-cpus=8 --num-gpus=1\n"
    unknown = paretune(*words, "192.0.2.77")
    assert (unknown.exit_code, unknown.stdout) == (2, "")  # else it would offer all that Ray finds
    assert "does not describe 192.0.2.77" in unknown.stderr


def test_a_file_and_an_address_are_two_ways_to_ask_for_the_status_and_not_both_are_taken(paretune: Callable[..., Any]) -> None:
    done = paretune("cluster", "status", "deploy/on-premises.yaml", "--address", "127.0.0.1:6379")
    assert done.exit_code == 2
    assert "not both" in done.stderr
