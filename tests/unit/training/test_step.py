"""One optimizer step: the gradient, whole or in parts, and its length."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from melanoma_ray.config import AugmentationConfig, LossConfig, ModelConfig
from melanoma_ray.patients import nothing_known
from melanoma_ray.recipes import baseline
from melanoma_ray.training.loop import Worker
from melanoma_ray.training.state import build_state
from melanoma_ray.training.step import Stepper
from tests.unit.training.local_backend import EXPERIMENT, SIDE, Images, LocalBackend, build_job
from tests.unit.training.stepping import CPU_BACKEND, advance


@pytest.mark.parametrize("limit", [1e-3, 1e6], ids=["too long", "short enough"])
def test_a_gradient_is_shortened_as_torch_does_it(limit: float) -> None:
    optimizer = replace(baseline().optimizer, max_gradient_norm=limit)
    experiment = replace(baseline(), model=ModelConfig(image_side=64), optimizer=optimizer, precision="fp32")
    state = advance(build_state(experiment, 9, CPU_BACKEND.device), experiment, 0, 1)
    parameters = list(state.classifier.parameters())
    expected = [torch.nn.Parameter(parameter.detach().clone()) for parameter in parameters]
    for ours, theirs in zip(parameters, expected, strict=True):
        gradient = torch.randn_like(ours)
        ours.grad, theirs.grad = gradient, gradient.clone()
    torch.nn.utils.clip_grad_norm_(expected, limit)
    Stepper(state, experiment, (4,) * 9, CPU_BACKEND)._clip()
    for ours, theirs in zip(parameters, expected, strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=0, atol=0)


def test_parts_of_a_batch_add_up_to_its_gradient() -> None:
    experiment = replace(baseline(), model=ModelConfig(image_side=64), precision="fp32")
    one = advance(build_state(experiment, 9, CPU_BACKEND.device), experiment, 0, 2)
    parts = advance(build_state(experiment, 9, CPU_BACKEND.device), replace(experiment, num_accumulations=4), 0, 2)
    for ours, theirs in zip(one.classifier.parameters(), parts.classifier.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-5)


def test_a_step_s_loss_is_that_of_the_shifted_logits(tmp_path: Path) -> None:
    plain = replace(EXPERIMENT, model=ModelConfig(image_side=SIDE, dropout=0.0), augmentation=AugmentationConfig())
    shifted = replace(plain, loss=LossConfig(logit_adjustment=1.0))
    job = replace(build_job(shifted), num_train_images=(90, 9, 1))
    worker = Worker(job, LocalBackend(job, tmp_path / "run"))
    pixels, target = torch.from_numpy(Images().pixels[:6]), torch.from_numpy(Images().target[:6])
    metadata = torch.from_numpy(nothing_known(6))
    with torch.inference_mode():
        logits = worker.state.classifier(pixels) + torch.log(torch.tensor([0.9, 0.09, 0.01]))
        expected = torch.nn.functional.cross_entropy(logits, target, reduction="sum")
    assert worker.stepper.train(pixels, metadata, target, 1).loss_sum == pytest.approx(float(expected), rel=1e-5)
