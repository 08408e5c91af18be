"""A cluster file against Ray's own schema: all that it refuses at once, where `ray up` names the first."""

import contextlib
import copy
import io
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from paretune.platform.clusters.findings import Finding, told, unknown_fields
from paretune.platform.execution.cluster import prepare_environment

LEGACY = ("min_workers",)
"""Fields that Ray takes although its schema lacks them: it moves them into the node types first."""
WORDS = {
    "integer": "a whole number",
    "number": "a number",
    "string": "text",
    "object": "a mapping",
    "array": "a list",
    "boolean": "true or false",
}


def schema_findings(values: Mapping[str, Any]) -> list[Finding]:
    """Everything in a cluster file that Ray's schema refuses."""
    from jsonschema import Draft7Validator

    checked = {name: value for name, value in values.items() if name not in LEGACY}
    return [finding for error in Draft7Validator(_schema()).iter_errors(checked) for finding in _findings(error)]


def _schema() -> dict[str, Any]:
    prepare_environment()
    import ray.autoscaler

    schema: dict[str, Any] = json.loads((Path(ray.autoscaler.__file__).parent / "ray-schema.json").read_text())
    return schema


def _findings(error: Any) -> Iterator[Finding]:
    loc = tuple(error.absolute_path)
    if error.validator == "additionalProperties":
        yield from unknown_fields(loc, error.instance, error.schema.get("properties", {}))
    elif error.validator == "required":
        for name in error.validator_value:
            if name not in error.instance:
                yield Finding(loc=(*loc, name), message="is missing; Ray needs it")
    elif error.validator == "type":
        kinds = [error.validator_value] if isinstance(error.validator_value, str) else error.validator_value
        quotes = " Remove the quotes" if isinstance(error.instance, str) and error.instance.strip().isdecimal() else ""
        yield Finding(
            loc=loc,
            message=f"expected {' or '.join(WORDS.get(kind, kind) for kind in kinds)}, got {told(error.instance)}.{quotes}".rstrip("."),
        )
    elif error.validator == "minimum":
        yield Finding(loc=loc, message=f"must be at least {error.validator_value} (got {told(error.instance)})")
    else:
        yield Finding(loc=loc, message=error.message.partition("\n")[0])


def refusal_of_ray(values: Mapping[str, Any]) -> str | None:
    """What `ray up` would say after filling in its defaults, which covers what is in no schema; None where it agrees."""
    prepare_environment()
    from click import ClickException
    from ray.autoscaler._private.util import prepare_config, validate_config

    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            validate_config(prepare_config(copy.deepcopy(dict(values))))
    except ClickException:  # Ray says why on its console and raises nothing that tells
        return " ".join(said.getvalue().split()) or "refused without a reason"
    except Exception as error:  # whatever Ray's code meets in a file that its schema passed
        return str(error).partition("\n")[0] or type(error).__name__
    return None
