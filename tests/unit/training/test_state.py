"""A run that is interrupted and goes on does what it would have done."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from melanoma_ray.config import Experiment, ModelConfig
from melanoma_ray.patients import NUM_FEATURES
from melanoma_ray.recipes import baseline, convnext, lite0
from melanoma_ray.training.state import TrainingState, build_state
from melanoma_ray.training.step import Stepper

PORT = SimpleNamespace(rank=0, num_workers=1, device=torch.device("cpu"))
NUM_STEPS = 6


def advance(state: TrainingState, experiment: Experiment, start: int, stop: int) -> TrainingState:
    stepper = Stepper(state, experiment, (4,) * 9, PORT)
    side = experiment.model.image_side
    for step in range(start, stop):
        random = np.random.default_rng(step)
        pixels = torch.from_numpy(random.integers(0, 256, (8, side, side, 3), dtype=np.uint8))
        target = torch.from_numpy(random.integers(0, 9, 8))
        metadata = torch.from_numpy(random.random((8, NUM_FEATURES), np.float32))
        stepper.train(pixels, metadata, target, NUM_STEPS)
    return state


@pytest.mark.parametrize(
    "experiment",
    [
        baseline(),
        replace(lite0(), model=ModelConfig(network="tf_efficientnet_lite0", dropout=0.3)),
        replace(lite0(), num_accumulations=2),
        replace(lite0(), model=replace(lite0().model, uses_metadata=True)),
        replace(convnext(), model=replace(convnext().model, pretrained=False, compile=False)),
    ],
    ids=["baseline", "lite0", "frozen, in two parts", "with metadata", "convnext, random weights"],
)
def test_a_state_that_was_saved_and_loaded_goes_on_to_the_same_weights(experiment: Experiment, tmp_path: Path) -> None:
    small = replace(
        experiment,
        model=replace(experiment.model, image_side=64),
        optimizer=replace(experiment.optimizer, ema_decay=0.9, layer_decay=0.9),
        precision="fp32",
    )
    whole = advance(build_state(small, 9, PORT.device), small, 0, 3)
    whole.save(tmp_path)
    advance(whole, small, 3, NUM_STEPS)
    resumed = build_state(small, 9, PORT.device)
    resumed.load(tmp_path)
    advance(resumed, small, 3, NUM_STEPS)
    for module in ("classifier", "evaluated"):
        ours, theirs = (getattr(state, module).state_dict() for state in (resumed, whole))
        for name, tensor in ours.items():
            assert torch.equal(tensor, theirs[name]), name


@pytest.mark.parametrize("limit", [1e-3, 1e6], ids=["too long", "short enough"])
def test_a_gradient_is_shortened_as_torch_does_it(limit: float) -> None:
    optimizer = replace(baseline().optimizer, max_gradient_norm=limit)
    experiment = replace(baseline(), model=ModelConfig(image_side=64), optimizer=optimizer, precision="fp32")
    state = advance(build_state(experiment, 9, PORT.device), experiment, 0, 1)
    parameters = list(state.classifier.parameters())
    for parameter in parameters:
        parameter.grad = torch.randn_like(parameter)
    expected = [torch.nn.Parameter(parameter.detach().clone()) for parameter in parameters]
    for ours, theirs in zip(parameters, expected, strict=True):
        theirs.grad = ours.grad.clone()
    torch.nn.utils.clip_grad_norm_(expected, limit)
    Stepper(state, experiment, (4,) * 9, PORT)._clip()
    for ours, theirs in zip(parameters, expected, strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=0, atol=0)


def test_parts_of_a_batch_add_up_to_its_gradient() -> None:
    experiment = replace(baseline(), model=ModelConfig(image_side=64), precision="fp32")
    one = advance(build_state(experiment, 9, PORT.device), experiment, 0, 2)
    parts = advance(build_state(experiment, 9, PORT.device), replace(experiment, num_accumulations=4), 0, 2)
    for ours, theirs in zip(one.classifier.parameters(), parts.classifier.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-5)
