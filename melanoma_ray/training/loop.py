"""What every worker does, whoever runs it."""

from __future__ import annotations

import logging
import tempfile
import time
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
import torch.distributed
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from melanoma_ray.config import Experiment
from melanoma_ray.data.plan import SamplingPlan, check_batch_size
from melanoma_ray.errors import DataError
from melanoma_ray.model.losses import class_weights, weighted_cross_entropy
from melanoma_ray.model.mixup import draw_mixture
from melanoma_ray.model.precision import autocast_dtype
from melanoma_ray.training.history import EpochRecord, Tally
from melanoma_ray.training.port import Batch, RunPort, sum_over_workers
from melanoma_ray.training.schedule import learning_rate
from melanoma_ray.training.state import TrainingState, build_state

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingJob:
    """What a worker must know besides its share of the stream."""

    experiment: Experiment
    plan: SamplingPlan
    num_train_images: tuple[int, ...]
    """Of each diagnosis, in the order of the network's outputs."""


class Worker:
    """One worker's network and sums; ``run`` is its table of contents."""

    def __init__(self, job: TrainingJob, port: RunPort) -> None:
        """Build the network and go on from the newest checkpoint."""
        self.job, self.port = job, port
        self.experiment = job.experiment
        num_diagnoses = len(job.num_train_images)
        self.state = build_state(self.experiment, num_diagnoses, port.device)
        if (directory := port.latest()) is not None:
            self.state.load(directory)
        self.network = _distribute(self.state, port)
        weights = class_weights(np.array(job.num_train_images), self.experiment.loss)
        self.class_weights = torch.tensor(weights, dtype=torch.float32, device=port.device)
        self.dtype = autocast_dtype(self.experiment.precision, port.device)
        self.tally = Tally(num_diagnoses)

    def run(self) -> list[EpochRecord]:
        """Train to the end of the plan; return the history."""
        plan = self.job.plan
        for batch in self._batches():
            if plan.is_training(self.state.slot):
                self._train_step(batch)
            else:
                self._validate(batch)
            self.state.slot += 1
            if self._epoch_is_over():
                self._report()
        return self.state.history

    def _batches(self) -> Iterator[Batch]:
        """Yield this worker's batches and check that each is the one that the plan says."""
        plan, port = self.job.plan, self.port
        check_batch_size(plan.global_batch_size, port.num_workers)
        if self.state.slot >= plan.num_slots:
            return
        stream = port.batches(plan.global_batch_size // port.num_workers, self.state.slot)
        asked = time.perf_counter()
        for batch in stream:
            if not (batch["slot"] == self.state.slot).all():
                msg = f"worker {port.rank} got slot {batch['slot'][0]} of the plan instead of {self.state.slot}"
                raise DataError(msg)
            if plan.is_training(self.state.slot):
                self.tally.waiting_s += time.perf_counter() - asked
            yield batch
            if plan.is_training(self.state.slot - 1):
                self.tally.training_s += time.perf_counter() - asked
            asked = time.perf_counter()

    def _train_step(self, batch: Batch) -> None:
        state, config = self.state, self.experiment.optimizer
        torch.manual_seed(_dropout_seed(self.experiment.seed, state.step, self.port.rank))
        for group in state.optimizer.param_groups:
            group["lr"] = learning_rate(state.step, self.job.plan.num_steps, config)
        pixels, target = self._to_device(batch)
        mixture = draw_mixture(len(target), self.experiment.augmentation.mixup_alpha)
        self.network.train()
        logits = self._forward(self.network, mixture.mix(pixels))
        losses = self._loss(logits, target)
        if mixture.share < 1:
            losses = mixture.share * losses + (1 - mixture.share) * self._loss(logits, target[mixture.partner])
        state.optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(losses.mean())
        nn.utils.clip_grad_norm_(state.classifier.parameters(), config.max_gradient_norm)
        state.optimizer.step()
        state.step += 1
        if state.average is not None:
            state.average.update(state.classifier, step=state.step)
        correct = int((logits.argmax(dim=1) == target).sum())
        self.tally.add_training(float(losses.detach().sum()), correct, len(target))

    def _loss(self, logits: Tensor, target: Tensor) -> Tensor:
        return weighted_cross_entropy(logits, target, self.class_weights, self.experiment.loss.label_smoothing)

    @torch.inference_mode()
    def _validate(self, batch: Batch) -> None:
        pixels, target = self._to_device(batch)
        known = target >= 0
        evaluated = self.state.evaluated.eval()
        if self.job.plan.is_training(self.state.slot - 1):
            _share_buffers(evaluated, self.port)
        logits = self._forward(evaluated, pixels)[known]
        loss = nn.functional.cross_entropy(logits, target[known], reduction="sum")
        self.tally.add_validation(float(loss), logits.argmax(dim=1).cpu().numpy(), target[known].cpu().numpy())

    def _forward(self, network: nn.Module, pixels: Tensor) -> Tensor:
        device = self.port.device.type
        context = torch.autocast(device, self.dtype) if self.dtype != torch.float32 else nullcontext()
        with context:
            return torch.as_tensor(network(pixels))

    def _to_device(self, batch: Batch) -> tuple[Tensor, Tensor]:
        # A copy: the array lives read-only in the object store, and torch refuses to promise not to write.
        pixels, target = (torch.from_numpy(np.array(batch[name])) for name in ("pixels", "target"))
        return pixels.to(self.port.device), target.to(self.port.device)

    def _epoch_is_over(self) -> bool:
        """True after the last validation slot of a pass."""
        plan, slot = self.job.plan, self.state.slot
        return not plan.is_training(slot - 1) and (slot == plan.num_slots or plan.is_training(slot))

    def _report(self) -> None:
        state = self.state
        total = sum_over_workers(self.tally.sums(), self.port)
        record = self.tally.record(total, epoch=len(state.history) + 1, step=state.step)
        state.history.append(record)
        self.tally = Tally(self.tally.num_diagnoses)
        if self.port.rank == 0:
            logger.info(describe(record, len(self.job.plan.last_steps)))
        with tempfile.TemporaryDirectory() as temporary:
            progress = Path(temporary) if self.port.rank == 0 else None
            if progress is not None:
                state.save(progress)
            self.port.report(asdict(record), progress)


def describe(record: EpochRecord, num_epochs: int) -> str:
    """Return one line for a person."""
    return (
        f"epoch {record.epoch}/{num_epochs}  loss {record.train_loss:.3f}  accuracy {record.train_accuracy:.3f}"
        f"  |  val loss {record.val_loss:.3f}  accuracy {record.val_accuracy:.3f}"
        f"  balanced {record.val_balanced_accuracy:.3f}  |  {record.images_per_s:.0f} images/s"
        f"  {record.waiting_fraction:.0%} waiting"
    )


def _distribute(state: TrainingState, port: RunPort) -> nn.Module:
    """Wrap for gradient averaging where there are several workers."""
    if port.num_workers == 1:
        return state.classifier
    devices = [port.device] if port.device.type == "cuda" else None
    return DistributedDataParallel(state.classifier, device_ids=devices)


def _share_buffers(network: nn.Module, port: RunPort) -> None:
    """Give all workers worker 0's batch norm statistics, the ones that are saved, before they validate."""
    if port.num_workers > 1:
        for buffer in network.buffers():
            torch.distributed.broadcast(buffer, src=0)


def _dropout_seed(seed: int, step: int, rank: int) -> int:
    """Return a seed of its own for each step and worker; primes keep them from meeting."""
    return (seed * 1_000_003 + step) * 1_009 + rank
