"""What training changes is saved and loaded to the bit, and goes on as it would have."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from melanoma_ray.config import Experiment, ModelConfig
from melanoma_ray.recipes import baseline, convnext, lite0
from melanoma_ray.training.state import build_state
from tests.unit.training.stepping import CPU_BACKEND, NUM_STEPS, advance


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
    whole = advance(build_state(small, 9, CPU_BACKEND.device), small, 0, 3)
    whole.save(tmp_path)
    advance(whole, small, 3, NUM_STEPS)
    resumed = build_state(small, 9, CPU_BACKEND.device)
    resumed.load(tmp_path)
    advance(resumed, small, 3, NUM_STEPS)
    for module in ("classifier", "evaluated"):
        ours, theirs = (getattr(state, module).state_dict() for state in (resumed, whole))
        for name, tensor in ours.items():
            assert torch.equal(tensor, theirs[name]), name


def test_state_survives_its_progress_directory_to_the_bit(tmp_path: Path) -> None:
    experiment = replace(baseline(), model=replace(baseline().model, image_side=64))
    experiment = replace(experiment, optimizer=replace(experiment.optimizer, ema_decay=0.9))
    device = torch.device("cpu")
    state = build_state(experiment, 3, device)
    state.classifier(torch.zeros(2, 64, 64, 3, dtype=torch.uint8)).sum().backward()
    state.optimizer.step()
    assert state.average is not None
    state.average.update(state.classifier, step=1)
    state.batch_index, state.step = 5, 4
    state.save(tmp_path)
    other = build_state(replace(experiment, seed=9), 3, device)
    other.load(tmp_path)
    assert (other.batch_index, other.step) == (5, 4)
    for mine, theirs in zip(
        [*state.classifier.state_dict().values(), *state.evaluated.state_dict().values()],
        [*other.classifier.state_dict().values(), *other.evaluated.state_dict().values()],
        strict=True,
    ):
        assert torch.equal(mine, theirs)
    mine, theirs = state.optimizer.state_dict(), other.optimizer.state_dict()
    assert mine["param_groups"] == theirs["param_groups"]
    assert all(torch.equal(mine["state"][i][k], theirs["state"][i][k]) for i in mine["state"] for k in mine["state"][i])
