"""What the decisions do is counted for every image: unassessable ones, those without an answer, and other cancers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from melanoma_ray.api import Decision
from melanoma_ray.evaluation.figures import Figures, measure
from melanoma_ray.evaluation.scored import Scored
from melanoma_ray.inference.predictor import Predictions

DIAGNOSES = ("basal cell carcinoma", "melanoma", "nevus")
MALIGNANT = ("basal cell carcinoma", "melanoma", "squamous cell carcinoma")


def scored_as(*images: tuple[str, Decision, float]) -> Scored:
    """Return images by true diagnosis, decision and melanoma probability; NaN: there is no answer."""
    truth, decision, score = zip(*images, strict=True)
    melanoma = np.array(score, np.float32)
    rest = (1 - melanoma) / 2
    return Scored(
        predictions=Predictions(
            probability=np.stack([rest, melanoma, rest], axis=1),
            melanoma_probability=melanoma,
            diagnosis=np.where(np.isnan(melanoma), -1, np.where(melanoma > 0.5, 1, 2)),
            decision=decision,
        ),
        truth=np.array(truth, object),
        group=np.arange(len(images)),
        diagnoses=DIAGNOSES,
        malignant=MALIGNANT,
    )


IMAGES = scored_as(
    ("melanoma", "refer", 0.9),
    ("melanoma", "unassessable", 0.2),
    ("melanoma", "routine", 0.1),
    ("nevus", "routine", 0.1),
    ("nevus", "unassessable", 0.3),
    ("basal cell carcinoma", "routine", 0.2),
    ("squamous cell carcinoma", "refer", 0.6),
    ("melanoma", "unassessable", float("nan")),
)


@pytest.fixture(scope="module")
def figures() -> Figures:
    return measure(IMAGES)


def counts(figures: Figures, name: str) -> tuple[int | None, int]:
    estimate = figures.estimates.get(name) or getattr(figures.referral, name)
    return estimate.numerator, estimate.denominator


def test_an_unassessable_image_is_counted_in_each_reading(figures: Figures) -> None:
    assert counts(figures, "unassessable") == (3, 8)
    assert counts(figures, "sensitivity") == (1, 4)
    assert counts(figures, "sensitivity_unassessable_referred") == (3, 4)
    assert counts(figures, "sensitivity_assessed") == (1, 2)
    assert counts(figures, "specificity") == (3, 4)
    assert counts(figures, "specificity_unassessable_referred") == (2, 4)
    assert counts(figures, "specificity_assessed") == (2, 3)


def test_other_cancers_are_not_routine_without_a_word(figures: Figures) -> None:
    assert counts(figures, "malignancy_sensitivity") == (2, 6)
    assert figures.referral.by_decision["routine"] == {"melanoma": 1, "nevus": 1, "basal cell carcinoma": 1}
    assert figures.referral.by_decision["refer"] == {"melanoma": 1, "squamous cell carcinoma": 1}
    assert figures.referral.malignancy_auroc is not None


def test_an_image_without_an_answer_is_wrong_and_in_no_figure_of_probabilities(figures: Figures) -> None:
    assert figures.num_unanswered == 1
    assert counts(figures, "accuracy") == (3, 8)
    assert figures.estimates["melanoma_auroc"].denominator == 7
    assert figures.confusion.sum() == 6  # not the one without an answer, nor the one that the model doesn't have
    assert figures.num_unknown == 1
    assert figures.details.brier_score is not None
    assert np.isfinite(figures.details.brier_score.value)


def test_where_nothing_has_an_answer_the_counts_remain() -> None:
    silent = measure(scored_as(*[(name, "unassessable", float("nan")) for name in ("melanoma", "nevus")]))
    assert counts(silent, "unassessable") == (2, 2)
    assert silent.estimates["accuracy"].value == 0
    assert "melanoma_auroc" in silent.undefined
    assert silent.roc is None


def test_melanoma_or_other_says_nothing_of_other_cancers() -> None:
    found = measure(replace(IMAGES, tells_other_cancers=False))
    assert found.referral.malignancy_auroc is None
    assert found.referral.malignancy_sensitivity is None
    assert found.undefined["malignancy_auroc"] == "the diagnoses don't tell other cancers from benign lesions"
    assert counts(found, "sensitivity") == (1, 4)
