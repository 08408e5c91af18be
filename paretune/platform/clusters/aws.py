"""`node_config` of AWS node types against Amazon's own description of RunInstances, which botocore ships; nothing is sent."""

import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from paretune.platform.clusters.findings import Finding
from paretune.platform.spec.nodes import Loc
from paretune.platform.spec.suggest import did_you_mean

RAY_ONLY = ("SubnetIds", "SecurityGroupIds")
"""Fields that Ray's provider adds or reads itself; RunInstances calls the first one SubnetId."""


def is_botocore_there() -> bool:
    """Whether the check can be made: botocore comes with boto3, which starting AWS machines needs anyway."""
    from importlib.util import find_spec

    return find_spec("botocore") is not None


def aws_findings(values: Mapping[str, Any]) -> list[Finding]:
    """What RunInstances would refuse in any node type."""
    types = values.get("available_node_types")
    found: list[Finding] = []
    for name, item in types.items() if isinstance(types, Mapping) else ():
        config = item.get("node_config") if isinstance(item, Mapping) else None
        if isinstance(config, Mapping):
            found += _findings(("available_node_types", name, "node_config"), dict(config))
    return found


@cache
def _run_instances() -> Any:
    import botocore.session

    return botocore.session.get_session().get_service_model("ec2").operation_model("RunInstances").input_shape


def _findings(loc: Loc, config: dict[str, Any]) -> Iterator[Finding]:
    from botocore.validate import ParamValidator

    shape = _run_instances()
    checked = {name: value for name, value in config.items() if name not in RAY_ONLY}
    report = ParamValidator().validate({**checked, "MinCount": 1, "MaxCount": 1}, shape)
    for kind, name, context in report._errors:
        yield _told(loc, kind, name, context)
    kind = config.get("InstanceType")
    known = shape.members["InstanceType"].enum
    if isinstance(kind, str) and kind not in known:
        yield Finding(loc=(*loc, "InstanceType"), message=f"AWS has no machine type '{kind}'.{did_you_mean(kind, known, synonyms={})}")
    market = config.get("InstanceMarketOptions")
    if isinstance(market, Mapping) and "MarketType" in market:
        markets = shape.members["InstanceMarketOptions"].members["MarketType"].enum
        if market["MarketType"] not in markets:
            chosen = str(market["MarketType"])
            message = f"unknown market '{chosen}'.{did_you_mean(chosen, markets, synonyms={})} ({', '.join(markets)})"
            yield Finding(loc=(*loc, "InstanceMarketOptions", "MarketType"), message=message)


def _told(loc: Loc, kind: str, name: str, context: Mapping[str, Any]) -> Finding:
    """Botocore's finding in our words; its names look like `.BlockDeviceMappings[0].Ebs`."""
    way: Loc = (*loc, *(int(part[1:-1]) if part.startswith("[") else part for part in re.findall(r"\[\d+\]|[^.\[\]]+", name)))
    if kind == "unknown field":
        known = sorted(context["valid_names"])
        unknown = str(context["unknown_param"])
        return Finding(loc=(*way, unknown), message=f"AWS knows no such field.{did_you_mean(unknown, known, synonyms={})}", at_key=True)
    if kind == "invalid type":
        types = ", ".join(str(item).split("'")[1] if "'" in str(item) else str(item) for item in context["valid_types"])
        return Finding(loc=way, message=f"AWS expects {types}, got {context['param']!r}")
    if kind == "missing required field":
        return Finding(loc=(*way, context["required_name"]), message="is missing; AWS needs it")
    return Finding(loc=way, message=f"{kind} (got {context.get('param')!r})")
