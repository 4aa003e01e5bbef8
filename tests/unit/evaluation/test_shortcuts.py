"""What changed images change is told of the images that the change applies to, each compared with itself."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from melanoma_ray.documents.sections.shortcuts import shortcuts
from melanoma_ray.evaluation.probes.shortcuts import Baseline, Shortcuts, compare_altered
from melanoma_ray.evaluation.scored import Scored
from melanoma_ray.evaluation.wording import Words
from melanoma_ray.metrics.ranking import estimate_auroc
from tests.unit.evaluation.samples import draw_scored


def answer_otherwise(scored: Scored, melanoma: np.ndarray) -> Scored:
    """Return the same images with other melanoma probabilities."""
    predictions = replace(
        scored.predictions,
        melanoma_probability=melanoma.astype(np.float32),
        decision=tuple("refer" if p >= 0.5 else "routine" for p in melanoma),
    )
    return replace(scored, predictions=predictions)


def test_only_images_that_the_change_applies_to_are_compared() -> None:
    before = draw_scored(300)
    is_applied = np.arange(300) % 3 == 0
    after = answer_otherwise(before, np.where(is_applied, 0.0, 1.0))
    found = compare_altered("in grey", before, after, is_applied)
    assert (found.applied.numerator, found.applied.denominator) == (100, 300)
    assert found.sensitivity is not None
    assert found.specificity is not None
    assert found.auroc is not None
    part = before.select(is_applied)
    assert found.sensitivity.first == part.is_referred[part.is_melanoma].mean()
    assert (found.sensitivity.second, found.specificity.second) == (0.0, 1.0)
    assert found.auroc.first == estimate_auroc(part.score, part.is_melanoma, part.group).value
    assert found.auroc.second == 0.5
    assert found.auroc.difference.denominator == 100


def test_a_change_that_changes_no_answer_makes_no_difference() -> None:
    scored = draw_scored(300)
    found = compare_altered("border cut off", scored, scored, np.ones(300, bool))
    assert found.auroc is not None
    assert (found.auroc.difference.value, found.auroc.p_value) == (0.0, 1.0)


def test_a_change_that_applies_to_no_image_or_one_kind_leaves_the_rest_undefined() -> None:
    scored = draw_scored(60)
    nowhere = compare_altered("hair removed", scored, scored, np.zeros(60, bool))
    assert (nowhere.applied.value, nowhere.auroc, nowhere.sensitivity) == (0.0, None, None)
    melanomas = compare_altered("hair removed", scored, scored, scored.is_melanoma)
    assert (melanomas.auroc, melanomas.specificity) == (None, None)
    assert melanomas.sensitivity is not None


def test_the_page_says_what_is_left_without_the_lesion_and_how_often_none_was_found() -> None:
    scored = draw_scored(200)
    is_found = np.arange(200) >= 30
    blind = answer_otherwise(scored, np.full(200, 0.7))
    found = Shortcuts(
        altered=(compare_altered("lesion masked out", scored, blind, is_found),),
        baselines=(
            Baseline(
                name="age, sex and site", num_train=0, auroc=None, compared=None, reason="there is no train split"
            ),
        ),
    )
    section = shortcuts(found, Words.of("melanoma"))
    assert section is not None
    told = " ".join(section.points)
    assert "With the lesion masked out the Melanoma AUROC is 0.500 in place of 0." in told
    assert "A lesion was found in 170 of 200 images; the search failed in 15.0 % of them." in told
    assert "From age, sex and site nothing is told: there is no train split." in told
    assert section.tables[0].rows[0][1] == "170 of 200"
    assert shortcuts(None, Words.of("melanoma")) is None


@pytest.mark.parametrize("unanswered", [0, 5])
def test_an_image_without_an_answer_is_in_no_ranking(unanswered: int) -> None:
    before = draw_scored(100)
    melanoma = before.predictions.melanoma_probability.copy()
    melanoma[:unanswered] = np.nan
    after = answer_otherwise(before, melanoma)
    diagnosis = np.where(np.isnan(melanoma), -1, after.predictions.diagnosis)
    after = replace(after, predictions=replace(after.predictions, diagnosis=diagnosis))
    found = compare_altered("in grey", before, after, np.ones(100, bool))
    assert found.auroc is not None
    assert found.auroc.difference.denominator == 100 - unanswered
