"""Temperature and thresholds, fitted on the validation split."""

from __future__ import annotations

import numpy as np
import pytest

from melanoma_ray.config import DecisionConfig
from melanoma_ray.errors import DataError
from melanoma_ray.model.calibration import calibrated_probability, fit_calibration, fit_temperature


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
    found = fit_calibration(logits, truth, referred=[1], config=DecisionConfig(target_sensitivity=0.9))
    probability = calibrated_probability(logits, found.temperature)[:, 1]
    caught = probability[truth == 1] >= found.decision_threshold
    assert 0.9 <= caught.mean() < 0.92
    assert found.num_validation_melanomas == (truth == 1).sum()


def test_a_validation_split_without_melanoma_is_refused() -> None:
    with pytest.raises(DataError, match="0 of 5 validation images are melanoma"):
        fit_calibration(np.zeros((5, 2)), np.zeros(5, int), referred=[1], config=DecisionConfig())
