"""What training changes is saved and loaded to the bit, and goes on as it would have."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

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


@pytest.mark.parametrize(
    ("weight_decay", "layer_decay"), [((0.0, 0.05), (1.0, 1.0)), ((0.05, 0.0), (1.0, 1.0)), ((0.05, 0.05), (1.0, 0.7))]
)
def test_moments_stay_with_their_parameters_where_other_settings_group_them_otherwise(
    weight_decay: tuple[float, float], layer_decay: tuple[float, float], tmp_path: Path
) -> None:
    before, after = (
        replace(
            lite0(),
            model=ModelConfig(network="tf_efficientnet_lite0", image_side=64),
            optimizer=replace(lite0().optimizer, weight_decay=decay, layer_decay=layers),
            precision="fp32",
        )
        for decay, layers in zip(weight_decay, layer_decay, strict=True)
    )
    parent = advance(build_state(before, 9, CPU_BACKEND.device), before, 0, 2)
    parent.save(tmp_path)
    child = build_state(after, 9, CPU_BACKEND.device)
    child.load(tmp_path)
    theirs = dict(parent.classifier.named_parameters())
    for name, parameter in child.classifier.named_parameters():
        for moment, value in child.optimizer.state[parameter].items():
            assert torch.equal(value, parent.optimizer.state[theirs[name]][moment]), (name, moment)
    advance(child, after, 2, NUM_STEPS)
    assert all(torch.isfinite(parameter).all() for parameter in child.classifier.parameters())


def test_progress_of_an_earlier_version_goes_on(tmp_path: Path) -> None:
    """It had the optimizer's own numbers in place of the parameters' names."""
    experiment = replace(baseline(), model=replace(baseline().model, image_side=64), precision="fp32")
    state = advance(build_state(experiment, 9, CPU_BACKEND.device), experiment, 0, 2)
    state.save(tmp_path)
    tensors = {k: v for k, v in load_file(tmp_path / "progress.safetensors").items() if not k.startswith("optimizer.")}
    for number, moments in state.optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{number}.{name}": torch.as_tensor(value) for name, value in moments.items()}
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, tmp_path / "progress.safetensors")
    resumed = build_state(experiment, 9, CPU_BACKEND.device)
    resumed.load(tmp_path)
    for one in (state, resumed):
        advance(one, experiment, 2, NUM_STEPS)
    for ours, theirs in zip(resumed.classifier.parameters(), state.classifier.parameters(), strict=True):
        assert torch.equal(ours, theirs)


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
