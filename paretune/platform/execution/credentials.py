"""Ray's token: the secret that lets a process talk to a cluster. Ray 2.60 uses it for clusters elsewhere only where it is told to."""

import ipaddress
import os
from pathlib import Path
from typing import Any

from paretune.core.errors import BadInput

TOKEN_FILE = "~/.ray/auth_token"  # noqa: S105 - where it lies
"""Where Ray keeps it; RAY_AUTH_TOKEN and RAY_AUTH_TOKEN_PATH come first."""
COPY = f"Copy the cluster's {TOKEN_FILE} to this machine (mode 600)"
ASK_TIMEOUT_S = 5.0


def own_token() -> str:
    """The token that Ray would use here; empty where there is none."""
    if given := os.environ.get("RAY_AUTH_TOKEN"):
        return given.strip()
    path = Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or TOKEN_FILE).expanduser()
    try:
        return path.read_text().strip()
    except OSError:
        return ""


def use_token() -> bool:
    """Let Ray use the token for clusters elsewhere, where there is one and the user said nothing else; whether there is one."""
    found = bool(own_token())
    if found:
        os.environ.setdefault("RAY_AUTH_MODE", "token")
    return found


def is_loopback(host: str) -> bool:
    """Whether an address is one of this machine alone."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def refuse_open(address: str) -> None:
    """Ask a head that other machines can reach whether it lets in who has no token.

    Args:
        address: `HOST:PORT` of a head that listens.

    Raises:
        BadInput: it does.
    """
    import grpc

    if not is_loopback(address.rpartition(":")[0]) and _asked(address, "") is grpc.StatusCode.OK:
        raise BadInput(open_cluster(f"the cluster at '{address}'"))


def open_cluster(cluster: str) -> str:
    """What to do about a cluster that asks nobody for a token."""
    return (
        f"{cluster} asks nobody for a token: whoever reaches it may run programs there. Make a token (ray get-auth-token --generate), "
        "copy it to every node and start the cluster anew with RAY_AUTH_MODE=token; or trust everybody on that network: --insecure"
    )


def refuse_wrong_token(address: str) -> None:
    """Ask a head whether it takes our token. Ray itself would try for twenty seconds and then say that nothing answers.

    Args:
        address: `HOST:PORT` of a head that listens.

    Raises:
        BadInput: it wants a token and there is none here, or another one.
    """
    import grpc

    token = own_token() if os.environ.get("RAY_AUTH_MODE") == "token" else ""
    if _asked(address, token) is grpc.StatusCode.UNAUTHENTICATED:  # whatever else is wrong, Ray tells when it connects
        raise BadInput(refusal(f"the cluster at '{address}'"))


def _asked(address: str, token: str) -> Any:
    """How a head answers a question that needs its token, as a status of gRPC."""
    import grpc

    with grpc.insecure_channel(address) as channel:
        ask = channel.unary_unary("/ray.rpc.NodeInfoGcsService/GetClusterId", request_serializer=bytes, response_deserializer=bytes)
        try:
            ask(b"", metadata=(("authorization", f"Bearer {token}"),) if token else (), timeout=ASK_TIMEOUT_S)
        except grpc.RpcError as error:
            return error.code()
        return grpc.StatusCode.OK


def refusal(cluster: str) -> str:
    """What to do where a cluster does not take our token."""
    if not own_token():
        return f"{cluster} wants a token, and there is none here. {COPY}"
    if os.environ.get("RAY_AUTH_MODE", "token") != "token":
        return f"{cluster} wants a token, and RAY_AUTH_MODE={os.environ['RAY_AUTH_MODE']} sends none. Unset it"
    source = "RAY_AUTH_TOKEN" if os.environ.get("RAY_AUTH_TOKEN") else os.environ.get("RAY_AUTH_TOKEN_PATH") or TOKEN_FILE
    return f"{cluster} refuses the token of {source}: it has another one. {COPY}"
