"""The figures equal those of scikit-learn, statsmodels, torchmetrics and the ISIC Challenge's own scorer."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from isic_challenge_scoring import ClassificationMetric, ClassificationScore
from sklearn.metrics import (
    average_precision_score,
    brier_score_loss,
    f1_score,
    precision_score,
    recall_score,
    roc_auc_score,
)
from statsmodels.api import GLM, families
from statsmodels.stats.contingency_tables import mcnemar as statsmodels_mcnemar
from statsmodels.stats.proportion import proportion_confint
from torchmetrics.functional.classification import (
    binary_auroc,
    binary_average_precision,
    multiclass_accuracy,
    multiclass_confusion_matrix,
)

from melanoma_ray.errors import MetricError
from melanoma_ray.metrics.calibration import brier_score, estimate_calibration_line
from melanoma_ray.metrics.comparison import mcnemar
from melanoma_ray.metrics.intervals import wilson_interval
from melanoma_ray.metrics.multiclass import balanced_accuracy, confusion_matrix, measure_diagnoses
from melanoma_ray.metrics.proportions import estimate_accuracy, estimate_npv, estimate_ppv, estimate_sensitivity
from melanoma_ray.metrics.ranking import auroc, average_precision, partial_auroc, roc_curve
from tests.unit.metrics.scored_images import scored_images

CATEGORIES = ["MEL", "NV", "BCC", "AKIEC"]


@st.composite
def diagnosed_images(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities with ties (sixteenths) of four diagnoses, and targets; two diagnoses at least are present."""
    num_images = draw(st.integers(4, 30))
    weight = draw(npst.arrays(np.int64, (num_images, 4), elements=st.integers(0, 8)))
    weight[weight.sum(axis=1) == 0] = 1
    target = draw(npst.arrays(np.int64, num_images, elements=st.integers(0, 3)))
    target[:2] = [0, 1]
    return weight / weight.sum(axis=1, keepdims=True), target


def official_partial_auroc(score: np.ndarray, is_positive: np.ndarray, min_sensitivity: float) -> float:
    """As the ISIC 2024 Challenge publishes it: both signs turned round, and scikit-learn's rescaling undone."""
    max_fpr = 1 - min_sensitivity
    scaled = float(roc_auc_score(1 - is_positive.astype(int), -score, max_fpr=max_fpr))
    return 0.5 * max_fpr**2 + (max_fpr - 0.5 * max_fpr**2) / 0.5 * (scaled - 0.5)


@given(scored_images(), st.sampled_from([0.5, 0.8, 0.9]))
def test_the_partial_auroc_is_the_score_of_isic_2024(images: tuple[np.ndarray, np.ndarray], above: float) -> None:
    score, is_positive = images
    expected = official_partial_auroc(score, is_positive, above)
    assert partial_auroc(score, is_positive, min_sensitivity=above) == pytest.approx(expected, abs=1e-12)


@given(scored_images())
@settings(max_examples=50)
def test_the_average_precision_equals_scikit_learns_and_torchmetrics(images: tuple[np.ndarray, np.ndarray]) -> None:
    score, is_positive = images
    found = average_precision(score, is_positive)
    assert found == pytest.approx(average_precision_score(is_positive, score), abs=1e-12)
    probability = (score + 1) / 2  # torchmetrics puts what isn't in [0, 1] through a sigmoid
    theirs = binary_average_precision(torch.from_numpy(probability), torch.from_numpy(is_positive.astype(np.int64)))
    assert average_precision(probability, is_positive) == pytest.approx(float(theirs), abs=1e-6)


@given(scored_images())
@settings(max_examples=50)
def test_the_auroc_equals_torchmetrics(images: tuple[np.ndarray, np.ndarray]) -> None:
    score, is_positive = images
    probability = (score + 1) / 2
    theirs = binary_auroc(torch.from_numpy(probability), torch.from_numpy(is_positive.astype(np.int64)))
    assert auroc(probability, is_positive) == pytest.approx(float(theirs), abs=1e-6)


@given(scored_images())
def test_the_brier_score_equals_scikit_learns(images: tuple[np.ndarray, np.ndarray]) -> None:
    score, is_positive = images
    probability = (score + 1) / 2
    expected = brier_score_loss(is_positive, probability, labels=[0, 1])
    assert brier_score(probability, is_positive) == pytest.approx(expected, abs=1e-12)


@given(diagnosed_images())
def test_each_diagnosis_against_the_rest_equals_scikit_learn(images: tuple[np.ndarray, np.ndarray]) -> None:
    probability, target = images
    predicted = probability.argmax(axis=1)
    for number, found in enumerate(measure_diagnoses(probability, target)):
        is_it, is_called = target == number, predicted == number
        if found.sensitivity is not None:
            assert found.sensitivity.value == pytest.approx(recall_score(is_it, is_called))
        if found.specificity is not None:
            assert found.specificity.value == pytest.approx(recall_score(~is_it, ~is_called))
        if found.ppv is not None:
            assert found.ppv.value == pytest.approx(precision_score(is_it, is_called))
        if found.f1 is not None:
            assert found.f1.value == pytest.approx(f1_score(is_it, is_called))
        if found.auroc is not None:
            assert found.auroc.value == pytest.approx(roc_auc_score(is_it, probability[:, number]))
        assert (found.ppv is None) == (not is_called.any())
        assert (found.auroc is None) == (not is_it.any())


@given(diagnosed_images())
@settings(max_examples=50)
def test_confusion_accuracy_and_balanced_accuracy_equal_torchmetrics(images: tuple[np.ndarray, np.ndarray]) -> None:
    probability, target = images
    predicted = probability.argmax(axis=1)
    theirs = torch.from_numpy(predicted), torch.from_numpy(target)
    expected = multiclass_confusion_matrix(*theirs, num_classes=4).numpy()
    np.testing.assert_array_equal(confusion_matrix(predicted, target, 4), expected)
    micro = multiclass_accuracy(*theirs, num_classes=4, average="micro")
    assert estimate_accuracy(predicted, target).value == pytest.approx(float(micro), abs=1e-6)
    recalls = multiclass_accuracy(*theirs, num_classes=4, average="none").numpy()[np.unique(target)]
    assert balanced_accuracy(predicted, target, 4) == pytest.approx(float(recalls.mean()), abs=1e-6)


@given(st.integers(0, 2**32 - 1), st.integers(4, 40))
@settings(max_examples=40)
def test_the_figures_equal_the_official_scorers(seed: int, num_images: int) -> None:
    # It can't score sets that lack a diagnosis, or images with two most probable ones.
    rng = np.random.default_rng(seed)
    target = np.append(np.arange(4), rng.integers(0, 4, num_images - 4))
    weight = rng.integers(0, 4, (num_images, 4)) + np.eye(4)[rng.permuted(target)] * 4.5
    probability = weight / weight.sum(axis=1, keepdims=True)
    names = [f"image {number}" for number in range(target.size)]
    truth = pd.DataFrame(np.eye(4)[target], index=names, columns=CATEGORIES)
    weights = pd.DataFrame(1.0, index=names, columns=["score_weight", "validation_weight"])
    answers = pd.DataFrame(probability, index=names, columns=CATEGORIES)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        official = ClassificationScore(truth, answers, weights, ClassificationMetric.BALANCED_ACCURACY)
    assert balanced_accuracy(probability.argmax(axis=1), target, 4) == pytest.approx(official.overall)
    for number, category in enumerate(CATEGORIES):
        theirs = official.per_category.loc[category]
        score, is_it = probability[:, number], target == number
        is_called = score > 0.5
        assert auroc(score, is_it) == pytest.approx(theirs["auc"])
        assert average_precision(score, is_it) == pytest.approx(theirs["ap"])
        assert estimate_sensitivity(is_called, is_it).value == pytest.approx(theirs["sensitivity"])
        if is_called.any():
            assert estimate_ppv(is_called, is_it).value == pytest.approx(theirs["ppv"])
        if not is_called.all():
            assert estimate_npv(is_called, is_it).value == pytest.approx(theirs["npv"])
        # Theirs is the whole area right of where the curve reaches 80 %, ours the part of it above 80 %.
        curve = roc_curve(score, is_it)
        place = int(np.searchsorted(curve.tpr, 0.8))
        reached = np.interp(0.8, curve.tpr[place - 1 : place + 1], curve.fpr[place - 1 : place + 1])
        below = 0.8 * (1 - reached)
        assert partial_auroc(score, is_it) + below == pytest.approx(theirs["auc_sens_80"])


@given(st.integers(1, 500), st.data())
def test_wilsons_interval_equals_statsmodels(total: int, data: st.DataObject) -> None:
    successes = data.draw(st.integers(0, total))
    expected = proportion_confint(successes, total, method="wilson")
    assert wilson_interval(successes, total) == pytest.approx(expected, abs=1e-9)


@given(npst.arrays(np.bool_, 40), npst.arrays(np.bool_, 40))
def test_mcnemars_test_of_single_images_equals_statsmodels_exact_one(first: np.ndarray, second: np.ndarray) -> None:
    table = [
        [np.sum(first & second), np.sum(first & ~second)],
        [np.sum(~first & second), np.sum(~first & ~second)],
    ]
    found = mcnemar(first, second)
    assert found.p_value == pytest.approx(statsmodels_mcnemar(table, exact=True).pvalue)
    assert (found.num_only_first, found.num_only_second) == (table[0][1], table[1][0])


@given(scored_images())
@settings(max_examples=50)
def test_slope_and_intercept_equal_a_logistic_regression_of_statsmodels(images: tuple[np.ndarray, np.ndarray]) -> None:
    score, is_positive = images
    probability = (score + 1) / 2 * 0.8 + 0.1
    try:
        line = estimate_calibration_line(probability, is_positive)
    except MetricError:
        return  # separated or constant: there is no line
    logit = np.log(probability / (1 - probability))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        slope = GLM(is_positive, np.column_stack([logit, np.ones_like(logit)]), family=families.Binomial()).fit()
        large = GLM(is_positive, np.ones_like(logit), family=families.Binomial(), offset=logit).fit()
    assert line.slope.value == pytest.approx(slope.params[0], abs=1e-4, rel=1e-4)
    assert line.intercept.value == pytest.approx(large.params[0], abs=1e-6)
