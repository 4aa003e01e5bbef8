"""Serve a checkpoint: python -m jobs.deploy --checkpoint DIR; on a cluster the service stays up when the job ends."""

from __future__ import annotations

import sys
from dataclasses import dataclass, fields
from typing import Annotated, ClassVar

from pydantic import ValidationError

from melanoma_ray.alerts.actor import check_node
from melanoma_ray.alerts.sinks import read_checked_settings
from melanoma_ray.cluster.front import Address
from melanoma_ray.cluster.resources import check_room, is_local
from melanoma_ray.cluster.workarounds import guard_headers
from melanoma_ray.errors import ConfigError
from melanoma_ray.ranges import Range, check_ranges
from melanoma_ray.serving.arguments import ServiceArguments
from melanoma_ray.serving.exposure import check_exposure, put_in_front, read_tls
from melanoma_ray.serving.lifecycle import (
    LONGEST_DRAIN_S,
    check_service,
    end_service,
    finish_requests,
    roll_back,
    run_service,
    stop_service,
)
from melanoma_ray.serving.rollout import RolloutCheck

from . import console, formatting, interruption

_ALONE = {
    "rollback": "serves what was served before, where and how it is guarded now",
    "stop": "ends the service that runs, whatever it serves",
}
"""Flags that stand alone, and what they do."""
_MAY_GO_ON = "interrupted; a rollout that was begun may go on in the cluster: GET /v1/model says what is served"


@dataclass(frozen=True, kw_only=True)
class DeployArguments:
    """Serve a checkpoint over HTTP."""

    INTERRUPTED: ClassVar[str] = interruption.BEGINS_ANEW

    checkpoint: str | None = None
    """Checkpoint directory, run directory or a sweep's best.json; needed unless --rollback or --stop."""
    rollback: bool = False
    """Serve again what the running service of a cluster served before; a second time undoes that. It stands alone."""
    stop: bool = False
    """End the running service of a cluster, once it has answered what it was asked. It stands alone."""
    check_images: str | None = None
    """Folder of sample images by which a checkpoint is checked that replaces one; by default drawn lesions."""
    max_changed_fraction: Annotated[float, Range(0, 1)] = 0.1
    """Largest share of --check-images that may get another decision than from the one before, in [0, 1]."""
    canary: str | None = None
    """Second checkpoint, which answers a share of the images; by default there is none."""
    canary_fraction: Annotated[float, Range(above=0, below=1)] = 0.1
    """Share of the images that --canary answers, in (0, 1)."""
    shadow: str | None = None
    """Second checkpoint, which scores the same images for log and metrics alone; by default there is none."""
    port: Annotated[int, Range(1, 65535)] = 8000
    """Port to listen on, in [1, 65535]."""
    host: str = "127.0.0.1"
    """Address to listen on; another one than loopback, such as 0.0.0.0, needs --keys and --tls-certificate. A service
    that runs on a cluster keeps its host, port and certificate, so give these again."""
    num_replicas: Annotated[int, Range(1)] = 1
    """Number of service processes, 1 or more; on one machine they share its CPUs, on a cluster each has 1."""
    max_replicas: Annotated[int | None, Range(1)] = None
    """Largest number of service processes, started and ended by how many requests wait; by default --num-replicas."""
    num_gpus: Annotated[float, Range(0)] = 0.0
    """Number of GPUs for each service process, 0 or more; a fraction shares a GPU."""
    alerts: str | None = None
    """File with the settings of alerts, .toml or .json, as in docs/alerts.md; by default nobody is alerted."""
    keys: str | None = None
    """File of the keys that callers must have, as python -m jobs.keys writes it; by default nobody needs one."""
    oidc: str | None = None
    """File with the issuer whose tokens are taken beside keys, .toml, as in docs/service.md; by default none are."""
    requests_per_minute: Annotated[float | None, Range(above=0)] = None
    """Most requests a minute of each key that has no limit of its own, more than 0; by default there is no limit."""
    max_concurrent: Annotated[int | None, Range(1)] = None
    """Most requests at a time of each key that has no limit of its own, 1 or more; by default there is no limit."""
    audit_log: str | None = None
    """Folder of the audit log, which says who was told what about which image; by default nothing is written down."""
    log_requests: bool = False
    """Log a line of JSON for each request, without anything of the image."""
    tls_certificate: str | None = None
    """File of the certificate chain for HTTPS, PEM; by default the service speaks HTTP."""
    tls_key: str | None = None
    """File of the certificate's private key, PEM, without a password."""
    tls_client_ca: str | None = None
    """File of authorities, PEM, of which each caller must have a certificate; by default callers need none."""
    open_to_network: bool = False
    """Listen on another address than loopback without keys or without TLS, because what stands in front has both."""

    def __post_init__(self) -> None:
        """Check ranges, and that limits have somebody to count.

        Raises:
            ConfigError: A setting is out of its range, settings contradict each other, or limits have no keys.
        """
        check_ranges(self)
        self._check_alone()
        if (self.requests_per_minute or self.max_concurrent) and not (self.keys or self.oidc or self.tls_client_ca):
            msg = (
                "--requests-per-minute and --max-concurrent are limits of each caller: give --keys, --oidc or "
                "--tls-client-ca, too"
            )
            raise ConfigError(msg)
        self._check_comparisons()
        if self.checkpoint is not None:
            self.to_service()

    def _check_alone(self) -> None:
        """Refuse more, or less, than one thing to do; what changes a service that runs stands alone."""
        alone = [name for name in _ALONE if getattr(self, name)]
        if len(alone) + (self.checkpoint is not None) != 1:
            given = ", ".join(f"--{name}" for name in alone)
            found = f"checkpoint={self.checkpoint!r}" + (f", {given}" if given else "")
            msg = f"{found}: give --checkpoint DIR, --rollback or --stop, one of them"
            raise ConfigError(msg)
        others = [one.name for one in fields(self) if getattr(self, one.name) != one.default and one.name not in _ALONE]
        if alone and others:
            flags = ", ".join(f"--{name.replace('_', '-')}" for name in others)
            msg = f"--{alone[0]} {_ALONE[alone[0]]}: leave out {flags}"
            raise ConfigError(msg)
        if alone and is_local():
            msg = f"--{alone[0]} needs a service that runs: set RAY_ADDRESS to its cluster"
            raise ConfigError(msg)

    def _check_comparisons(self) -> None:
        """Refuse what has no effect, as it stands, on the comparison of a checkpoint with another one."""
        for share, of in (("canary_fraction", "canary"), ("max_changed_fraction", "check_images")):
            value = getattr(self, share)
            if getattr(self, of) is None and value != getattr(type(self), share):
                flags = [f"--{name.replace('_', '-')}" for name in (share, of)]
                msg = f"{flags[0]} {value} is a share of the images of {flags[1]}: give that, too"
                raise ConfigError(msg)
        if self.check_images is not None and self.canary is None and is_local():
            msg = (
                f"--check-images {self.check_images} compares with what is served, and a new service replaces nothing: "
                "leave it out, or set RAY_ADDRESS to the cluster of the service that runs"
            )
            raise ConfigError(msg)
        if self.checkpoint is not None and self.checkpoint in {self.canary, self.shadow}:
            msg = f"--checkpoint {self.checkpoint} is also --canary or --shadow: give another one to compare it with"
            raise ConfigError(msg)

    def to_service(self) -> ServiceArguments:
        """Return what of these the replicas are told.

        Raises:
            ConfigError: They contradict each other.
        """
        names = ServiceArguments.model_fields.keys() & DeployArguments.__dataclass_fields__.keys()
        try:
            return ServiceArguments(
                **{name: getattr(self, name) for name in names}, takes_certificates=self.tls_client_ca is not None
            )
        except ValidationError as error:
            msg = error.errors()[0]["msg"].removeprefix("Value error, ")
            raise ConfigError(msg) from error


def main(arguments: DeployArguments) -> None:
    """Start the service; without a cluster it runs until Ctrl-C. Or change or end the one that a cluster runs."""
    if arguments.rollback:
        console.connect()
        print(f"{roll_back().checkpoint} is served again", flush=True)
    elif arguments.stop:
        console.connect()
        end_service()
        print("the service is stopped", flush=True)
    else:
        _deploy(arguments)


def _deploy(arguments: DeployArguments) -> None:
    replicas = arguments.num_replicas
    check_room(cpus=replicas, gpus=replicas * arguments.num_gpus, flags=f"--num-replicas {replicas}")
    tls = read_tls(arguments.tls_certificate, arguments.tls_key, arguments.tls_client_ca)
    address = Address(host=arguments.host, port=arguments.port, tls=tls)
    check_exposure(address, has_keys=bool(arguments.keys or arguments.oidc), is_open=arguments.open_to_network)
    alerts = None if arguments.alerts is None else read_checked_settings(arguments.alerts)
    if is_local():
        check_service(arguments.to_service(), address)
        guard_headers()
    behind = _have_in_front(address)
    _connect()
    if alerts is not None:
        check_node(alerts)
    check = RolloutCheck(images=arguments.check_images, max_changed_fraction=arguments.max_changed_fraction)
    for note in run_service(arguments.to_service(), behind, check):
        print(note, file=sys.stderr)
    print(formatting.describe_service(address), flush=True)
    if is_local():
        print("Ctrl-C stops it.", flush=True)
        try:
            console.wait_for_interrupt("the service is stopped", longest_s=LONGEST_DRAIN_S + interruption.GRACE_S)
        finally:
            finish_requests()
            interruption.end_within()
            stop_service()


def _connect() -> None:
    console.connect()
    if not is_local():
        interruption.prepare(_MAY_GO_ON)


def _have_in_front(address: Address) -> Address:
    """Return where Serve itself is to listen; on this machine HAProxy has the address, if it can."""
    behind = put_in_front(address) if is_local() else address
    if behind.tls is not None and behind.tls.client_authority is not None:
        msg = "--tls-client-ca: Serve's own proxy doesn't ask for certificates; leave it out, and have a proxy in front"
        raise ConfigError(msg)
    return behind


if __name__ == "__main__":
    console.run_job(main, DeployArguments)
