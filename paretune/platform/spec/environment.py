"""Secrets: they come from the environment when they are used, and are never written down."""

from collections.abc import Mapping

from pydantic_core import PydanticCustomError

from paretune.core.environment import VARIABLE
from paretune.core.environment import resolve_env as resolved
from paretune.core.errors import BadInput
from paretune.platform.spec.nodes import PASSWORD, SECRET_PARAMETER
from paretune.platform.spec.suggest import nearest

SCHEMES = ("sqlite", "http", "https", "file", "postgresql", "mysql", "mssql", "databricks")


def check_tracking_uri(uri: str) -> str:
    """The tracking URI as it may be stored. Messages do not repeat it, since it may hold a secret.

    Raises:
        PydanticCustomError: it holds a password, or is no URI that MLflow reads.
    """
    if not uri.strip() or len(uri) > 1000:
        raise _mistake("must be a text of 1 to 1,000 characters, or none to switch tracking off")
    without = VARIABLE.sub("", uri)
    if "${" in without:
        raise _mistake("a value from the environment is written ${env:NAME}")
    if PASSWORD.search(without) or SECRET_PARAMETER.search(without):
        raise _mistake("contains a password; use ${env:NAME}, for example http://user:${env:MLFLOW_TRACKING_PASSWORD}@server:5000")
    scheme, colon, rest = without.partition(":")
    if uri.startswith("${") or without == "databricks":
        return uri
    if not colon:
        if without.startswith(("/", "./", "../")):
            return uri
        raise _mistake("is no address; expected one that starts with sqlite:///, http://, ..., or none to switch tracking off")
    known = scheme.lower().partition("+")[0]
    if known not in SCHEMES:
        near = nearest(known, SCHEMES, synonyms={})
        raise _mistake(
            f"unknown kind of address '{scheme[:20]}:'. Expected {', '.join(SCHEMES)}.{f' Did you mean {near}:?' if near else ''}"
        )
    if known == "sqlite" and not rest.startswith("///"):
        raise _mistake("a SQLite address has three slashes, as in sqlite:///mlflow.db")
    return uri


def resolve_env(text: str, environment: Mapping[str, str] | None = None) -> str:
    """`text` with every `${env:NAME}` replaced. Call it where the value is used, and store only the original.

    Raises:
        BadInput: a variable is not set.
    """
    try:
        return resolved(text, environment)
    except BadInput as error:
        raise BadInput(f"tracking.uri: {error}") from error


def _mistake(message: str) -> PydanticCustomError:
    return PydanticCustomError("spec", "{text}", {"text": message})
