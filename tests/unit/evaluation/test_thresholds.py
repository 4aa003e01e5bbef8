"""What thresholds that were fixed elsewhere do on images of both kinds, and of one kind alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from melanoma_ray.dataset.prepared import PreparedDataset
from melanoma_ray.documents.sections import decisions
from melanoma_ray.evaluation.subject import Subject
from melanoma_ray.evaluation.thresholds import measure_thresholds
from melanoma_ray.inference.predictor import Predictor
from melanoma_ray.metrics.proportions import estimate_sensitivity
from melanoma_ray.metrics.thresholds import FixedThreshold
from melanoma_ray.reports.evaluation import Section
from tests.checkpoints import build_checkpoint
from tests.unit.evaluation.samples import draw_scored

FIXED = (FixedThreshold(aim="sensitivity", target=0.9, threshold=0.4),)


@pytest.fixture
def subject(tmp_path: Path) -> Subject:
    """A model with one fixed threshold; its images aren't asked for."""
    predictor = Predictor.load(build_checkpoint(str(tmp_path / "c")), "cpu")
    calibration = replace(predictor.manifest.calibration, operating_points=FIXED)
    predictor.manifest = replace(predictor.manifest, calibration=calibration)
    dataset = PreparedDataset.__new__(PreparedDataset)
    return Subject(
        uri="c", predictor=predictor, dataset=dataset, split="test", images=pd.DataFrame(), acquaintance=None
    )


def told(section: Section) -> str:
    cells = [str(value) for table in section.tables for row in table.rows for value in row]
    return " | ".join([*section.paragraphs, *(head for table in section.tables for head in table.heads), *cells])


def test_images_of_both_kinds_have_the_whole_table_and_nothing_to_explain(subject: Subject) -> None:
    found = measure_thresholds(draw_scored(400), subject, None)
    assert len(found.rows) == 1
    assert (found.one_way, found.reason) == ((), "")


def test_only_melanomas_have_their_sensitivity_and_are_told_what_isn_t_defined(subject: Subject) -> None:
    scored = draw_scored(400)
    melanomas = scored.select(scored.is_melanoma)
    found = measure_thresholds(melanomas, subject, None)
    expected = estimate_sensitivity(melanomas.score >= 0.4, melanomas.is_melanoma, melanomas.group)
    assert found.rows == ()
    assert (found.one_way[0].sensitivity, found.one_way[0].specificity) == (expected, None)
    number = len(melanomas.truth)
    assert found.reason == (
        "At the fixed thresholds specificity, PPV, NPV and referrals per melanoma aren't defined: "
        f"all {number} images are melanomas."
    )
    page = told(decisions.thresholds(subject, found))
    assert found.reason in page
    assert f"{expected.value:.3f} ({expected.low:.3f}–{expected.high:.3f})" in page


def test_no_melanomas_leave_the_specificity(subject: Subject) -> None:
    scored = draw_scored(400)
    others = scored.select(~scored.is_melanoma)
    found = measure_thresholds(others, subject, None)
    assert found.one_way[0].sensitivity is None
    assert found.one_way[0].specificity is not None
    assert found.one_way[0].specificity.value == np.mean(others.score < 0.4)
    assert found.reason.endswith(f"there are no melanomas among {len(others.truth)} images.")


def test_thresholds_of_another_probability_are_told_apart_from_a_checkpoint_without_any(subject: Subject) -> None:
    other = measure_thresholds(replace(draw_scored(40), about="malignancy"), subject, None)
    assert "these images can only tell malignancy" in other.reason
    calibration = replace(subject.manifest.calibration, operating_points=())
    subject.predictor.manifest = replace(subject.manifest, calibration=calibration)
    assert "has no thresholds for other sensitivities" in measure_thresholds(draw_scored(40), subject, None).reason
