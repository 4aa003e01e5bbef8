"""The cluster that RAY_ADDRESS names: whether it is there, and lets this process in."""

from __future__ import annotations

import os
import re
import socket

from melanoma_ray.errors import ConfigError

_VARIABLE = "RAY_ADDRESS"
_HOST_AND_PORT = re.compile(r"(?:ray://)?\[?([^/\]]+)\]?:(\d+)")
_PATIENCE_S = 10.0


def check_reachable() -> None:
    """Refuse an address at which nothing listens, to which Ray would try to connect for many minutes.

    Raises:
        ConfigError: Nothing does.
    """
    named = os.environ.get(_VARIABLE, "")
    found = _HOST_AND_PORT.fullmatch(named)
    if found is None:
        return  # Ray's other forms, such as auto
    try:
        socket.create_connection((found[1], int(found[2])), timeout=_PATIENCE_S).close()
    except (OSError, OverflowError) as error:
        msg = (
            f"{_VARIABLE}={named}: nothing answers there ({error}); start the cluster, or unset {_VARIABLE} to have "
            "Ray started on this machine"
        )
        raise ConfigError(msg) from error


def refused_by_cluster(error: ConnectionError) -> ConfigError:
    """Return what is told where something listens and Ray couldn't connect, which Ray doesn't give the reason of."""
    return ConfigError(
        f"{_VARIABLE}={os.environ.get(_VARIABLE, '')}: something listens there, to which Ray can't connect ({error}); "
        "the port must be that of the cluster's GCS, and where the cluster asks for a token, RAY_AUTH_MODE and "
        "RAY_AUTH_TOKEN_PATH must be set here as they are there"
    )
