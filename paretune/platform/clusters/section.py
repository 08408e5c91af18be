"""`metadata.paretune` of a cluster file: what paretune adds to what Ray knows. Ray keeps `metadata` and reads nothing of it."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from paretune.platform.clusters.findings import Finding, told, unknown_fields
from paretune.platform.spec.nodes import Loc

WAY: Loc = ("metadata", "paretune")
Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Prices(_Section):
    """What machines cost."""

    currency: str = Field(default="USD", min_length=1, max_length=8)
    source: str = ""
    """Where the prices are from."""
    per_hour: dict[str, Amount] = Field(default_factory=dict)
    """Node type -> price of one machine for an hour."""


class StaticHosts(_Section):
    """Machines that are there already; Ray does not start them."""

    hosts: Annotated[list[str], Field(min_length=1)]
    """Addresses as the head reaches them."""
    resources: dict[str, Amount]
    """What each offers."""
    ssh_user: str = ""
    """Who logs in there; empty is the cluster's own user."""


class ParetuneSection(_Section):
    """All of it."""

    storage: str = ""
    """Folder that every node shares."""
    prices: Prices = Field(default_factory=Prices)
    static_hosts: dict[str, StaticHosts] = Field(default_factory=dict)
    """Name of a node type -> its machines."""


def read_section(values: Mapping[str, Any]) -> tuple[ParetuneSection, list[Finding]]:
    """The section and what is wrong with it; where something is, the section is empty."""
    metadata = values.get("metadata")
    written = metadata.get("paretune", {}) if isinstance(metadata, Mapping) else {}
    try:
        return ParetuneSection.model_validate(written), []
    except ValidationError as error:
        return ParetuneSection(), [_finding(item) for item in error.errors(include_url=False)]


def _finding(item: Any) -> Finding:
    inner: Loc = tuple(part for part in item["loc"] if part != "[key]")
    if item["type"] == "extra_forbidden":
        return unknown_fields((*WAY, *inner[:-1]), {str(inner[-1]): None}, _fields_at(inner[:-1]))[0]
    if item["type"] == "missing":
        return Finding(loc=(*WAY, *inner), message="is missing; it has no default")
    message = str(item["msg"])
    return Finding(loc=(*WAY, *inner), message=f"{message[:1].lower()}{message[1:]} (got {told(item['input'])})")


def _fields_at(loc: Loc) -> list[str]:
    model: type[BaseModel] = ParetuneSection
    if loc[:1] == ("prices",):
        model = Prices
    elif loc[:1] == ("static_hosts",):
        model = StaticHosts
    return list(model.model_fields)
