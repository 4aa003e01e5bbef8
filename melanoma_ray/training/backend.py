"""The backend of a training loop: all that the loop needs from the place where it runs.

There are two: a worker of Ray Train (here), and a single process (``tuning/trial.py``, and tests). The loop uses only
the protocol, because Ray Train's own functions can't be called inside a Ray Tune trial, and a worker group takes half
a minute to start.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import ray.train
import torch
import torch.distributed
from ray.train import CheckpointUploadMode

from melanoma_ray.cluster.resources import assigned_device, usable_cpus
from melanoma_ray.loading.stream import Batch
from melanoma_ray.runs.history import RANKING_METRICS

STREAM = "plan"
"""Name of the stream among a trainer's datasets."""
PREFETCHED_BATCHES = 4


class Backend(Protocol):
    """A place where the loop can run, as one worker sees it."""

    rank: int
    """Number of this worker, from 0."""
    num_workers: int
    """Number of workers of the run."""
    device: torch.device
    """Device of this worker's network."""

    def batches(self, batch_size: int, start_batch: int) -> Iterator[Batch]:
        """Yield this worker's share of each global batch, from one on.

        Args:
            batch_size: Number of images of the share.
            start_batch: Batch index of the first batch.
        """

    def latest(self) -> Path | None:
        """Return the newest progress directory as a local path; none: the run is at its start."""

    def report(self, metrics: dict[str, Any], progress: Path | None) -> None:
        """Report an epoch's metrics and save a progress directory, which is deleted when it has been copied.

        All workers must call it together.

        Args:
            metrics: Metrics of the epoch; empty within an epoch.
            progress: Directory to save; worker 0 has one, all others have none.
        """

    def is_leaving(self) -> bool:
        """Return whether a node of this run is about to be removed; all workers must call it together."""


class RayTrainBackend:
    """A worker of Ray Train."""

    def __init__(self) -> None:
        """Get this worker's rank, device and threads from Ray Train."""
        context = ray.train.get_context()
        self.rank = context.get_world_rank()
        self.num_workers = context.get_world_size()
        self.device = torch.device(assigned_device())  # Ray Train takes the first GPU where it was given none
        self._known_leaving = frozenset[str]()
        self.num_threads = max(1, usable_cpus() // context.get_local_world_size())

    def batches(self, batch_size: int, start_batch: int) -> Iterator[Batch]:  # noqa: ARG002 - see below
        """Yield this worker's share; ``start_batch`` isn't used, since the trainer has started the stream there."""
        shard = ray.train.get_dataset_shard(STREAM)
        yield from shard.iter_batches(batch_size=batch_size, batch_format="numpy", prefetch_batches=PREFETCHED_BATCHES)

    def latest(self) -> Path | None:
        """Return the newest progress directory, copied to this machine if it isn't here."""
        checkpoint = ray.train.get_checkpoint()
        return Path(checkpoint.to_directory()) if checkpoint else None

    def report(self, metrics: dict[str, Any], progress: Path | None) -> None:
        """Report to Ray Train, which uploads the directory while training continues."""
        checkpoint = ray.train.Checkpoint.from_directory(progress) if progress else None
        # Ray keeps the newest and the best, and needs a figure even within an epoch and where one isn't defined.
        unknown = {name: math.nan for name in RANKING_METRICS if metrics.get(name) is None}
        ray.train.report(
            metrics | unknown,
            checkpoint=checkpoint,
            checkpoint_upload_mode=CheckpointUploadMode.ASYNC,
        )

    def is_leaving(self) -> bool:
        """Return whether Ray has announced that a node will be removed; true only once for each node."""
        info = ray.train.get_preemption_info()
        leaving = frozenset(info.preempted_node_ids) if info else frozenset[str]()
        is_new = bool(leaving - self._known_leaving)
        self._known_leaving |= leaving
        return is_new


def sum_over_workers(values: np.ndarray, backend: Backend) -> np.ndarray:
    """Return the element-wise sum of all workers' vectors; all workers must call it together.

    Args:
        values: This worker's vector.
        backend: Backend of this worker.
    """
    if backend.num_workers == 1:
        return values
    tensor = torch.from_numpy(values).to(backend.device)
    torch.distributed.all_reduce(tensor)
    return tensor.cpu().numpy()
