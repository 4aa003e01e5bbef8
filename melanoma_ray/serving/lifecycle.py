"""Start and stop the service on the Ray cluster that the caller is connected to."""

from __future__ import annotations

import errno
import socket
import time

from ray import serve
from ray.serve.config import HTTPOptions
from ray.serve.context import _get_global_client
from ray.serve.schema import LoggingConfig

from melanoma_ray.access.audit_log import AuditLog
from melanoma_ray.cluster.front import Address, Tls, close_front, has_requests
from melanoma_ray.cluster.resources import is_local, usable_cpus
from melanoma_ray.errors import CheckpointError, ServiceError
from melanoma_ray.serving.app import bind_app, build_app, make_absolute
from melanoma_ray.serving.arguments import ServiceArguments
from melanoma_ray.serving.rollout import (
    APPLICATION,
    RolloutCheck,
    check_candidate,
    find_current,
    go_back,
    succeed,
    take_turn,
)

_LOGGING = LoggingConfig(log_level="WARNING", enable_access_log=False)
"""Serve logs only warnings, since the caller may be a job that prints; deploy/serve.yaml keeps Serve's defaults."""
_REQUEST_TIMEOUT_S = 60.0
"""Longest time from a request's first byte to its answer's last, seconds; enough to upload 32 MiB at 5 Mbit/s."""
LONGEST_DRAIN_S = 20.0
"""Longest time that requests have to be answered before the service stops, seconds; Serve gives a replica the same."""
_PAUSE_S = 0.05
_HERE = Address()
_LOOPBACK = {"localhost": "127.0.0.1"}
"""Another name of an address."""
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


def run_service(arguments: ServiceArguments, address: Address = _HERE, check: RolloutCheck = _USUAL_CHECK) -> list[str]:
    """Serve a checkpoint, and return when the service is ready, with what the check of it didn't look at.

    If the service already runs at this port of this cluster, it changes to the new checkpoint without downtime, once
    that was checked; where it can't be served, what was served before goes on.

    Args:
        arguments: What is served, and how. Without ``num_threads``, replicas on one machine share its CPUs.
        address: Where to listen; if Serve already runs on this cluster, where it listens.
        check: What a new checkpoint must do before it replaces one that is served.

    Raises:
        CheckpointError: The checkpoint can't be used, or fails the check; nothing was changed.
        ConfigError: The settings of alerts or tokens, or the file of keys, can't be read; nothing was changed.
        ServiceError: The address can't be had, or another job changes what is served (nothing was changed); or the
            replicas don't start.
    """
    with take_turn():
        return _serve(arguments, address, check)


def _serve(arguments: ServiceArguments, address: Address, check: RolloutCheck) -> list[str]:
    _check_address(address)
    current, notes = find_current(), list[str]()
    if current is not None:
        arguments = succeed(make_absolute(arguments), current)
    if arguments.num_threads is None and is_local():
        num_threads = max(1, usable_cpus() // arguments.num_replicas)
        arguments = arguments.model_copy(update={"num_threads": num_threads})
    app = build_app(arguments)
    if current is not None:
        notes += check_candidate(arguments.checkpoint, current.checkpoint, check)
    elif check.images is not None and arguments.canary is None:
        notes.append(f"{check.images}: not looked at, since no service ran on this cluster to compare with")
    if arguments.canary is not None:
        notes += check_candidate(arguments.canary, arguments.checkpoint, check)
    if arguments.shadow is not None:  # that it decides otherwise is what it is there to show
        check_candidate(arguments.shadow, arguments.checkpoint, _USUAL_CHECK)
    _start(address)
    _run(app, current)
    return notes


def roll_back() -> ServiceArguments:
    """Serve again what was served before the last rollout, without downtime, and return it; a second time undoes that.

    The service listens where it did: Serve keeps its address.

    Raises:
        CheckpointError: The checkpoint before is gone or damaged; nothing was changed.
        ServiceError: No service runs, it has served nothing else, or another job changes what is served.
    """
    with take_turn():
        current = _get_current()
        arguments = go_back(current)
        try:
            app = build_app(arguments)
        except CheckpointError as error:
            msg = f"what was served before can't be served again, so nothing was changed ({error}); put that back first"
            raise CheckpointError(msg) from error
        _run(app, current)
        return arguments


def end_service() -> None:
    """End the service of a cluster and Serve itself, once the service has answered what it was asked.

    Raises:
        ServiceError: No service runs, or another job changes what is served.
    """
    with take_turn():
        _get_current()
        finish_requests()
        stop_service()


def _get_current() -> ServiceArguments:
    current = find_current()
    if current is None:
        msg = "no service runs on this cluster: RAY_ADDRESS must name the one that has it"
        raise ServiceError(msg)
    return current


def _start(address: Address) -> None:
    """Start Serve at an address; if it runs already, it keeps its own."""
    tls = address.tls
    options = HTTPOptions(
        host=address.host,
        port=address.port,
        request_timeout_s=_REQUEST_TIMEOUT_S,
        ssl_certfile=None if tls is None else tls.certificate,
        ssl_keyfile=None if tls is None else tls.key,
    )
    serve.start(http_options=options, logging_config=_LOGGING)


def _run(app: serve.Application, current: ServiceArguments | None) -> None:
    """Have Serve run an application; if its replicas don't start, the one before goes on."""
    try:
        serve.run(app, name=APPLICATION, route_prefix="/", logging_config=_LOGGING)
    except RuntimeError as error:
        if current is not None:  # whose replicas still answer; Serve would go on trying to start the new ones
            serve.run(bind_app(current), name=APPLICATION, route_prefix="/", logging_config=_LOGGING)
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
        StorageError: The audit log can't be written, or its disk is full.
        ServiceError: The port can't be used.
    """
    build_app(arguments)
    if arguments.audit_log is not None:
        AuditLog(arguments.audit_log).check_room()
    _check_free(address)


def finish_requests() -> None:
    """Take no more requests, and return when those that the service has are answered, or after ``LONGEST_DRAIN_S``.

    Serve by itself would first end what is in front of the replicas, with all connections on which somebody waits.
    """
    deadline = time.monotonic() + LONGEST_DRAIN_S
    if close_front():
        while has_requests() and time.monotonic() < deadline:
            time.sleep(_PAUSE_S)
    elif _get_global_client(raise_if_no_controller_running=False) is not None:
        serve.delete(APPLICATION, _blocking=False)  # it would look once a second whether that is done
        while APPLICATION in serve.status().applications and time.monotonic() < deadline:
            time.sleep(_PAUSE_S)


def stop_service() -> None:
    """Stop the service and Serve itself, if they run; what ``finish_requests`` hasn't waited for is cut off."""
    serve.shutdown()


def _check_address(address: Address) -> None:
    """Refuse an address at which the service wouldn't be, or wouldn't be alone.

    Raises:
        ServiceError: Serve already runs on this cluster and listens elsewhere; or the port is in use, not allowed, or
            not of this machine.
    """
    running = _get_global_client(raise_if_no_controller_running=False)  # serve.status() doesn't tell where it listens
    if running is None:
        _check_free(address)
    else:
        check_same(address, running.http_config)


def check_same(address: Address, own: HTTPOptions) -> None:
    """Refuse another address than that of the Serve that runs, which would keep its own without a word.

    So what was found of keys and TLS for this address (``check_exposure``) holds for that one.

    Args:
        address: Where the service is to listen.
        own: Where Serve listens.

    Raises:
        ServiceError: They differ.
    """
    if own.host is None:
        msg = "Ray Serve already runs on this cluster and speaks no HTTP: stop it first (jobs.deploy --stop)"
        raise ServiceError(msg)
    tls = Tls(certificate=own.ssl_certfile, key=own.ssl_keyfile or "") if own.ssl_certfile else None
    running, flags = Address(host=own.host, port=own.port, tls=tls), list[str]()
    if address.port != running.port:
        flags.append(f"--port {running.port}")
    if _LOOPBACK.get(address.host, address.host) != _LOOPBACK.get(running.host, running.host):
        flags.append(f"--host {running.host}")
    if address.tls != tls:
        flags.append(
            "no --tls-certificate" if tls is None else f"--tls-certificate {tls.certificate} --tls-key {tls.key}"
        )
    if flags:
        msg = (
            f"Ray Serve already runs on this cluster and stays at {running.url}, not {address.url}: "
            f"give {', '.join(flags)}, or stop it first (jobs.deploy --stop)"
        )
        raise ServiceError(msg)


def _check_free(address: Address) -> None:
    """Refuse a port that can't be used. Serve doesn't: it shares ports, so two services would answer alternately."""
    if not 1 <= address.port <= 65535:
        msg = f"port {address.port}: expected 1 to 65535"
        raise ServiceError(msg)
    if not _is_free(address.host, address.port):
        msg = f"port {address.port} on {address.host} is in use: choose another with --port"
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
