"""What Ray accepts in a cluster file although it does not work, is not safe or costs money for nothing."""

import re
import shlex
from collections.abc import Iterator, Mapping
from typing import Any

from paretune.platform.clusters.findings import Finding
from paretune.platform.clusters.section import WAY, ParetuneSection
from paretune.platform.spec.nodes import Loc
from paretune.platform.spec.suggest import did_you_mean

TOKEN_MODE = "RAY_AUTH_MODE=token"  # noqa: S105 - a setting, no secret
LOOPBACK = ("127.0.0.1", "localhost", "::1")
SSH_PORT = 22
EXAMPLES = (
    re.compile(r"\b(?:ami|fs|subnet|sg|vpc)-0?(?:123456789abcdef0|fedcba9876543210)\b"),
    re.compile(r"\bCHANGE-ME[\w.-]*"),
    re.compile(r"\b(?:192\.0\.2|198\.51\.100|203\.0\.113)\.\d+\b"),  # RFC 5737: addresses for documentation
)


def own_findings(values: Mapping[str, Any], section: ParetuneSection) -> list[Finding]:
    """Our own findings on a file of any provider."""
    return [
        *_missing_name(values),
        *_worker_counts(values),
        *_start_commands(values),
        *_security_group(values),
        *_names(values, section),
        *_on_premises(values, section),
    ]


def example_values(values: object, loc: Loc = ()) -> Iterator[tuple[Loc, str]]:
    """Fields that still hold what the shipped files have for you to replace: (field, value)."""
    if isinstance(values, Mapping):
        for name, value in values.items():
            yield from example_values(value, (*loc, str(name)))
    elif isinstance(values, list | tuple):
        for index, value in enumerate(values):
            yield from example_values(value, (*loc, index))
    elif isinstance(values, str):
        for pattern in EXAMPLES:
            if found := pattern.search(values):
                yield loc, found[0]
                return


def _missing_name(values: Mapping[str, Any]) -> Iterator[Finding]:
    if "cluster_name" not in values:  # Ray's defaults have one: two people's clusters would be one
        yield Finding(loc=("cluster_name",), message="is missing; Ray would call it 'default', like everybody else's")


def _types(values: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    types = values.get("available_node_types")
    return {str(name): item for name, item in types.items() if isinstance(item, Mapping)} if isinstance(types, Mapping) else {}


def _whole(value: object, default: int) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else default


def _worker_counts(values: Mapping[str, Any]) -> Iterator[Finding]:
    types, head = _types(values), values.get("head_node_type")
    if types and isinstance(head, str) and head not in types:
        yield Finding(
            loc=("head_node_type",), message=f"no node type '{head}'.{did_you_mean(head, types, synonyms={})} ({', '.join(types)})"
        )
    total = _whole(values.get("max_workers"), -1)
    if total < 0 and "max_workers" in values and isinstance(values["max_workers"], int):
        yield Finding(loc=("max_workers",), message=f"must be at least 0 (got {total})")
    sum_of_least = 0
    for name, item in types.items():
        if isinstance(item.get("resources"), Mapping) and "CPU" not in item["resources"]:
            message = "CPU is missing; without it nobody can tell before the start whether a study fits"
            yield Finding(loc=("available_node_types", name, "resources"), message=message)
        loc: Loc = ("available_node_types", name)
        least, most = _whole(item.get("min_workers"), 0), _whole(item.get("max_workers"), max(total, 0))
        if least < 0 or most < 0:
            field = "min_workers" if least < 0 else "max_workers"
            yield Finding(loc=(*loc, field), message=f"must be at least 0 (got {min(least, most)})")
        elif least > most:
            yield Finding(loc=(*loc, "min_workers"), message=f"{least} machines at least, but max_workers is {most}")
        elif 0 <= total < most and "max_workers" in item:
            yield Finding(
                loc=(*loc, "max_workers"), message=f"{most} machines of this type, but max_workers of the whole cluster is {total}"
            )
        sum_of_least += max(least, 0)
    if 0 <= total < sum_of_least:
        yield Finding(
            loc=("max_workers",), message=f"{total} machines at most, but the min_workers of all types together are {sum_of_least}"
        )


def _start_commands(values: Mapping[str, Any]) -> Iterator[Finding]:
    for field in ("head_start_ray_commands", "worker_start_ray_commands"):
        commands = values.get(field)
        if not isinstance(commands, list):
            message = f"is missing; Ray's own would start without a token. Example: {TOKEN_MODE} ray start ..."
            yield Finding(loc=(field,), message=message)
            continue
        starts = [(index, text) for index, text in enumerate(commands) if isinstance(text, str) and re.search(r"\bray start\b", text)]
        if not starts:
            yield Finding(loc=(field,), message="holds no 'ray start'")
        for index, text in starts:
            if TOKEN_MODE not in text:
                message = "starts Ray without token authentication: whoever reaches the port runs code there"
                yield Finding(loc=(field, index), message=f"{message}. Write {TOKEN_MODE} before 'ray start'")
            yield from _dashboard(text, (field, index))


def _dashboard(command: str, loc: Loc) -> Iterator[Finding]:
    try:
        words = shlex.split(command)
    except ValueError as error:
        yield Finding(loc=loc, message=f"is no shell command: {error}")
        return
    for position, word in enumerate(words):
        option, _, value = word.partition("=")
        host = value or (words[position + 1] if position + 1 < len(words) else "")
        if option == "--dashboard-host" and host not in LOOPBACK:
            yield Finding(
                loc=loc,
                message=f"opens the dashboard and job server on {host}. Write --dashboard-host=127.0.0.1 and tunnel: ray dashboard FILE",
            )


def _security_group(values: Mapping[str, Any]) -> Iterator[Finding]:
    provider = values.get("provider")
    group = provider.get("security_group") if isinstance(provider, Mapping) else None
    rules = group.get("IpPermissions") if isinstance(group, Mapping) else None
    for index, rule in enumerate(rules if isinstance(rules, list) else []):
        if not isinstance(rule, Mapping):
            continue
        world = [item.get("CidrIp", item.get("CidrIpv6")) for name in ("IpRanges", "Ipv6Ranges") for item in rule.get(name, [])]
        if {"0.0.0.0/0", "::/0"} & set(world) and (rule.get("FromPort"), rule.get("ToPort")) != (SSH_PORT, SSH_PORT):
            ports = f"{rule.get('FromPort', 'all')} to {rule.get('ToPort', 'all')}"
            loc: Loc = ("provider", "security_group", "IpPermissions", index)
            yield Finding(
                loc=loc, message=f"opens ports {ports} to the whole world; only SSH ({SSH_PORT}) may be. Tunnel instead: ray dashboard FILE"
            )


def _names(values: Mapping[str, Any], section: ParetuneSection) -> Iterator[Finding]:
    """Prices and static hosts against node types."""
    types = _types(values)
    known = [*types, *section.static_hosts, *([] if types else ["head"])]
    for name in section.prices.per_hour:
        if name not in known:
            message = f"there is no such node type.{did_you_mean(name, known, synonyms={})} ({', '.join(known)})"
            yield Finding(loc=(*WAY, "prices", "per_hour", name), message=message, at_key=True)
    for name, hosts in section.static_hosts.items():
        if "CPU" not in hosts.resources:
            message = "CPU is missing; write how many processors train candidates there, 0 for a board that only measures"
            yield Finding(loc=(*WAY, "static_hosts", name, "resources"), message=message)
        if name in types:
            yield Finding(loc=(*WAY, "static_hosts", name), message="is also among available_node_types; give it another name", at_key=True)
    if section.storage and not section.storage.startswith("/"):
        yield Finding(
            loc=(*WAY, "storage"), message=f"'{section.storage}' is relative; write the folder as every node sees it, such as /shared/runs"
        )


def _on_premises(values: Mapping[str, Any], section: ParetuneSection) -> Iterator[Finding]:
    """Ray's provider `local` has one node type for all hosts, so what each offers stands in our section."""
    provider = values.get("provider")
    if not isinstance(provider, Mapping) or provider.get("type") != "local":
        return
    if "head_ip" not in provider or not isinstance(provider.get("worker_ips"), list):
        yield Finding(
            loc=("provider",), message="needs head_ip and worker_ips. Example: {type: local, head_ip: 10.0.0.1, worker_ips: [10.0.0.2]}"
        )
        return
    workers = [str(address) for address in provider["worker_ips"]]
    described = {host: name for name, item in section.static_hosts.items() for host in item.hosts}
    for index, address in enumerate(workers):
        if address not in described:
            message = f"{address} stands in no list of metadata.paretune.static_hosts, so nobody knows what it offers"
            yield Finding(loc=("provider", "worker_ips", index), message=message)
    for host, name in described.items():
        if host not in workers:
            loc: Loc = (*WAY, "static_hosts", name, "hosts")
            yield Finding(
                loc=loc,
                message=f"{host} is not among provider.worker_ips, so Ray would not start it.{did_you_mean(host, workers, synonyms={})}",
            )
