"""Prediction sets and the error that is left when doubtful images go to a person."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from melanoma_ray.documents.sections import doubt
from melanoma_ray.evaluation.attempts import Attempts
from melanoma_ray.evaluation.figures import measure
from melanoma_ray.evaluation.scored import Scored
from melanoma_ray.evaluation.uncertainty import measure_uncertainty
from melanoma_ray.inference.predictor import Predictions
from melanoma_ray.model.checkpoint import Manifest, read_manifest
from tests.checkpoints import build_checkpoint

DIAGNOSES = ("melanoma", "nevus", "scar")


def score(probability: list[list[float]], truth: list[str], in_set: list[list[bool]] | None) -> Scored:
    found = np.array(probability, np.float32)
    answer = np.where(np.isnan(found).any(axis=1), -1, np.nan_to_num(found).argmax(axis=1))
    predictions = Predictions(
        probability=found,
        melanoma_probability=found[:, 0],
        diagnosis=answer,
        decision=tuple("routine" for _ in truth),
        in_set=None if in_set is None else np.array(in_set),
    )
    return Scored(
        predictions=predictions, truth=np.array(truth, object), group=np.arange(len(truth)), diagnoses=DIAGNOSES
    )


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    found = read_manifest(build_checkpoint(str(tmp_path_factory.mktemp("c"))))
    calibration = replace(found.calibration, set_coverage=0.9, set_thresholds=(0.2, 0.1, 0.0))
    return replace(found, diagnoses=DIAGNOSES, calibration=calibration)


def test_coverage_is_counted_within_each_diagnosis_that_has_images() -> None:
    in_set = [[True, False, True], [False, True, True], [True, True, True], [False, False, False], [True, False, False]]
    scored = score([[0.6, 0.3, 0.1]] * 5, ["melanoma", "melanoma", "nevus", "nevus", "wart"], in_set)
    sets = measure_uncertainty(scored, Attempts()).sets
    assert sets is not None
    assert {name: (one.numerator, one.denominator) for name, one in sets.coverage.items()} == {
        "melanoma": (1, 2),
        "nevus": (1, 2),
    }
    assert sets.mean_size == pytest.approx((2 + 2 + 3 + 0 + 1) / 5)
    assert (sets.single.numerator, sets.empty.numerator) == (1, 1)


def test_an_older_checkpoint_has_no_sets_and_its_error_is_still_told() -> None:
    figures = measure(score([[0.6, 0.3, 0.1], [0.1, 0.8, 0.1]], ["melanoma", "melanoma"], None))
    assert figures.uncertainty.sets is None
    assert figures.uncertainty.risk_coverage is not None
    assert figures.uncertainty.risk_coverage.error[-1] == 0.5


def test_images_without_an_answer_are_in_no_curve() -> None:
    figures = measure(score([[0.6, 0.3, 0.1], [np.nan] * 3], ["melanoma", "nevus"], [[True, False, False]] * 2))
    assert figures.uncertainty.risk_coverage is not None
    assert figures.uncertainty.risk_coverage.num_images == 1
    nothing = measure(score([[np.nan] * 3], ["melanoma"], [[True] * 3]))
    assert nothing.uncertainty.risk_coverage is None
    assert nothing.uncertainty.sets is None
    assert {"prediction_sets", "risk_coverage"} <= set(nothing.undefined)


def test_a_promise_that_is_broken_by_more_than_chance_is_told_in_bold(manifest: Manifest) -> None:
    number = 60
    kept = score([[0.6, 0.3, 0.1]] * number, ["melanoma"] * number, [[True, False, True]] * number)
    broken = score([[0.6, 0.3, 0.1]] * number, ["nevus"] * number, [[True, False, True]] * number)
    for scored, is_broken in ((kept, False), (broken, True)):
        section = doubt.prediction_sets(measure_uncertainty(scored, Attempts()).sets, manifest)
        assert section is not None
        assert bool(section.warnings) == is_broken
        assert "The sets here have 2.00 of 3 diagnoses" in section.paragraphs[0]
        assert section.points == ["Fewer than 9 validation images, so it is in every set: scar."]


def test_the_section_of_doubt_says_what_the_curve_has() -> None:
    scored = score(
        [[0.9, 0.1, 0.0], [0.8, 0.2, 0.0], [0.6, 0.4, 0.0], [0.5, 0.3, 0.2]], ["melanoma"] * 3 + ["scar"], None
    )
    section = doubt.risk_coverage(measure_uncertainty(scored, Attempts()).risk_coverage)
    assert section is not None
    assert "Of all, 25.0 % are wrong; of the surest 50%, 0.0 %" in section.plots[0].caption
    assert "0.062 that of doubt about exactly the wrong answers (4 images)" in section.paragraphs[0]
    assert doubt.risk_coverage(None) is None
