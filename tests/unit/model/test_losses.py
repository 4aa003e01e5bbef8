"""What an image's error costs: weights of the diagnoses, focal loss, shifted logits."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from melanoma_ray.config import LossConfig
from melanoma_ray.model.losses import class_weights, logit_offsets, weighted_cross_entropy


@given(st.lists(st.integers(0, 50), min_size=2, max_size=9).filter(sum), st.sampled_from(["none", "sqrt", "balanced"]))
def test_class_weights_have_a_mean_of_one_over_the_images(
    counts: list[int], weighting: Literal["none", "sqrt", "balanced"]
) -> None:
    weights = class_weights(np.array(counts), LossConfig(class_weighting=weighting))
    assert (weights * counts).sum() == pytest.approx(sum(counts))
    assert all((weight == 0) == (count == 0) for weight, count in zip(weights, counts, strict=True))


def test_balanced_weights_give_each_diagnosis_the_same_say() -> None:
    counts = np.array([10, 40])
    weights = class_weights(counts, LossConfig(class_weighting="balanced"))
    assert weights[0] * 10 == pytest.approx(weights[1] * 40)


def test_effective_numbers_weigh_as_their_paper_says() -> None:
    weights = class_weights(np.array([10, 1000]), LossConfig(class_weighting="effective"))
    assert weights[0] / weights[1] == pytest.approx((1 - 0.999**1000) / (1 - 0.999**10))


def test_the_loss_of_an_image_doesn_t_depend_on_its_batch() -> None:
    logits, target = torch.randn(6, 3), torch.tensor([0, 1, 2, 0, 1, 2])
    scales = torch.tensor([0.5, 1.0, 2.0]), torch.zeros(3), LossConfig(label_smoothing=0.1)
    whole = weighted_cross_entropy(logits, target, *scales)
    parts = [weighted_cross_entropy(logits[i : i + 2], target[i : i + 2], *scales) for i in (0, 2, 4)]
    torch.testing.assert_close(torch.cat(parts), whole)
    by_torch = functional.cross_entropy(logits, target, label_smoothing=0.1, reduction="none")
    torch.testing.assert_close(whole, by_torch * scales[0][target])


def test_focal_loss_of_nothing_is_cross_entropy_and_more_of_it_looks_away_from_easy_images() -> None:
    logits, target = torch.tensor([[4.0, 0.0], [0.0, 4.0]]), torch.tensor([0, 0])
    plain, focal = (
        weighted_cross_entropy(logits, target, torch.ones(2), torch.zeros(2), LossConfig(focal_gamma=gamma))
        for gamma in (0.0, 2.0)
    )
    probability = logits.softmax(dim=1)[:, 0]
    torch.testing.assert_close(plain, -probability.log())
    torch.testing.assert_close(focal, (1 - probability) ** 2 * plain)


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
