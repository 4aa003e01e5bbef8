"""Figures of a validation pass: sums over workers give what all images together give."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import softmax

from melanoma_ray.metrics.ranking import auroc, estimate_auroc
from melanoma_ray.runs.history import Tally
from melanoma_ray.runs.validation import NUM_BINS, count_scores, measure_scores

RANDOM = np.random.default_rng(0)
TARGET = RANDOM.integers(0, 3, 400)
LOGITS = (RANDOM.normal(0, 1.5, (400, 3)) + 1.5 * np.eye(3)[TARGET]).astype(np.float32)


def test_the_histograms_of_two_workers_give_the_auroc_of_all_images() -> None:
    is_referred = TARGET == 1
    halves = [count_scores(LOGITS[part], [1], is_referred[part]) for part in (slice(0, 150), slice(150, None))]
    found = measure_scores(halves[0] + halves[1])
    exact = estimate_auroc(softmax(LOGITS, axis=1)[:, 1].astype(np.float64), is_referred)
    assert found["val_melanoma_auroc"] == pytest.approx(exact.value, abs=1e-3)
    assert found["val_melanoma_auroc_low"] == pytest.approx(exact.low, abs=1e-3)
    assert found["val_melanoma_auroc_high"] == pytest.approx(exact.high, abs=1e-3)


def test_the_specificity_is_that_at_95_percent_sensitivity() -> None:
    is_referred = TARGET == 1
    found = measure_scores(count_scores(LOGITS, [1], is_referred))["val_specificity"]
    score = softmax(LOGITS, axis=1)[:, 1]
    threshold = np.sort(score[is_referred])[int(0.05 * is_referred.sum())]
    assert found == pytest.approx((score[~is_referred] < threshold).mean(), abs=0.02)


def test_the_score_of_several_referred_diagnoses_is_that_of_their_sum() -> None:
    is_referred = TARGET != 0
    found = measure_scores(count_scores(LOGITS, [1, 2], is_referred))["val_melanoma_auroc"]
    assert found == pytest.approx(auroc(1.0 - softmax(LOGITS, axis=1)[:, 0], is_referred), abs=1e-3)


def test_without_images_to_refer_the_figures_are_none() -> None:
    assert set(measure_scores(count_scores(LOGITS, [1], np.zeros(400, bool))).values()) == {None}
    assert set(measure_scores(count_scores(LOGITS, [], np.zeros(400, bool))).values()) == {None}


def test_images_whose_logits_are_no_numbers_are_in_no_histogram() -> None:
    broken = LOGITS.copy()
    broken[:10] = np.nan
    assert count_scores(broken, [1], TARGET == 1).sum() == 390


def test_an_epoch_that_was_begun_before_scores_were_kept_goes_on_without_them() -> None:
    first, second = Tally(3, [1]), Tally(3, [1])
    first.add_validation(1.0, LOGITS, TARGET)
    second.load(first.sums()[: 7 + 9])
    assert (second.confusion == first.confusion).all()
    assert second.scores.sum() == 0
    second.load(first.sums())
    assert (second.scores == first.scores).all()
    assert second.scores.shape == (2, NUM_BINS)
