"""Steps on batches of noise, without a loop around them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from melanoma_ray.config import Experiment
from melanoma_ray.loading.stream import Batch
from melanoma_ray.patients import NUM_FEATURES
from melanoma_ray.training.state import TrainingState
from melanoma_ray.training.step import Stepper

NUM_STEPS = 6


class SteppingBackend:
    """A place for single steps: it has no stream and keeps nothing."""

    rank, num_workers = 0, 1

    def __init__(self, device: str) -> None:
        self.device = torch.device(device)

    def batches(self, batch_size: int, start_batch: int) -> Iterator[Batch]:
        raise NotImplementedError

    def latest(self) -> Path | None:
        return None

    def report(self, metrics: dict[str, Any], progress: Path | None) -> None:
        raise NotImplementedError

    def is_leaving(self) -> bool:
        return False


CPU_BACKEND = SteppingBackend("cpu")


def advance(state: TrainingState, experiment: Experiment, start: int, stop: int) -> TrainingState:
    stepper = Stepper(state, experiment, (4,) * 9, CPU_BACKEND)
    side = experiment.model.image_side
    for step in range(start, stop):
        random = np.random.default_rng(step)
        pixels = torch.from_numpy(random.integers(0, 256, (8, side, side, 3), dtype=np.uint8))
        target = torch.from_numpy(random.integers(0, 9, 8))
        metadata = torch.from_numpy(random.random((8, NUM_FEATURES), np.float32))
        stepper.train(pixels, metadata, target, NUM_STEPS)
    return state
