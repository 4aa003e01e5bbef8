"""Serve a checkpoint: python -m jobs.deploy --checkpoint DIR; on a cluster it stays up when the job ends."""

from __future__ import annotations

from dataclasses import dataclass

from jobs import console, formatting
from melanoma_ray.cluster.resources import is_local
from melanoma_ray.serving.lifecycle import check_service, start_service, stop_service


@dataclass(frozen=True, kw_only=True)
class DeployArguments:
    """Put a checkpoint behind HTTP."""

    checkpoint: str
    """A checkpoint directory, a run's directory or a sweep's best.json."""
    port: int = 8000
    """To listen on."""
    host: str = "127.0.0.1"
    """To listen on; 0.0.0.0 for every interface, behind something that authenticates."""
    num_replicas: int = 1
    """Processes that answer, 1 CPU each."""
    num_gpus: float = 0.0
    """Of each replica."""


def main(arguments: DeployArguments) -> None:
    """Serve; on this machine alone until Ctrl-C."""
    if is_local():
        check_service(arguments.checkpoint, host=arguments.host, port=arguments.port)
    console.connect()
    start_service(**vars(arguments))
    print(formatting.describe_service(arguments.host, arguments.port), flush=True)
    if is_local():
        print("Ctrl-C stops it.", flush=True)
        console.wait_for_interrupt()
        stop_service()


if __name__ == "__main__":
    console.run_job(main, DeployArguments)
