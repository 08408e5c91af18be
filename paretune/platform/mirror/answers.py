"""What MLflow's errors mean: refused, gone, or to be tried again, in words that hold no secret."""

import re

from mlflow.exceptions import MlflowException, RestException

from paretune.platform.mirror.address import shown, without_secrets
from paretune.platform.mirror.errors import Gone, Refused, Unavailable

SHOWN_CHARACTERS = 300
NO_LOGIN = ("UNAUTHENTICATED", "CUSTOMER_UNAUTHORIZED")
FORBIDDEN = ("PERMISSION_DENIED",)
UNKNOWN = ("RESOURCE_DOES_NOT_EXIST", "NOT_FOUND")
REFUSED = ("INVALID_PARAMETER_VALUE", "BAD_REQUEST", "INVALID_STATE", "RESOURCE_ALREADY_EXISTS", "MALFORMED_REQUEST")
FOREIGN = re.compile(r"failed with error code (\d+)|too many (\d+) error responses|not in a valid JSON format")
CAUSE = re.compile(r"Caused by (\w+)")
DELETED = re.compile(r"experiment (\w+) must be in the 'active'")
"""An experiment in MLflow's trash; a run in it is another matter: somebody does not want that one."""
LOGIN_HELP = "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN"


def sorted_error(error: Exception, uri: str) -> Exception:
    """The mirror's error for whatever a call to MLflow raised; database drivers and HTTP clients raise classes of their own."""
    if isinstance(error, Unavailable | Refused | Gone):
        return error
    if not isinstance(error, MlflowException):
        return Unavailable(f"{shown(uri)} fails: {_short(error, uri)}")
    foreign = FOREIGN.search(str(error)) if not isinstance(error, RestException) else None
    answer = (foreign[1] or foreign[2]) if foreign else None
    if error.error_code in NO_LOGIN or answer == "401":
        return Unavailable(f"{shown(uri)} refuses the login (HTTP 401): {LOGIN_HELP}")
    if "Invalid Host header" in str(error):
        return Unavailable(f"{shown(uri)} refuses to be called by this name (HTTP 403): start 'mlflow server' with it in --allowed-hosts")
    if error.error_code in FORBIDDEN or answer == "403":
        return Unavailable(f"{shown(uri)} refuses the login or its rights (HTTP 403): {LOGIN_HELP}, of a user who may write there")
    if foreign:
        what = f"HTTP {answer}" if answer else "a page that is no JSON"
        return Unavailable(f"{shown(uri)} answers {what}: the server fails, or it is no MLflow server")
    if deleted := DELETED.search(str(error)):
        return Unavailable(
            f"{shown(uri)}: experiment {deleted[1]} was deleted: restore it there ('mlflow experiments restore -x {deleted[1]}'), or give "
            "tracking.experiment another name"
        )
    if error.error_code in UNKNOWN:
        return Gone(_short(error, uri))
    if error.error_code in REFUSED:
        return Refused(_short(error, uri))
    cause = CAUSE.search(str(error))
    return Unavailable(f"{shown(uri)} does not answer: {cause[1] if cause else _short(error, uri)}")


def _short(error: Exception, uri: str) -> str:
    lines = without_secrets(str(error), uri).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:SHOWN_CHARACTERS] if lines else ''}"
