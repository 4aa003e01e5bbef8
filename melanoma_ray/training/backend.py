"""The backend of a training loop: all that the loop needs of the place in which it runs.

There are two: a worker of Ray Train (here), and one process on its own (``tuning/trial.py``, and tests). Inside a
Ray Tune trial Ray Train's own functions can't be called, and a worker group takes half a minute to start, so the
loop knows only the protocol.
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
from melanoma_ray.runs.history import BEST_METRIC

STREAM = "plan"
"""Name of the stream among a trainer's datasets."""
PREFETCHED_BATCHES = 4


class Backend(Protocol):
    """A place where the loop can run."""

    rank: int
    num_workers: int
    device: torch.device

    def batches(self, batch_size: int, start_batch: int) -> Iterator[Batch]:
        """Return this worker's share of the stream, from a batch on."""

    def latest(self) -> Path | None:
        """Return the newest progress directory as a local path, if there is one."""

    def report(self, metrics: dict[str, Any], progress: Path | None) -> None:
        """Hand over an epoch's figures, or none within it, and delete the progress directory once it is copied.

        Every worker calls it, worker 0 with the directory.
        """

    def is_leaving(self) -> bool:
        """Tell whether a node of this run is about to be taken away; every worker asks together."""


class RayTrainBackend:
    """A worker of Ray Train."""

    def __init__(self) -> None:
        """Ask Ray Train who this worker is."""
        context = ray.train.get_context()
        self.rank = context.get_world_rank()
        self.num_workers = context.get_world_size()
        self.device = torch.device(assigned_device())  # Ray Train takes the first GPU where it was given none
        self._known_leaving = frozenset[str]()
        self.num_threads = max(1, usable_cpus() // context.get_local_world_size())

    def batches(self, batch_size: int, start_batch: int) -> Iterator[Batch]:  # noqa: ARG002 - the trainer cut it
        """Return this worker's shard; the trainer built the stream from the newest checkpoint's batch."""
        shard = ray.train.get_dataset_shard(STREAM)
        yield from shard.iter_batches(batch_size=batch_size, batch_format="numpy", prefetch_batches=PREFETCHED_BATCHES)

    def latest(self) -> Path | None:
        """Return the newest checkpoint, copied here if it lies elsewhere."""
        checkpoint = ray.train.get_checkpoint()
        return Path(checkpoint.to_directory()) if checkpoint else None

    def report(self, metrics: dict[str, Any], progress: Path | None) -> None:
        """Report to Ray Train, which uploads the directory while training goes on."""
        checkpoint = ray.train.Checkpoint.from_directory(progress) if progress else None
        ray.train.report(
            metrics or {BEST_METRIC: math.nan},  # Ray keeps the newest checkpoint, and the one of the best figure
            checkpoint=checkpoint,
            checkpoint_upload_mode=CheckpointUploadMode.ASYNC,
        )

    def is_leaving(self) -> bool:
        """Tell whether Ray has been told that a node drains; once for each drain."""
        info = ray.train.get_preemption_info()
        leaving = frozenset(info.preempted_node_ids) if info else frozenset[str]()
        is_new = bool(leaving - self._known_leaving)
        self._known_leaving |= leaving
        return is_new


def sum_over_workers(values: np.ndarray, backend: Backend) -> np.ndarray:
    """Return the element-wise sum of every worker's vector."""
    if backend.num_workers == 1:
        return values
    tensor = torch.from_numpy(values).to(backend.device)
    torch.distributed.all_reduce(tensor)
    return tensor.cpu().numpy()
