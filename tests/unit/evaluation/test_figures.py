"""Figures of merit of a split: which images count in which."""

from __future__ import annotations

import json

import numpy as np
import pytest

from melanoma_ray.api import Decision
from melanoma_ray.evaluation.figures import Figures, measure
from melanoma_ray.evaluation.scored import Scored
from melanoma_ray.inference.predictor import Predictions
from melanoma_ray.metrics.intervals import Estimate

DIAGNOSES = ("melanoma", "nevus", "seborrheic keratosis")


def figures_of(
    target: list[int], predicted: list[int], *, group: list[int] | None = None, min_groups: int = 1
) -> Figures:
    probability = np.eye(len(DIAGNOSES), dtype=np.float32)[predicted]
    predictions = Predictions(
        probability=probability,
        melanoma_probability=probability[:, 0],
        diagnosis=np.array(predicted),
        decision=tuple("refer" for _ in target),
    )
    groups = np.arange(len(target)) if group is None else np.array(group)
    return measure(
        Scored(
            predictions=predictions,
            truth=np.array([*DIAGNOSES, "none of them"], object)[target],
            group=groups,
            diagnoses=DIAGNOSES,
        ),
        min_groups=min_groups,
    )


def test_a_diagnosis_of_too_few_groups_is_told_apart_and_counts_in_every_other_figure() -> None:
    target, predicted = [0, 0, 0, 0, 1, 1, 1, 1, 2, 2], [0, 0, 0, 1, 1, 1, 0, 0, 2, 0]
    figures = figures_of(target, predicted, min_groups=3)
    assert figures.apart == ("seborrheic keratosis",)
    assert figures.estimates["balanced_accuracy"].value == pytest.approx((3 / 4 + 2 / 4) / 2)
    assert figures.estimates["balanced_accuracy"].denominator == 8
    assert figures.estimates["accuracy"].numerator == 6
    assert figures.estimates["accuracy"].denominator == 10
    assert (figures.recall["seborrheic keratosis"].numerator, figures.recall["seborrheic keratosis"].denominator) == (
        1,
        2,
    )
    assert figures.to_dict()["apart"] == ["seborrheic keratosis"]
    assert figures.to_dict()["recall"]["melanoma"]["value"] == 3 / 4


def test_every_diagnosis_counts_where_nothing_is_asked_and_one_without_images_is_nowhere() -> None:
    figures = figures_of([0, 0, 1, 1, 1], [0, 1, 1, 1, 0])
    assert figures.apart == ()
    assert set(figures.recall) == {"melanoma", "nevus"}
    assert figures.estimates["balanced_accuracy"].value == pytest.approx((1 / 2 + 2 / 3) / 2)


def test_images_of_a_diagnosis_that_the_model_doesn_t_know_are_wrong_and_in_no_recall() -> None:
    figures = figures_of([0, 1, -1, -1], [0, 1, 2, 2], min_groups=1)
    assert figures.num_unknown == 2
    assert figures.estimates["accuracy"].value == 0.5
    assert figures.estimates["balanced_accuracy"].value == 1.0
    assert "seborrheic keratosis" not in figures.recall


def test_many_images_of_one_lesion_are_one_group() -> None:
    figures = figures_of([0, 0, 1, 1, 2, 2, 2], [0, 1, 1, 1, 0, 0, 0], group=[0, 1, 2, 3, 4, 4, 4], min_groups=2)
    assert figures.apart == ("seborrheic keratosis",)
    assert figures.estimates["balanced_accuracy"].value == pytest.approx(3 / 4)


def decide(probability: float) -> Decision:
    if np.isnan(probability):
        return "unassessable"
    return "refer" if probability >= 0.3 else "routine"


def probable(melanoma: list[float], target: list[int], *, group: list[int] | None = None) -> Scored:
    """Images with a melanoma probability (the rest is nevus); NaN: there is no answer."""
    score = np.array(melanoma, dtype=np.float32)
    predictions = Predictions(
        probability=np.stack([score, 1 - score, np.zeros_like(score)], axis=1),
        melanoma_probability=score,
        diagnosis=np.where(np.isfinite(score), np.where(score > 0.5, 0, 1), -1),
        decision=tuple(decide(value) for value in score),
    )
    groups = np.arange(len(target)) if group is None else np.array(group)
    names = np.array([DIAGNOSES[number] if number >= 0 else "scar" for number in target], dtype=object)
    return Scored(predictions=predictions, truth=names, group=groups, diagnoses=DIAGNOSES)


def test_images_of_one_lesion_widen_every_interval() -> None:
    rng = np.random.default_rng(0)
    target = np.repeat(np.arange(40) % 2, 5)
    score = list(np.clip(rng.normal(0.5, 0.15, 40)[np.repeat(np.arange(40), 5)] + 0.2 * (1 - target), 0.01, 0.99))
    alone = measure(probable(score, target.tolist()))
    grouped = measure(probable(score, target.tolist(), group=np.repeat(np.arange(40), 5).tolist()))
    pairs: list[tuple[Estimate | None, Estimate | None]]
    pairs = [(alone.estimates[name], grouped.estimates[name]) for name in alone.estimates]
    pairs += [(alone.recall[name], grouped.recall[name]) for name in alone.recall]
    pairs += [(alone.details.average_precision, grouped.details.average_precision)]
    pairs += [(alone.details.brier_score, grouped.details.brier_score)]
    assert len(pairs) == 9
    for before, after in pairs:
        assert before is not None
        assert after is not None
        assert after.value == before.value
        assert after.high - after.low > 1.3 * (before.high - before.low)


def test_an_image_without_an_answer_is_counted_wrong_and_voids_no_figure() -> None:
    figures = measure(probable([0.9, 0.4, np.nan, 0.2, 0.6, np.nan], [0, 0, 0, 1, 1, 1]))
    assert figures.num_unanswered == 2
    assert not figures.undefined
    assert figures.estimates["accuracy"].value == 2 / 6
    assert figures.estimates["balanced_accuracy"].value == pytest.approx((1 / 3 + 1 / 3) / 2)
    assert figures.estimates["sensitivity"].value == 2 / 3
    assert figures.estimates["melanoma_auroc"].value == 3 / 4
    assert figures.estimates["melanoma_auroc"].denominator == 4
    assert figures.confusion.sum() == 4


def test_what_is_defined_is_there_whatever_is_not() -> None:
    only_melanomas = measure(probable([0.9, 0.4], [0, 0]))
    assert "specificity" in only_melanomas.undefined
    assert "melanoma_auroc" in only_melanomas.undefined
    assert {"accuracy", "balanced_accuracy", "sensitivity"} <= set(only_melanomas.estimates)
    assert only_melanomas.details.brier_score is not None
    without_any_known = measure(probable([0.9, 0.4], [-1, -1]))
    assert without_any_known.undefined["accuracy"] == "no image has a diagnosis of the model"
    assert without_any_known.details.by_diagnosis == {}
    assert "balanced_accuracy" in without_any_known.undefined
    without_any_answer = measure(probable([np.nan, np.nan], [0, 1]))
    assert without_any_answer.estimates["sensitivity"].value == 0
    assert without_any_answer.num_unanswered == 2
    nothing = measure(probable([], []))
    assert nothing.estimates == {}
    assert all("no images" in reason for reason in nothing.undefined.values())


@pytest.mark.parametrize("melanoma", [[0.9, 0.4, 0.35, 0.2, 0.6], [0.9, 0.4, np.nan, 0.2, 0.6], [np.nan] * 5])
def test_the_report_s_figures_are_strict_json(melanoma: list[float]) -> None:
    figures = measure(probable(melanoma, [0, 0, 0, 1, 1])).to_dict()
    assert json.loads(json.dumps(figures, allow_nan=False)) is not None
    assert {"average_precision", "partial_auroc", "calibration_error", "operating_point"} <= set(figures)
