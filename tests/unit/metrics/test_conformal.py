"""Prediction sets: within each diagnosis they hold the truth as often as they say, in simulation and beside MAPIE."""

from __future__ import annotations

import numpy as np
import pytest
from mapie.classification import SplitConformalClassifier
from scipy.special import softmax
from sklearn.linear_model import LogisticRegression

from melanoma_ray.errors import MetricError
from melanoma_ray.metrics.conformal import fit_set_thresholds, least_images, predict_sets

SHARES = np.array([0.6, 0.3, 0.1])


def draw(random: np.random.Generator, number: int, shares: np.ndarray = SHARES) -> tuple[np.ndarray, np.ndarray]:
    """Return the probabilities of an overconfident model that prefers the first diagnosis, and the truth."""
    target = random.choice(len(shares), number, p=shares)
    logits = 1.5 * np.eye(len(shares))[target] + random.normal(size=(number, len(shares))) + [1.0, 0.0, 0.0]
    return softmax(3 * logits, axis=1), target


def covered(random: np.random.Generator, shares: np.ndarray) -> np.ndarray:
    """Return the coverage of each diagnosis, over many small validation splits, of images with other shares."""
    found = []
    for _ in range(300):
        thresholds = fit_set_thresholds(*draw(random, 200), coverage=0.9)
        probability, target = draw(random, 400, shares)
        sets = predict_sets(probability, thresholds)
        found.append([sets[target == number, number].mean() for number in range(len(shares))])
    return np.asarray(np.mean(found, axis=0))


@pytest.mark.parametrize("shares", [SHARES, SHARES[::-1], np.array([0.2, 0.2, 0.6])])
def test_each_diagnosis_is_covered_as_stated_however_frequent_it_has_become(shares: np.ndarray) -> None:
    """At least 90 %, and for n images less than 1 / (n + 1) more; 20 images of the rarest."""
    found = covered(np.random.default_rng(0), shares)
    assert (found >= 0.89).all(), found
    assert (found <= 0.9 + 1 / 20 + 0.01).all(), found


def test_the_threshold_is_the_smallest_one_that_the_rank_allows() -> None:
    own = np.arange(1, 20) / 20
    probability = np.stack([own, 1 - own], axis=1)
    target = np.zeros(19, int)
    assert fit_set_thresholds(probability, target, coverage=0.9) == (own[1], 0.0)
    assert fit_set_thresholds(probability[:9], target[:9], coverage=0.9)[0] == own[0]


@pytest.mark.parametrize("coverage", [0.8, 0.9, 0.95, 0.99])
def test_a_diagnosis_with_too_few_images_is_in_every_set(coverage: float) -> None:
    least = least_images(coverage)
    for number in (0, 1, least - 1, least):
        probability = np.full((number + 1, 2), 0.5)
        target = np.array([1] + [0] * number)
        thresholds = fit_set_thresholds(probability, target, coverage=coverage)
        assert (thresholds[0] > 0) == (number >= least)
        assert predict_sets(np.array([[0.0, 1.0]]), thresholds)[0, 0] == (number < least)


def test_an_image_without_an_answer_may_have_any_diagnosis() -> None:
    assert predict_sets(np.array([[np.nan, np.nan], [0.2, 0.8]]), (0.5, 0.5)).tolist() == [[True, True], [False, True]]


def test_what_no_threshold_can_be_fitted_on_is_refused() -> None:
    with pytest.raises(MetricError, match=r"coverage=1.0: expected \(0, 1\)"):
        fit_set_thresholds(np.array([[0.5, 0.5]]), np.array([0]), coverage=1.0)
    with pytest.raises(MetricError, match="NaN or infinite"):
        fit_set_thresholds(np.array([[np.nan, 0.5]]), np.array([0]), coverage=0.9)
    with pytest.raises(MetricError, match="no images"):
        fit_set_thresholds(np.zeros((0, 2)), np.zeros(0, int), coverage=0.9)


@pytest.mark.filterwarnings("ignore:WARNING. your conformalization dataset has less labels")
def test_the_sets_are_those_of_mapie() -> None:
    """MAPIE has no class-conditional sets for a given classifier, so each class's quantile is compared with its own."""
    random = np.random.default_rng(1)
    centres = np.array([[0.0, 0.0], [1.5, 0.0], [0.0, 1.5]])
    target = random.integers(0, 3, 900)
    features = centres[target] + random.normal(size=(900, 2))
    model = LogisticRegression().fit(features[:300], target[:300])
    for number in range(3):
        own = 300 + np.flatnonzero(target[300:600] == number)
        peer = SplitConformalClassifier(model, confidence_level=0.9, conformity_score="lac", prefit=True).conformalize(
            features[own], target[own]
        )
        _, theirs = peer.predict_set(features[600:])
        thresholds = fit_set_thresholds(model.predict_proba(features[own]), target[own], coverage=0.9)
        ours = predict_sets(model.predict_proba(features[600:]), thresholds)
        np.testing.assert_array_equal(ours[:, number], theirs[:, number, 0])
