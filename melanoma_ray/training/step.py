"""One optimizer step: mix images, forward, backward, clip gradients, update weights."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import cast

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from melanoma_ray.config import SAMPLING_EXPONENTS, Experiment
from melanoma_ray.model.depthwise import speed_up_depthwise
from melanoma_ray.model.losses import class_weights, logit_offsets, weighted_cross_entropy
from melanoma_ray.model.mixing import Mixture, draw_mixture
from melanoma_ray.model.precision import autocast_dtype
from melanoma_ray.runs.history import StepFigures
from melanoma_ray.training.backend import Backend
from melanoma_ray.training.schedule import learning_rate
from melanoma_ray.training.state import TrainingState


class Stepper:
    """The network wrapped for training, and one optimizer step of it."""

    def __init__(
        self, state: TrainingState, experiment: Experiment, num_images: tuple[int, ...], backend: Backend
    ) -> None:
        """Wrap the network for gradient averaging and compilation.

        Args:
            state: State of the run, which each step changes.
            experiment: Experiment of the run.
            num_images: Number of images of the train split by diagnosis, in the order of the network's outputs.
            backend: Backend of this worker.
        """
        self.state, self.experiment, self.rank = state, experiment, backend.rank
        self.device = backend.device
        weights = class_weights(np.array(num_images), experiment.loss)
        self.class_weights = torch.tensor(weights, dtype=torch.float32, device=self.device)
        offsets = logit_offsets(np.array(num_images), SAMPLING_EXPONENTS[experiment.sampling], experiment.loss)
        self.logit_offsets = torch.tensor(offsets, dtype=torch.float32, device=self.device)
        self.dtype = autocast_dtype(experiment.precision, backend.device)
        if self.device.type == "cpu" and self.dtype == torch.bfloat16:
            speed_up_depthwise(state.classifier)
        self.network = _distribute(state, backend)
        self._train: Callable[[Tensor, Tensor], Tensor] = (
            torch.compile(self.network) if experiment.model.compile else self.network
        )

    def train(self, pixels: Tensor, metadata: Tensor, target: Int[Tensor, " image"], num_steps: int) -> StepFigures:
        """Do one optimizer step and return this worker's sums.

        Args:
            pixels: Pixels of this worker's share of the batch, uint8 of shape image × side × side × 3.
            metadata: Metadata of the same images, from ``encode_metadata``.
            target: Target of the same images.
            num_steps: Number of optimizer steps of the whole run.
        """
        state, config = self.state, self.experiment
        torch.manual_seed(_dropout_seed(config.seed, state.step, self.rank))
        rate = learning_rate(state.step, num_steps, config.optimizer)
        for group in state.optimizer.param_groups:
            group["lr"] = rate * group["rate_scale"]
        self.network.train()
        state.optimizer.zero_grad(set_to_none=True)
        figures = self._backward(pixels, metadata, target)
        self._clip()
        state.optimizer.step()
        state.step += 1
        if state.average is not None:
            state.average.update(state.classifier, step=state.step)
        return figures

    def _backward(self, pixels: Tensor, metadata: Tensor, target: Tensor) -> StepFigures:
        num_parts = self.experiment.num_accumulations
        loss_sum = torch.zeros((), device=self.device)
        num_correct = torch.zeros((), dtype=torch.int64, device=self.device)
        size = len(target) // num_parts  # without a remainder, which check_batch_size has refused
        chunks = (torch.split(whole, size) for whole in (pixels, metadata, target))
        for part, (some_pixels, some_metadata, some_target) in enumerate(zip(*chunks, strict=True)):
            is_last = part == num_parts - 1
            with nullcontext() if is_last else self._without_averaging():
                mixture = draw_mixture(len(some_target), some_pixels.shape[1], self.experiment.augmentation)
                logits = self.forward(self._train, mixture.mix(some_pixels), mixture.blend(some_metadata))
                losses = self._losses(logits, some_target, mixture)
                torch.autograd.backward(losses.sum() / len(target))
            loss_sum += losses.detach().sum()
            num_correct += (logits.argmax(dim=1) == some_target).sum()
        return StepFigures(loss_sum=float(loss_sum), num_correct=int(num_correct), num_images=len(target))

    def _clip(self) -> None:
        """Scale the gradient down to the largest norm allowed.

        On a CPU a shorter gradient isn't touched, which saves a pass over memory. On a GPU it is scaled by 1 instead,
        because the comparison would wait until the GPU has computed the norm.
        """
        limit, parameters = self.experiment.optimizer.max_gradient_norm, list(self.state.classifier.parameters())
        norm = nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
        if self.device.type != "cpu" or norm > limit:
            nn.utils.clip_grads_with_norm_(parameters, limit, norm)

    def _without_averaging(self) -> nullcontext[None]:
        """Return a context in which gradients aren't averaged over the workers."""
        if isinstance(self.network, DistributedDataParallel):
            return cast("nullcontext[None]", self.network.no_sync())
        return nullcontext()

    def _losses(self, logits: Tensor, target: Tensor, mixture: Mixture) -> Tensor:
        scales = self.class_weights, self.logit_offsets, self.experiment.loss
        losses = weighted_cross_entropy(logits, target, *scales)
        if mixture.share == 1:
            return losses
        partner = weighted_cross_entropy(logits, target[mixture.partner], *scales)
        return mixture.share * losses + (1 - mixture.share) * partner

    def forward(self, network: Callable[[Tensor, Tensor], Tensor], pixels: Tensor, metadata: Tensor) -> Tensor:
        """Return logits, computed in the experiment's precision."""
        is_mixed = self.dtype != torch.float32
        with torch.autocast(self.device.type, self.dtype) if is_mixed else nullcontext():
            return torch.as_tensor(network(pixels, metadata))


def _distribute(state: TrainingState, backend: Backend) -> nn.Module:
    """Return the network, wrapped for gradient averaging if there are several workers.

    Running statistics of batch norm aren't synchronised in training, which doesn't use them. Validation uses those of
    worker 0, which it gives to all workers before each pass.
    """
    if backend.num_workers == 1:
        return state.classifier
    devices = [backend.device] if backend.device.type == "cuda" else None
    return DistributedDataParallel(
        state.classifier, device_ids=devices, forward_sync_buffers=False, gradient_as_bucket_view=True
    )


def _dropout_seed(seed: int, step: int, rank: int) -> int:
    """Return a seed for each (seed, step, worker), distinct for fewer than 1,000,003 steps and 1,009 workers."""
    return (seed * 1_000_003 + step) * 1_009 + rank
