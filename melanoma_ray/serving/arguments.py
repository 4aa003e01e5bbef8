"""What is served, and how: the arguments of the Serve application."""

from __future__ import annotations

from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

MAX_ONGOING_REQUESTS = 16
"""Most requests that one replica has at a time: one batch in the network and one being decoded. With bodies of at
most 32 MiB they take half a gigabyte at worst."""


class ServiceArguments(BaseModel):
    """The ``args`` of deploy/serve.yaml."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    checkpoint: str
    """Checkpoint directory, run directory or a sweep's best.json, on a disk that all nodes can read, or s3://."""
    num_replicas: int = Field(default=1, ge=1)
    """Number of service processes."""
    num_cpus: float = Field(default=1.0, gt=0)
    """CPUs that Ray keeps free for each replica."""
    num_threads: int | None = Field(default=None, ge=1)
    """Number of threads that decode and compute in each replica; none: one for each of its CPUs."""
    num_gpus: float = Field(default=0.0, ge=0)
    """Number of GPUs for each replica; 0: it runs on CPUs."""
    alerts: str | None = None
    """File with the settings of alerts (docs/alerts.md), on a disk that all nodes can read; none: nobody is alerted."""
    keys: str | None = None
    """File of the keys that are asked for (``jobs.keys`` writes it), on a disk that all nodes can read; none: nobody
    needs one."""
    oidc: str | None = None
    """File with the issuer of tokens that are taken (docs/service.md), on a disk that all nodes can read; none: no
    tokens are taken."""
    takes_certificates: bool = False
    """Whether HAProxy in front, and nobody else, tells whose certificate a caller has shown; ``jobs.deploy`` sets
    it. Without keys and tokens a caller is known by that."""
    audit_log: str | None = None
    """Folder of the audit log (docs/service.md), on a local disk of each node; none: nothing is written down."""
    requests_per_minute: float | None = Field(default=None, gt=0)
    """Most requests a minute of each caller that has no limit of its own; none: no limit."""
    max_concurrent: int | None = Field(default=None, ge=1)
    """Most requests at a time of each caller that has no limit of its own; none: no limit."""
    log_requests: bool = False
    """Log a line for each request, without anything of the image."""
    max_image_bytes: int = Field(default=32 * 1024 * 1024, gt=0)
    """Largest encoded image that is accepted, bytes; the checkpoint's own limit applies too."""
    max_batch_size: int = Field(default=MAX_ONGOING_REQUESTS, ge=1, le=MAX_ONGOING_REQUESTS)
    """Most images of a pass on a GPU; a CPU takes one at a time on each thread."""
    max_replicas: int | None = Field(default=None, ge=1)
    """Largest number of service processes, which Serve starts and ends by how many requests wait, never fewer than
    ``num_replicas``; none: always ``num_replicas``."""
    canary: str | None = None
    """Checkpoint that answers a share of the images; none: there is none. It needs the diagnoses of ``checkpoint``."""
    canary_fraction: float = Field(default=0.1, gt=0, lt=1)
    """That share, in (0, 1); the same image is always answered by the same one of the two."""
    shadow: str | None = None
    """Checkpoint that scores the same images, of which callers learn nothing; none: there is none."""
    previous: ServiceArguments | None = None
    """What was served before a rollout, to go back to; none: nothing was. ``jobs.deploy`` sets it."""
    batch_wait_timeout_s: float = Field(default=0.002, ge=0)
    """Longest time that the first image of a batch on a GPU waits for others, seconds; a decoder needs about as long
    for one."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        """Refuse what contradicts itself."""
        if self.canary is not None and self.shadow is not None:
            msg = f"canary={self.canary!r}, shadow={self.shadow!r}: a service has one second model; give one of them"
            raise ValueError(msg)
        if self.max_replicas is not None and self.max_replicas < self.num_replicas:
            msg = f"max_replicas={self.max_replicas}: expected num_replicas={self.num_replicas} or more"
            raise ValueError(msg)
        return self
