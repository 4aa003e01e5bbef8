"""Parts of training that need no Ray: loss, schedule, calibration, storage."""

from __future__ import annotations

import itertools
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from melanoma_ray import storage
from melanoma_ray.config import DecisionConfig, LossConfig, ModelConfig, OptimizerConfig
from melanoma_ray.errors import DataError, DecodeError
from melanoma_ray.inference.predictor import views
from melanoma_ray.loading.device_prefetch import prefetch_to_device
from melanoma_ray.model.calibration import calibrated_probability, fit_calibration, fit_temperature
from melanoma_ray.model.losses import class_weights, logit_offsets, weighted_cross_entropy
from melanoma_ray.model.networks import build_classifier
from melanoma_ray.recipes import baseline
from melanoma_ray.training.schedule import build_optimizer, learning_rate
from melanoma_ray.training.state import build_state


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
    scales = torch.tensor([0.5, 1.0, 2.0]), torch.zeros(3), LossConfig(label_smoothing=0.1)
    whole = weighted_cross_entropy(logits, target, *scales)
    parts = [weighted_cross_entropy(logits[i : i + 2], target[i : i + 2], *scales) for i in (0, 2, 4)]
    torch.testing.assert_close(torch.cat(parts), whole)
    by_torch = functional.cross_entropy(logits, target, label_smoothing=0.1, reduction="none")
    torch.testing.assert_close(whole, by_torch * scales[0][target])


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


def test_focal_loss_of_nothing_is_cross_entropy_and_more_of_it_looks_away_from_easy_images() -> None:
    logits, target = torch.tensor([[4.0, 0.0], [0.0, 4.0]]), torch.tensor([0, 0])
    plain, focal = (
        weighted_cross_entropy(logits, target, torch.ones(2), torch.zeros(2), LossConfig(focal_gamma=gamma))
        for gamma in (0.0, 2.0)
    )
    probability = logits.softmax(dim=1)[:, 0]
    torch.testing.assert_close(plain, -probability.log())
    torch.testing.assert_close(focal, (1 - probability) ** 2 * plain)


def test_effective_numbers_weigh_as_their_paper_says() -> None:
    weights = class_weights(np.array([10, 1000]), LossConfig(class_weighting="effective"))
    assert weights[0] / weights[1] == pytest.approx((1 - 0.999**1000) / (1 - 0.999**10))


def test_logits_shifted_by_what_is_shown_leave_the_network_to_answer_as_if_all_were_as_frequent() -> None:
    counts = np.array([30, 10, 0])
    offsets = logit_offsets(counts, 0.0, LossConfig(logit_adjustment=1.0))
    np.testing.assert_allclose(np.exp(offsets), [30 / 41, 10 / 41, 1 / 41])
    np.testing.assert_allclose(logit_offsets(counts, -1.0, LossConfig(logit_adjustment=1.0)), np.log([1 / 3] * 3))
    assert not logit_offsets(counts, 0.0, LossConfig()).any()


@pytest.mark.parametrize(
    ("config", "odds"),
    [
        (LossConfig(), 3.0),
        (LossConfig(logit_adjustment=1.0), 1.0),
        (LossConfig(logit_adjustment=1.0, label_smoothing=0.2), 1.0),  # spread evenly it would come to 0.78
    ],
)
def test_training_with_shifted_logits_frees_the_answer_of_how_often_a_diagnosis_is_shown(
    config: LossConfig, odds: float
) -> None:
    """Nothing is in the pictures, and one diagnosis has three times the images of the other."""
    target = torch.tensor([0, 0, 0, 1])
    logits = torch.zeros(2, requires_grad=True)
    optimizer = torch.optim.SGD([logits], lr=0.3)
    offsets = torch.from_numpy(logit_offsets(np.array([3, 1]), 0.0, config)).float()
    for _ in range(200):
        optimizer.zero_grad()
        losses = weighted_cross_entropy(logits.expand(4, 2), target, torch.ones(2), offsets, config)
        torch.autograd.backward(losses.mean())
        optimizer.step()
    assert float((logits[0] - logits[1]).detach().exp()) == pytest.approx(odds, rel=0.01)


def test_layer_decay_slows_each_layer_by_the_same_factor() -> None:
    classifier = build_classifier(ModelConfig(network="tf_efficientnet_lite0"), 3)
    optimizer = build_optimizer(classifier, OptimizerConfig(layer_decay=0.5, weight_decay=0.1))
    scale_of = {id(p): group["rate_scale"] for group in optimizer.param_groups for p in group["params"]}
    network = dict(classifier.network.named_parameters())
    assert len(scale_of) == len(network)
    assert scale_of[id(network["classifier.weight"])] == 1
    scales = sorted(set(scale_of.values()))
    assert all(later == 2 * earlier for earlier, later in itertools.pairwise(scales))
    assert scale_of[id(network["conv_stem.weight"])] == scales[0]


def test_eight_views_are_the_eight_ways_to_lay_a_square() -> None:
    pixels = torch.arange(2 * 3 * 3 * 1).view(2, 3, 3, 1)
    seen = {view[0].numpy().tobytes() for view in views(pixels, 8)}
    turned = [np.rot90(side, k) for side in (pixels[0].numpy(), pixels[0].numpy()[:, ::-1]) for k in range(4)]
    assert seen == {np.ascontiguousarray(view).tobytes() for view in turned}
    for num_views in (1, 2, 4, 8):
        found = list(views(pixels, num_views))
        assert len(found) == num_views
        assert torch.equal(found[0], pixels)


def test_the_network_gets_arrays_of_its_own_in_order() -> None:
    sent = [
        {
            "batch_index": np.full(2, batch_index),
            "pixels": np.full((2, 4, 4, 3), batch_index, np.uint8),
            "metadata": np.zeros((2, 3), np.float32),
            "target": np.array([batch_index, -1]),
        }
        for batch_index in range(3)
    ]
    for array in (array for batch in sent for array in batch.values()):
        array.flags.writeable = False  # as in the object store
    for batch_index, batch in enumerate(prefetch_to_device(sent, torch.device("cpu"))):
        assert batch.batch_index.tolist() == [batch_index, batch_index]
        assert batch.target.tolist() == [batch_index, -1]
        assert (batch.pixels == batch_index).all()
        batch.pixels.add_(1)
    assert batch_index == 2
    assert (sent[1]["pixels"] == 1).all()
