"""Parts of training that need no Ray: augmentation, loss, schedule, calibration, storage."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from melanoma_ray import storage
from melanoma_ray.config import AugmentationConfig, DecisionConfig, LossConfig, OptimizerConfig
from melanoma_ray.errors import DataError, DecodeError
from melanoma_ray.experiments import baseline
from melanoma_ray.imaging.augmentation import augment
from melanoma_ray.imaging.decoding import resize
from melanoma_ray.model.calibration import calibrated_probability, fit_calibration, fit_temperature
from melanoma_ray.model.losses import class_weights, weighted_cross_entropy
from melanoma_ray.model.mixup import draw_mixture
from melanoma_ray.training.schedule import learning_rate
from melanoma_ray.training.state import build_state

STILL = AugmentationConfig(
    horizontal_flip=False,
    vertical_flip=False,
    max_rotation_degrees=0,
    max_zoom_fraction=0,
    max_brightness_fraction=0,
    max_contrast_fraction=0,
    max_colour_fraction=0,
)


def square(side: int = 48) -> np.ndarray:
    rows, columns = np.mgrid[0:side, 0:side]
    return np.stack([rows * 5, columns * 5, (rows + columns) * 2], axis=2).astype(np.uint8)


def test_no_augmentation_leaves_the_image_as_it_is() -> None:
    np.testing.assert_array_equal(augment(square(), STILL, seed=1, image_side=48), square())


def test_flips_alone_give_the_four_mirror_images() -> None:
    config = replace(STILL, horizontal_flip=True, vertical_flip=True)
    found = {augment(square(), config, seed=seed, image_side=48).tobytes() for seed in range(40)}
    image = square()
    assert found == {view.tobytes() for view in (image, image[::-1], image[:, ::-1], image[::-1, ::-1])}


def test_augmented_pixels_depend_on_the_seed_alone() -> None:
    config = AugmentationConfig()
    first = augment(square(), config, seed=7, image_side=40)
    np.testing.assert_array_equal(first, augment(square(), config, seed=7, image_side=40))
    assert (first != augment(square(), config, seed=8, image_side=40)).any()


def test_warping_to_another_side_agrees_with_resizing() -> None:
    warped = augment(square(96), STILL, seed=0, image_side=48)
    assert np.abs(warped.astype(int) - resize(square(96), 48, 48).astype(int)).mean() < 4


@given(st.lists(st.integers(0, 50), min_size=2, max_size=9).filter(sum), st.sampled_from(["none", "sqrt", "balanced"]))
def test_class_weights_have_a_mean_of_one_over_the_images(counts: list[int], weighting: str) -> None:
    weights = class_weights(np.array(counts), LossConfig(class_weighting=weighting))
    assert (weights * counts).sum() == pytest.approx(sum(counts))
    assert all((weight == 0) == (count == 0) for weight, count in zip(weights, counts, strict=True))


def test_balanced_weights_give_each_diagnosis_the_same_say() -> None:
    counts = np.array([10, 40])
    weights = class_weights(counts, LossConfig(class_weighting="balanced"))
    assert weights[0] * 10 == pytest.approx(weights[1] * 40)


def test_the_loss_of_an_image_doesn_t_depend_on_its_batch() -> None:
    logits, target = torch.randn(6, 3), torch.tensor([0, 1, 2, 0, 1, 2])
    weights = torch.tensor([0.5, 1.0, 2.0])
    whole = weighted_cross_entropy(logits, target, weights, 0.1)
    parts = [weighted_cross_entropy(logits[i : i + 2], target[i : i + 2], weights, 0.1) for i in (0, 2, 4)]
    torch.testing.assert_close(torch.cat(parts), whole)


def test_the_learning_rate_warms_up_to_its_peak_and_decays_to_nothing() -> None:
    config = OptimizerConfig(learning_rate=0.1, warmup_fraction=0.1)
    rates = [learning_rate(step, 100, config) for step in range(100)]
    assert rates[0] == pytest.approx(0.01)
    assert max(rates) == rates[9] == pytest.approx(0.1)
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[-1] < 0.001
    assert {learning_rate(step, 100, replace(config, schedule="constant")) for step in range(10, 100)} == {0.1}


def test_temperature_undoes_overconfidence() -> None:
    random = np.random.default_rng(0)
    honest = random.normal(size=(4000, 3)) * 1.5
    probability = np.exp(honest) / np.exp(honest).sum(axis=1, keepdims=True)
    truth = (probability.cumsum(axis=1) > random.random((4000, 1))).argmax(axis=1)
    assert fit_temperature(3 * honest, truth) == pytest.approx(3, rel=0.1)


def test_the_threshold_refers_at_least_the_wanted_share_of_validation_melanomas() -> None:
    random = np.random.default_rng(1)
    truth = random.integers(0, 2, 300)
    logits = np.column_stack([-truth, truth]) * 1.0 + random.normal(size=(300, 2))
    found = fit_calibration(logits, truth, melanoma=1, config=DecisionConfig(target_sensitivity=0.9))
    probability = calibrated_probability(logits, found.temperature)[:, 1]
    caught = probability[truth == 1] >= found.decision_threshold
    assert 0.9 <= caught.mean() < 0.92
    assert found.num_validation_melanomas == (truth == 1).sum()


def test_a_validation_split_without_melanoma_is_refused() -> None:
    with pytest.raises(DataError, match="0 of 5 validation images are melanoma"):
        fit_calibration(np.zeros((5, 2)), np.zeros(5, int), melanoma=1, config=DecisionConfig())


def test_state_survives_its_progress_directory_to_the_bit(tmp_path: Path) -> None:
    experiment = replace(baseline(), model=replace(baseline().model, image_side=64))
    experiment = replace(experiment, optimizer=replace(experiment.optimizer, ema_decay=0.9))
    device = torch.device("cpu")
    state = build_state(experiment, 3, device)
    state.classifier(torch.zeros(2, 64, 64, 3, dtype=torch.uint8)).sum().backward()
    state.optimizer.step()
    state.average.update(state.classifier, step=1)
    state.slot, state.step = 5, 4
    state.save(tmp_path)
    other = build_state(replace(experiment, seed=9), 3, device)
    other.load(tmp_path)
    assert (other.slot, other.step) == (5, 4)
    for mine, theirs in zip(
        [*state.classifier.state_dict().values(), *state.evaluated.state_dict().values()],
        [*other.classifier.state_dict().values(), *other.evaluated.state_dict().values()],
        strict=True,
    ):
        assert torch.equal(mine, theirs)
    mine, theirs = state.optimizer.state_dict(), other.optimizer.state_dict()
    assert mine["param_groups"] == theirs["param_groups"]
    assert all(torch.equal(mine["state"][i][k], theirs["state"][i][k]) for i in mine["state"] for k in mine["state"][i])


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    name = str(tmp_path / "a" / "b.json")
    storage.write_json(name, {"x": 1})
    with pytest.raises(TypeError):
        storage.write_json(name, {"x": object()})
    assert storage.read_json(name) == {"x": 1}
    assert storage.list_files(str(tmp_path)) == [name]
    (tmp_path / "bad.json").write_text("[1")
    with pytest.raises(DataError, match="not JSON"):
        storage.read_json(str(tmp_path / "bad.json"))
    with pytest.raises(DataError, match="expected a local path or an address"):
        storage.resolve("gopher://x/y")


def test_an_error_with_fields_survives_pickling() -> None:
    error = pickle.loads(pickle.dumps(DecodeError("truncated", "after 12 bytes")))
    assert (error.fault, error.detail, str(error)) == ("truncated", "after 12 bytes", "truncated: after 12 bytes")


def test_blending_is_drawn_from_torch_s_seed_and_keeps_most_of_each_image() -> None:
    pixels = torch.randint(0, 256, (6, 8, 8, 3), dtype=torch.uint8)
    torch.manual_seed(3)
    mixture = draw_mixture(6, 0.4)
    torch.manual_seed(3)
    again = draw_mixture(6, 0.4)
    assert mixture.share == again.share
    assert torch.equal(mixture.partner, again.partner)
    assert all(0.5 <= draw_mixture(2, 1.0).share <= 1 for _ in range(50))
    expected = mixture.share * pixels.float() + (1 - mixture.share) * pixels[mixture.partner].float()
    torch.testing.assert_close(mixture.mix(pixels), expected)


def test_an_alpha_of_zero_leaves_the_batch_and_the_random_numbers_alone() -> None:
    pixels = torch.zeros(4, 8, 8, 3, dtype=torch.uint8)
    state = torch.random.get_rng_state()
    assert draw_mixture(4, 0.0).mix(pixels) is pixels
    assert torch.equal(torch.random.get_rng_state(), state)
