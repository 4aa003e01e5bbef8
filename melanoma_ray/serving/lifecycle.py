"""Start and stop the service on the Ray cluster that the caller is connected to."""

from __future__ import annotations

import errno
import socket

from ray import serve
from ray.serve.config import HTTPOptions
from ray.serve.context import _get_global_client
from ray.serve.schema import LoggingConfig

from melanoma_ray.access.audit_log import AuditLog
from melanoma_ray.cluster.front import Address
from melanoma_ray.cluster.resources import is_local, usable_cpus
from melanoma_ray.errors import ServiceError
from melanoma_ray.serving.app import build_app
from melanoma_ray.serving.arguments import ServiceArguments
from melanoma_ray.serving.rollout import (
    APPLICATION,
    RolloutCheck,
    check_candidate,
    find_current,
    go_back,
    succeed,
)

_LOGGING = LoggingConfig(log_level="WARNING", enable_access_log=False)
"""Serve logs only warnings, since the caller may be a job that prints; deploy/serve.yaml keeps Serve's defaults."""
_REQUEST_TIMEOUT_S = 60.0
"""Longest time from a request's first byte to its answer's last, seconds; enough to upload 32 MiB at 5 Mbit/s."""
_HERE = Address()
_USUAL_CHECK = RolloutCheck()


def start_service(
    checkpoint: str,
    *,
    address: Address = _HERE,
    num_replicas: int = 1,
    num_gpus: float = 0.0,
    alerts: str | None = None,
    keys: str | None = None,
) -> None:
    """Serve a checkpoint, and return when the service is ready; ``run_service`` has all settings.

    Args:
        checkpoint: Checkpoint directory, run directory or a sweep's best.json.
        address: Where to listen.
        num_replicas: Number of service processes. Ray keeps 1 CPU free for each; on one machine they share its CPUs.
        num_gpus: Number of GPUs for each replica; 0: it runs on CPUs.
        alerts: File with the settings of alerts; none: nobody is alerted.
        keys: File of the keys that callers must have; none: nobody needs one.

    Raises:
        MelanomaRayError: As for ``run_service``.
    """
    arguments = ServiceArguments(
        checkpoint=checkpoint, num_replicas=num_replicas, num_gpus=num_gpus, alerts=alerts, keys=keys
    )
    run_service(arguments, address)


def run_service(arguments: ServiceArguments, address: Address = _HERE, check: RolloutCheck = _USUAL_CHECK) -> None:
    """Serve a checkpoint, and return when the service is ready.

    If the service already runs at this port of this cluster, it changes to the new checkpoint without downtime, once
    that was checked; where it can't be served, what was served before goes on.

    Args:
        arguments: What is served, and how. Without ``num_threads``, replicas on one machine share its CPUs.
        address: Where to listen.
        check: What a new checkpoint must do before it replaces one that is served.

    Raises:
        CheckpointError: The checkpoint can't be used, or fails the check; nothing was changed.
        ConfigError: The settings of alerts or tokens, or the file of keys, can't be read; nothing was changed.
        ServiceError: The port can't be used (nothing was changed), or the replicas don't start.
    """
    current = find_current()
    if current is not None:
        arguments = succeed(arguments, current)
    if arguments.num_threads is None and is_local():
        num_threads = max(1, usable_cpus() // arguments.num_replicas)
        arguments = arguments.model_copy(update={"num_threads": num_threads})
    app = build_app(arguments)
    if current is not None:
        check_candidate(arguments.checkpoint, current.checkpoint, check)
    if arguments.canary is not None:
        check_candidate(arguments.canary, arguments.checkpoint, check)
    if arguments.shadow is not None:  # that it decides otherwise is what it is there to show
        check_candidate(arguments.shadow, arguments.checkpoint, _USUAL_CHECK)
    _run(app, current, address)


def roll_back(address: Address = _HERE) -> ServiceArguments:
    """Serve again what was served before the last rollout, without downtime, and return it; a second time undoes that.

    Args:
        address: Where the service listens.

    Raises:
        CheckpointError: The checkpoint before is gone or damaged; nothing was changed.
        ServiceError: No service runs, or it has served nothing else.
    """
    current = find_current()
    if current is None:
        msg = "no service runs on this cluster: RAY_ADDRESS must name the one that has it"
        raise ServiceError(msg)
    arguments = go_back(current)
    _run(build_app(arguments), current, address)
    return arguments


def _run(app: serve.Application, current: ServiceArguments | None, address: Address) -> None:
    """Have Serve run an application; if its replicas don't start, the one before goes on."""
    _check_port(address.host, address.port, is_serving=bool(serve.status().proxies))
    tls = address.tls
    options = HTTPOptions(
        host=address.host,
        port=address.port,
        request_timeout_s=_REQUEST_TIMEOUT_S,
        ssl_certfile=None if tls is None else tls.certificate,
        ssl_keyfile=None if tls is None else tls.key,
    )
    serve.start(http_options=options, logging_config=_LOGGING)
    try:
        serve.run(app, name=APPLICATION, route_prefix="/", logging_config=_LOGGING)
    except RuntimeError as error:
        if current is not None:  # whose replicas still answer; Serve would go on trying to start the new ones
            serve.run(build_app(current), name=APPLICATION, route_prefix="/", logging_config=_LOGGING)
        else:
            serve.delete(APPLICATION)  # or the next try would ask it what it serves
        msg = f"the service did not come up ({error}): `serve status` and the replica's log have the reason"
        raise ServiceError(msg) from error


def check_service(arguments: ServiceArguments, address: Address) -> None:
    """Refuse what ``run_service`` would refuse, before Ray itself is started on this machine.

    Args:
        arguments: What is to be served.
        address: Where it is to listen.

    Raises:
        CheckpointError: The checkpoint can't be used.
        ConfigError: The file of keys, or that of tokens, can't be read.
        StorageError: The audit log can't be written.
        ServiceError: The port can't be used.
    """
    build_app(arguments)
    if arguments.audit_log is not None:
        AuditLog(arguments.audit_log)
    _check_port(address.host, address.port, is_serving=False)


def stop_service() -> None:
    """Stop the service and Serve itself, if they run."""
    serve.shutdown()


def _check_port(host: str, port: int, *, is_serving: bool) -> None:
    """Refuse a port that can't be used. Serve doesn't: it shares ports, so two services would answer alternately.

    Args:
        host: Address to listen on.
        port: Port to listen on.
        is_serving: Whether Serve already runs on this cluster; then it keeps its port.

    Raises:
        ServiceError: The port is in use, not allowed, not of this machine, or not the one that Serve already has.
    """
    if not 1 <= port <= 65535:
        msg = f"port {port}: expected 1 to 65535"
        raise ServiceError(msg)
    if is_serving:
        own = _get_global_client().http_config.port  # which serve.status() doesn't tell
        if port != own:
            msg = f"Ray Serve already runs on this cluster, but at port {own}, not at {port}: give its port, or stop it"
            raise ServiceError(msg)
    elif not _is_free(host, port):
        msg = f"port {port} on {host} is in use: choose another with --port"
        raise ServiceError(msg)


def _is_free(host: str, port: int) -> bool:
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a port that was closed just now is free
            probe.bind(address)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            return False
        msg = f"port {port} on {host} can't be used: {error}"
        raise ServiceError(msg) from error
    return True
