"""Temperature, biases and thresholds, fitted on the validation split."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import log_softmax

from melanoma_ray.config import DecisionConfig
from melanoma_ray.errors import DataError, TrainingError
from melanoma_ray.metrics.calibration_error import expected_calibration_error
from melanoma_ray.model.calibration import Calibration, calibrated_probability, fit_calibration, fit_scaling

SHARES = np.array([0.01, 0.04, 0.15, 0.8])


def calibration(temperature: float, bias: tuple[float, ...] = ()) -> Calibration:
    return Calibration(
        temperature=temperature,
        bias=bias,
        decision_threshold=0.5,
        out_of_distribution_threshold=0.0,
        num_validation_images=1,
        num_validation_melanomas=1,
    )


def draw(random: np.random.Generator, number: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the logits of a perfect model that weighs rare diagnoses like frequent ones, and the targets."""
    target = random.choice(len(SHARES), number, p=SHARES)
    features = np.eye(len(SHARES))[target] * 2.0 + random.normal(size=(number, len(SHARES)))
    return 2.0 * features, target


def test_temperature_undoes_overconfidence() -> None:
    random = np.random.default_rng(0)
    honest = random.normal(size=(4000, 3)) * 1.5
    probability = np.exp(honest) / np.exp(honest).sum(axis=1, keepdims=True)
    truth = (probability.cumsum(axis=1) > random.random((4000, 1))).argmax(axis=1)
    temperature, bias, is_at_bound = fit_scaling(3 * honest, truth)
    assert temperature == pytest.approx(3, rel=0.1)
    assert np.abs(bias).max() < 0.2
    assert not is_at_bound


def test_biases_make_the_probabilities_of_a_balanced_model_come_true() -> None:
    """Where a temperature alone leaves rare diagnoses far too probable."""
    random = np.random.default_rng(1)
    logits, target = draw(random, 3000)
    temperature, bias, _ = fit_scaling(logits, target)
    others, truth = draw(random, 20_000)
    expected = log_softmax(others + np.log(SHARES), axis=1)[:, 1]
    found = calibrated_probability(others, calibration(temperature, bias))[:, 1].astype(np.float64)
    uncorrected = calibrated_probability(others, calibration(1.0))[:, 1].astype(np.float64)
    assert expected_calibration_error(found, truth == 1) < 0.01
    assert expected_calibration_error(uncorrected, truth == 1) > 0.05
    assert np.median(np.abs(np.log(found) - expected)) < 0.3


def test_a_diagnosis_without_validation_images_stays_possible() -> None:
    random = np.random.default_rng(2)
    logits, target = draw(random, 300)
    _, bias, _ = fit_scaling(logits[target != 0], target[target != 0])
    assert -6 < bias[0] < bias[3]


def test_a_fit_that_ends_at_its_bound_says_so() -> None:
    random = np.random.default_rng(3)
    target = random.integers(0, 2, 400)
    found = fit_calibration(random.normal(size=(400, 2)) * 50, target, referred=[1], config=DecisionConfig())
    assert found.temperature == pytest.approx(20)
    assert "ended at its bound, 20" in found.doubts[0]
    told = fit_calibration(np.eye(2)[target] * 1e-3, target, referred=[1], config=DecisionConfig())
    assert "ended at its bound, 0.05" in told.doubts[0]


def test_the_threshold_refers_at_least_the_wanted_share_of_validation_melanomas() -> None:
    random = np.random.default_rng(1)
    truth = random.integers(0, 2, 300)
    logits = np.column_stack([-truth, truth]) * 1.0 + random.normal(size=(300, 2))
    found = fit_calibration(logits, truth, referred=[1], config=DecisionConfig(target_sensitivity=0.9))
    probability = calibrated_probability(logits, found)[:, 1]
    caught = probability[truth == 1] >= found.decision_threshold
    assert 0.9 <= caught.mean() < 0.92
    assert found.num_validation_melanomas == (truth == 1).sum()
    assert found.doubts == ()


def test_a_validation_split_without_melanoma_is_refused() -> None:
    with pytest.raises(DataError, match="0 of 5 validation images are melanoma"):
        fit_calibration(np.zeros((5, 2)), np.zeros(5, int), referred=[1], config=DecisionConfig())


def test_logits_that_are_not_finite_are_refused_in_one_line() -> None:
    logits = np.zeros((5, 2))
    logits[2, 0], logits[4, 1] = np.nan, np.inf
    with pytest.raises(TrainingError, match="logits of 2 of 5 validation images aren't finite"):
        fit_calibration(logits, np.array([0, 1, 0, 1, 0]), referred=[1], config=DecisionConfig())


def test_a_logit_that_is_not_finite_leaves_its_image_without_probabilities_and_no_other() -> None:
    logits = np.array([[0.0, 1.0], [np.nan, 1.0], [np.inf, 1.0], [-np.inf, 1.0]])
    probability = calibrated_probability(logits, calibration(1.0))
    assert np.isnan(probability).tolist() == [[False, False], [True, True], [True, True], [True, True]]


def test_of_two_distances_each_gets_half_of_the_images_that_may_be_unassessable() -> None:
    random = np.random.default_rng(4)
    target = random.integers(0, 2, 4000)
    distance = random.random((4000, 2))
    config = DecisionConfig(assessable_quantile=0.9)
    found = fit_calibration(np.eye(2)[target], target, referred=[1], config=config, distance=distance)
    assert found.out_of_distribution_score == "distance"
    assert found.appearance_threshold is not None
    limits = np.array([found.out_of_distribution_threshold, found.appearance_threshold])
    assert (distance <= limits).mean(axis=0) == pytest.approx([0.95, 0.95], abs=1e-3)
    assert (distance <= limits).all(axis=1).mean() >= 0.9


def test_prediction_sets_are_fitted_on_the_calibrated_probabilities() -> None:
    random = np.random.default_rng(5)
    logits, target = draw(random, 2000)
    found = fit_calibration(logits, target, referred=[1], config=DecisionConfig(set_coverage=0.8))
    assert found.set_coverage == 0.8
    in_set = calibrated_probability(logits, found) >= np.array(found.set_thresholds, np.float32)
    for number in range(len(SHARES)):
        own = in_set[target == number, number]
        assert 0.8 <= own.mean() < 0.8 + 2 / len(own) + 1e-9
