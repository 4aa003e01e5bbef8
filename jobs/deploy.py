"""Serve a checkpoint: python -m jobs.deploy --checkpoint DIR; on a cluster the service stays up when the job ends."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from melanoma_ray.alerts.actor import check_node
from melanoma_ray.alerts.sinks import read_checked_settings
from melanoma_ray.cluster.resources import check_room, is_local
from melanoma_ray.cluster.workarounds import serve_quickly
from melanoma_ray.ranges import Range, check_ranges
from melanoma_ray.serving.exposure import Address, check_exposure, is_loopback, read_tls
from melanoma_ray.serving.lifecycle import check_service, start_service, stop_service

from . import console, formatting


@dataclass(frozen=True, kw_only=True)
class DeployArguments:
    """Serve a checkpoint over HTTP."""

    checkpoint: str
    """Checkpoint directory, run directory or a sweep's best.json."""
    port: Annotated[int, Range(1, 65535)] = 8000
    """Port to listen on, in [1, 65535]."""
    host: str = "127.0.0.1"
    """Address to listen on; another one than loopback, such as 0.0.0.0, needs --keys and --tls-certificate."""
    num_replicas: Annotated[int, Range(1)] = 1
    """Number of service processes, 1 or more; on one machine they share its CPUs, on a cluster each has 1."""
    num_gpus: Annotated[float, Range(0)] = 0.0
    """Number of GPUs for each service process, 0 or more; a fraction shares a GPU."""
    alerts: str | None = None
    """File with the settings of alerts, .toml or .json, as in docs/alerts.md; by default nobody is alerted."""
    keys: str | None = None
    """File of the keys that callers must have, as python -m jobs.keys writes it; by default nobody needs one."""
    tls_certificate: str | None = None
    """File of the certificate chain for HTTPS, PEM; by default the service speaks HTTP."""
    tls_key: str | None = None
    """File of the certificate's private key, PEM, without a password."""
    open_to_network: bool = False
    """Listen on another address than loopback without keys or without TLS, because what stands in front has both."""

    def __post_init__(self) -> None:
        """Check ranges."""
        check_ranges(self)


def main(arguments: DeployArguments) -> None:
    """Start the service; without a cluster it runs until Ctrl-C."""
    replicas = arguments.num_replicas
    check_room(cpus=replicas, gpus=replicas * arguments.num_gpus, flags=f"--num-replicas {replicas}")
    tls = read_tls(arguments.tls_certificate, arguments.tls_key)
    address = Address(host=arguments.host, port=arguments.port, tls=tls)
    check_exposure(address, has_keys=arguments.keys is not None, is_open=arguments.open_to_network)
    alerts = None if arguments.alerts is None else read_checked_settings(arguments.alerts)
    if is_local():
        check_service(arguments.checkpoint, address, arguments.keys)
        if tls is None and is_loopback(address.host):  # HAProxy as Ray sets it up speaks no TLS
            serve_quickly()
    console.connect()
    if alerts is not None:
        check_node(alerts)
    start_service(
        arguments.checkpoint,
        address=address,
        num_replicas=replicas,
        num_gpus=arguments.num_gpus,
        alerts=arguments.alerts,
        keys=arguments.keys,
    )
    print(formatting.describe_service(address), flush=True)
    if is_local():
        print("Ctrl-C stops it.", flush=True)
        try:
            console.wait_for_interrupt()
        finally:
            stop_service()


if __name__ == "__main__":
    console.run_job(main, DeployArguments)
