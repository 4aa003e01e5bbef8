"""Figures of merit of a split: which images count in which."""

from __future__ import annotations

import numpy as np
import pytest

from melanoma_ray.evaluation.figures import Figures, measure
from melanoma_ray.evaluation.scored import Scored
from melanoma_ray.inference.predictor import Predictions

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
