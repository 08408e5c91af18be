"""Values from the environment: `${env:NAME}` in a text stands for the variable NAME, read when the text is used."""

import os
import re
from collections.abc import Mapping

from paretune.core.errors import BadInput

VARIABLE = re.compile(r"\$\{env:([A-Za-z_][A-Za-z0-9_]*)\}", re.ASCII)


def resolve_env(text: str, environment: Mapping[str, str] | None = None) -> str:
    """`text` with every `${env:NAME}` replaced. Call it where the value is used, and store only the original.

    Raises:
        BadInput: a variable is not set.
    """
    values = os.environ if environment is None else environment

    def value(match: re.Match[str]) -> str:
        if match[1] not in values:
            raise BadInput(f"environment variable {match[1]} is not set")
        return values[match[1]]

    return VARIABLE.sub(value, text)
