"""What the report says of how new the images are is true of where the model learnt and what it was calibrated on."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import numpy as np
import pandas as pd
import pytest

from melanoma_ray.evaluation.subject import Subject
from melanoma_ray.evaluation.unseen import Acquaintance
from melanoma_ray.evaluation.wording import describe_unseen, fitted_on
from melanoma_ray.model.checkpoint import Manifest
from melanoma_ray.model.known import USES


def subject_of(*uses: str, **changes: object) -> Subject:
    """Return as much of a subject as the sentence is made of: one image a use, or ``new``."""
    rank = np.array([(*USES, "new").index(use) for use in uses], np.uint8)
    images = pd.DataFrame({"image_id": [f"IMG_{n}" for n in range(len(uses))], "lesion_id": None, "patient_id": None})
    parts = {
        "acquaintance": Acquaintance(rank=rank, reason=(None,) * len(uses)),
        "images": images,
        "split": "test",
        "ids_are_shared": True,
        "manifest": SimpleNamespace(parent=None),
    }
    return cast("Subject", SimpleNamespace(**parts | changes))


def test_thresholds_of_a_recalibrated_model_aren_t_said_to_be_of_its_training() -> None:
    as_trained, _ = describe_unseen(subject_of("calibrated", "new"))
    assert "its best weights, probabilities and thresholds were chosen on them" in as_trained
    assert "close to its target by construction" in as_trained
    later, is_praise = describe_unseen(subject_of("calibrated", "new", manifest=SimpleNamespace(parent="0123456789ab")))
    assert "calibrated on 1 of these 2 images" in later
    assert "or its probabilities and thresholds when it was" in later
    assert "by construction" not in later
    assert is_praise


def test_who_shares_a_lesion_with_the_held_out_split_isn_t_said_to_be_of_it() -> None:
    sentence, is_praise = describe_unseen(subject_of("held_out", "held_out"))
    assert "All of them (or others of their lesions or patients) are of the split that was held out" in sentence
    assert not is_praise


@pytest.mark.parametrize(("number", "start"), [(1, "This image wasn't recognised"), (2, "None of these 2 images was")])
def test_one_image_is_one(number: int, start: str) -> None:
    assert describe_unseen(subject_of(*["new"] * number))[0].startswith(start)


@pytest.mark.parametrize(
    ("over", "num_members", "parent", "where"),
    [
        (None, 1, None, "its validation split"),
        ("seeds", 3, None, "its validation split"),
        ("folds", 5, None, "all folds (each answered by the network that was trained without it)"),
        (None, 5, None, "all folds (each answered by the network that was trained without it)"),
        ("folds", 5, "0123456789ab", "the part of a clinic's images that was chosen for that"),
    ],
)
def test_thresholds_are_said_to_be_of_the_images_that_they_were_chosen_on(
    over: str | None, num_members: int, parent: str | None, where: str
) -> None:
    manifest = SimpleNamespace(ensemble_over=over, num_members=num_members, parent=parent)
    assert fitted_on(cast("Manifest", manifest))[1] == where
