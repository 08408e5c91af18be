"""Ray's own autoscalers, both of them, on the node types of our cluster file: none, the right ones for what waits, none again.

And nodes that do not fit to the driver's are not started again and again.
"""

import json
import secrets
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
pytestmark = [pytest.mark.ray, pytest.mark.timeout(1800)]

HEAD_ID = "f" * 51 + "00000"
HEAD_TYPE = "ray.head.default"
"""So the stand-in calls its head, whatever the file says."""
PROVIDER = '''
"""Starts raylets on this machine as if they were machines; the class as it is, since Ray's own type needs a file that its wheel lacks."""
from ray.autoscaler._private.fake_multi_node.node_provider import FakeMultiNodeProvider


class Provider(FakeMultiNodeProvider):
    pass
'''
ODD_PROVIDER = f"""{PROVIDER}
import os
os.environ["PYTHONPATH"] = os.environ["ODD_PACKAGES"] + os.pathsep + os.environ["PYTHONPATH"]  # of the nodes, which it starts
"""
DRIVER = """
import json, os, subprocess, sys, threading, time
import ray
ray.init(address=sys.argv[1], log_to_driver=False, logging_level="ERROR")
seen, start_s, ended = [], time.monotonic(), threading.Event()

def kinds():
    types = json.loads(sys.argv[3])
    found = []
    for node in ray.nodes():
        if node["Alive"]:
            has = {name: amount for name, amount in node["Resources"].items() if name in ("CPU", "GPU", "analog")}
            found += [name for name, offered in types.items() if has == offered]
    return sorted(found)

def watch():
    while not ended.wait(0.3):
        now = kinds()
        if not seen or seen[-1] != now:
            seen.append(now)

threading.Thread(target=watch, daemon=True).start()
time.sleep(1)
command = [sys.executable, "-m", "paretune", *json.loads(sys.argv[2]), "--address", sys.argv[1]]
study = subprocess.run(command, capture_output=True, text=True)
seen.append("study " + str(study.returncode))
ray.get(ray.remote(num_cpus=0, resources={"analog": 1})(lambda: 1).remote(), timeout=600)
seen.append("analog")
end_s = time.monotonic() + 600
while kinds() and time.monotonic() < end_s:
    time.sleep(0.5)
time.sleep(1)
ended.set()
print("SEEN " + json.dumps({"seen": seen, "said": study.stdout[-500:] + study.stderr[-1500:]}))
"""
ODD_DRIVER = """
import json, subprocess, sys, threading, time
import ray
ray.init(address=sys.argv[1], log_to_driver=False, logging_level="ERROR")
here, seen, left, ended = ray.get_runtime_context().get_node_id(), [], [True], threading.Event()

def watch():
    while not ended.wait(0.3):
        alive = [node["NodeID"] for node in ray.nodes() if node["Alive"] and node["NodeID"] != here]
        seen.extend(node for node in alive if node not in seen)
        left[0] = not alive

threading.Thread(target=watch, daemon=True).start()
command = [sys.executable, "-m", "paretune", *json.loads(sys.argv[2]), "--address", sys.argv[1]]
study = subprocess.run(command, capture_output=True, text=True)
at_end, end_s = len(seen), time.monotonic() + 600
while not left[0] and time.monotonic() < end_s:
    time.sleep(0.5)
time.sleep(10)  # longer than the autoscaler takes to see what waits
ended.set()
print("SEEN " + json.dumps({"code": study.returncode, "said": study.stderr, "at_end": at_end, "nodes": len(seen), "left": left[0]}))
"""


def autoscaling(path: Path, gcs: str) -> dict[str, Any]:
    """Our AWS file with another provider and a shorter idle timeout; its node types. The rest a started head must have."""
    shipped = yaml.safe_load((ROOT / "cluster.yaml").read_text())
    types = {}
    for shipped_name, item in shipped["available_node_types"].items():
        name = HEAD_TYPE if shipped_name == shipped["head_node_type"] else shipped_name
        resources = {**item["resources"], "object_store_memory": 80_000_000}
        types[name] = {"resources": resources, "node_config": {}, **{field: item[field] for field in ("min_workers", "max_workers")}}
    lists = ("head_setup_commands", "worker_setup_commands", "setup_commands", "initialization_commands", "cluster_synced_files")
    more = ("rsync_exclude", "rsync_filter", "head_start_ray_commands", "worker_start_ray_commands")
    made = {
        "cluster_name": shipped["cluster_name"],
        "max_workers": shipped["max_workers"],
        "upscaling_speed": shipped["upscaling_speed"],
        "idle_timeout_minutes": 0.1,
        "provider": {
            "type": "external",
            "module": "standin.Provider",
            "use_node_id_as_ip": True,
            "gcs_address": gcs,
            "head_node_id": HEAD_ID,
            "launch_multiple": True,
        },
        "available_node_types": types,
        "head_node_type": HEAD_TYPE,
        "auth": {},
        "file_mounts": {},
        "file_mounts_sync_continuously": False,
        **{name: [] for name in (*lists, *more)},
    }
    path.write_text(yaml.safe_dump(made))
    return shipped["available_node_types"]  # type: ignore[no-any-return]


def start_autoscaling(head: Any, *, version: str, provider: str, **more: str) -> dict[str, Any]:
    """Start a head without processors and its autoscaler; the node types that it may start."""
    (head.folder / "standin.py").write_text(provider)
    types = autoscaling(head.folder / "autoscaling.yaml", head.gcs)
    changes = {
        "RAY_FAKE_CLUSTER": "1",
        "RAY_OVERRIDE_NODE_ID_FOR_TESTING": HEAD_ID,
        "RAY_CLOUD_INSTANCE_ID": HEAD_ID if version == "2" else None,
        "RAY_enable_autoscaler_v2": "1" if version == "2" else "0",
        "AUTOSCALER_UPDATE_INTERVAL_S": "1",
        "PYTHONPATH": f"{head.folder}:{ROOT}",
        **more,
    }
    head.start("--num-cpus=0", "--include-dashboard=false", f"--autoscaling-config={head.folder / 'autoscaling.yaml'}", **changes)
    return types


def watched(head: Any, driver: str, *words: str) -> dict[str, Any]:
    """What a program saw that ran a study."""
    environment = head.environment(RAY_AUTH_MODE="token", PYTHONPATH=str(ROOT))
    command = [sys.executable, "-c", driver, head.gcs, *words]
    ended = subprocess.run(command, cwd=head.folder, env=environment, capture_output=True, text=True, timeout=1500, check=False)
    head.end()
    lines = [line for line in ended.stdout.splitlines() if line.startswith("SEEN ")]
    assert lines, ended.stdout[-1500:] + ended.stderr[-1500:]
    return json.loads(lines[0].removeprefix("SEEN "))  # type: ignore[no-any-return]


@pytest.fixture(scope="module", params=["1", "2"], ids=["v1", "v2"])  # cloud providers use the second; `local` works with the first only
def seen(request: pytest.FixtureRequest, ray_of_its_own: Any, small_study: Any) -> dict[str, Any]:
    """What nodes were there, one after another, while a study ran and then something analog."""
    head = ray_of_its_own(f"pa-{secrets.token_hex(3)}")
    types = start_autoscaling(head, version=request.param, provider=PROVIDER)
    offered = {name: {tag: float(amount) for tag, amount in item["resources"].items()} for name, item in types.items() if name != "head"}
    spec = small_study(head, "scaled", 6)
    return watched(head, DRIVER, json.dumps(["run", spec, "--quiet"]), json.dumps(offered))


def test_nodes_come_for_what_waits_and_go_when_nothing_does(seen: dict[str, Any]) -> None:
    order = seen["seen"]
    assert "study 0" in order, seen["said"]
    assert order[0] == []
    before, after = order[: order.index("study 0")], order[order.index("study 0") + 1 :]
    assert ["cpu"] in before  # one candidate at a time: one machine, and of the type without tags
    assert all(item in ([], ["cpu"]) for item in before)
    assert any("analog" in item for item in after if isinstance(item, list))
    assert not any("gpu" in item for item in order)
    assert after[-1] == []


def test_an_autoscaler_whose_nodes_do_not_fit_is_not_asked_for_ever(ray_of_its_own: Any, small_study: Any, tmp_path: Path) -> None:
    """The second one, which knows labels; the first takes the node that the study avoids for room, and starts no other."""
    (tmp_path / "torch-2.9.0.dist-info").mkdir()
    (tmp_path / "torch-2.9.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: torch\nVersion: 2.9.0\n")
    head = ray_of_its_own(f"po-{secrets.token_hex(3)}")
    start_autoscaling(head, version="2", provider=ODD_PROVIDER, ODD_PACKAGES=str(tmp_path))
    spec = head.folder / small_study(head, "odd", 6)
    spec.write_text(spec.read_text().replace("{workers: 1}", "{workers: 2, device_wait: 2s}"))
    found = watched(head, ODD_DRIVER, json.dumps(["run", spec.name]))
    assert found["code"] == 75, found["said"]
    assert found["said"].count("joined and does not fit") >= 3
    assert "3 nodes in a row do not fit: the study asks for no more nodes than there are" in found["said"]
    assert "no node that is left can train (1 CPU on one node)" in found["said"]
    assert found["nodes"] <= found["at_end"] + 2  # who was on the way; how many came before depends on the machine's speed
    assert found["left"]
