"""Ray's own AWS provider makes and ends the machines of our cluster file, against moto's EC2 in a process of its own."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from paretune.platform.execution.cluster import ENVIRONMENT

pytest.importorskip("moto", reason="moto plays EC2; it comes with the test extra")
ROOT = Path(__file__).parents[2]

PROGRAM = """
import json, os, sys
import boto3, yaml
from moto import mock_aws
from ray.autoscaler._private.util import prepare_config, validate_config
from ray.autoscaler.tags import TAG_RAY_NODE_KIND, TAG_RAY_NODE_NAME, TAG_RAY_NODE_STATUS, TAG_RAY_USER_NODE_TYPE

told = {}
with mock_aws():
    from ray.autoscaler._private.aws.config import bootstrap_aws
    from ray.autoscaler._private.aws.node_provider import AWSNodeProvider
    config = yaml.safe_load(open(sys.argv[1]))
    region = config["provider"]["region"]
    ec2 = boto3.client("ec2", region_name=region)
    image = ec2.describe_images(Owners=["amazon"])["Images"][0]["ImageId"]
    for item in config["available_node_types"].values():
        item["node_config"]["ImageId"] = image
    config = prepare_config(config)
    validate_config(config)
    config = bootstrap_aws(config)
    told["resources"] = {name: item["resources"] for name, item in config["available_node_types"].items()}
    group = config["available_node_types"]["cpu"]["node_config"]["SecurityGroupIds"]
    rules = ec2.describe_security_groups(GroupIds=group)["SecurityGroups"][0]["IpPermissions"]
    world = [rule for rule in rules for item in rule["IpRanges"] if item["CidrIp"] == "0.0.0.0/0"]
    told["open"] = [[rule.get("FromPort"), rule.get("ToPort")] for rule in world]
    provider = AWSNodeProvider(config["provider"], config["cluster_name"])
    for name, item in config["available_node_types"].items():
        kind = "head" if name == config["head_node_type"] else "worker"
        tags = {TAG_RAY_NODE_KIND: kind, TAG_RAY_USER_NODE_TYPE: name, TAG_RAY_NODE_NAME: name, TAG_RAY_NODE_STATUS: "uninitialized"}
        provider.create_node(item["node_config"], tags, 1)
    told["made"] = {}
    for reservation in ec2.describe_instances()["Reservations"]:
        for machine in reservation["Instances"]:
            tags = {tag["Key"]: tag["Value"] for tag in machine["Tags"]}
            market = machine.get("InstanceLifecycle", "on demand")
            told["made"][tags[TAG_RAY_USER_NODE_TYPE]] = [machine["InstanceType"], market, tags["ray-cluster-name"]]
    provider.terminate_nodes(provider.non_terminated_nodes({}))
    told["left"] = provider.non_terminated_nodes({})
print("TOLD " + json.dumps(told))
"""


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What Amazon's stand-in saw."""
    folder = tmp_path_factory.mktemp("aws")
    (folder / ".ssh").mkdir()
    environment = {
        **ENVIRONMENT,
        "PATH": str(Path(sys.executable).parent),
        "HOME": str(folder),
        "MOTO_IAM_LOAD_MANAGED_POLICIES": "true",
        "MOTO_EC2_LOAD_DEFAULT_AMIS": "true",
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": "us-west-2",
    }
    command = [sys.executable, "-c", PROGRAM, str(ROOT / "cluster.yaml")]
    ended = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, timeout=200, check=False)
    lines = [line for line in ended.stdout.splitlines() if line.startswith("TOLD ")]
    assert lines, ended.stdout[-2000:] + ended.stderr[-2000:]
    found: dict[str, Any] = json.loads(lines[0].removeprefix("TOLD "))
    return found


def test_every_type_becomes_its_machine_the_spot_ones_on_the_spot_market(told: dict[str, Any]) -> None:
    assert told["made"] == {
        "head": ["m6i.xlarge", "on demand", "paretune"],
        "cpu": ["c6i.4xlarge", "on demand", "paretune"],
        "gpu": ["g5.2xlarge", "spot", "paretune"],
        "analog": ["c6i.4xlarge", "spot", "paretune"],
    }


def test_tags_of_the_file_are_kept_beside_what_ray_finds_of_the_machine(told: dict[str, Any]) -> None:
    assert told["resources"]["analog"]["analog"] == 4
    assert told["resources"]["head"]["CPU"] == 0
    assert told["resources"]["gpu"]["GPU"] == 1


def test_nothing_but_ssh_is_open_to_the_world(told: dict[str, Any]) -> None:
    assert told["open"] == [[22, 22]]


def test_every_machine_is_ended(told: dict[str, Any]) -> None:
    assert told["left"] == []
