"""Each image of a mixture is told rightly: learnt, calibrated on, held out, or new."""

from __future__ import annotations

import hashlib
from functools import lru_cache

import cv2
import numpy as np
import pandas as pd
import pytest

from melanoma_ray.evaluation.unseen import Acquaintance, recognise
from melanoma_ray.imaging.perceptual import perceptual_hash
from melanoma_ray.model.known import from_bytes, hash_names, is_unique, tabulate_known, to_bytes
from melanoma_ray.synthetic.plan import draw_lesion


@lru_cache
def picture(seed: int) -> np.ndarray:
    return draw_lesion(diagnosis="nevus", lesion_seed=seed, view_seed=seed)


def row(name: str, pixels: np.ndarray, **changes: object) -> dict[str, object]:
    return {
        "image_id": name,
        "content_sha256": hashlib.sha256(pixels.tobytes()).hexdigest(),
        "perceptual_hash": perceptual_hash(pixels),
        "lesion_id": None,
        "patient_id": None,
        "group_id": f"group of {name}",
        "split": "test",
        "fold": None,
    } | changes


TRAINING = pd.DataFrame(
    [
        row("a", picture(1), split="train", lesion_id="L1", patient_id="P1"),
        row("b", picture(2), split="val", lesion_id="L2", patient_id="IP_0000002"),
        row("c", picture(3), split="test"),
        row("ISIC_0024306", picture(4), split="train"),
    ]
)
KNOWN = from_bytes(to_bytes(tabulate_known(TRAINING, over_folds=False)))


def meet(*rows: dict[str, object], ids_are_shared: bool = True) -> Acquaintance:
    return recognise(pd.DataFrame(rows), KNOWN, scored_by=None, ids_are_shared=ids_are_shared)


def test_a_set_of_train_val_test_and_fresh_images_is_told_exactly() -> None:
    found = meet(*(row(f"x{seed}", picture(seed)) for seed in range(1, 10)))
    assert found.count() == {"learnt": 2, "calibrated": 1, "held_out": 1, "new": 5}
    assert found.reason[:4] == ("same pixels",) * 4
    assert found.is_seen.tolist() == [True, True, False, True] + [False] * 5
    assert found.count_reasons() == {"same pixels": 3}


@pytest.mark.parametrize("turn", [None, cv2.ROTATE_90_CLOCKWISE, cv2.ROTATE_180])
def test_a_smaller_or_turned_copy_in_another_file_is_recognised(turn: int | None) -> None:
    small = cv2.resize(picture(1), None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    jpeg = cv2.imencode(".jpg", small if turn is None else cv2.rotate(small, turn), [cv2.IMWRITE_JPEG_QUALITY, 60])[1]
    found = meet(row("copy", np.asarray(cv2.imdecode(jpeg, cv2.IMREAD_COLOR), np.uint8)))
    assert (found.count()["learnt"], found.reason) == (1, ("near copy",))


def test_every_copy_of_a_copy_is_recognised_and_not_only_the_first() -> None:
    found = meet(row("one", picture(1)), row("two", picture(1)), row("three", picture(3)), row("four", picture(3)))
    assert found.count() == {"learnt": 2, "calibrated": 0, "held_out": 2, "new": 0}


def test_lesions_and_patients_are_recognised_by_their_ids_unless_these_are_the_collection_s_own() -> None:
    rows = [
        row("x", picture(11), lesion_id=" l1 "),
        row("y", picture(12), patient_id="p1"),
        row("z", picture(13), patient_id="IP_0000002"),
        row("isic_0024306", picture(14)),
        row("a", picture(15)),
    ]
    shared, own = meet(*rows), meet(*rows, ids_are_shared=False)
    assert shared.reason == ("same lesion", "same patient", "same patient", "same image id", None)
    assert shared.count() == {"learnt": 3, "calibrated": 1, "held_out": 0, "new": 1}
    assert own.reason == (None, None, "same patient", "same image id", None)


def test_who_shares_a_group_with_a_known_image_is_known_too() -> None:
    found = meet(row("x", picture(1), group_id="g"), row("y", picture(11), group_id="g"), row("z", picture(12)))
    assert found.reason == ("same pixels", "same group", None)
    assert found.count()["learnt"] == 2


def test_the_gravest_use_counts() -> None:
    found = meet(row("x", picture(3), lesion_id="L2", patient_id="P1"))
    assert (found.count()["learnt"], found.reason) == (1, ("same patient",))


def test_a_fold_s_network_knows_all_folds_but_its_own() -> None:
    folds = TRAINING.assign(fold=pd.Series([0, 1, None, 0], dtype="Int8"))
    known = tabulate_known(folds, over_folds=True)
    images = pd.DataFrame([row(f"x{seed}", picture(seed)) for seed in (1, 2, 3, 4, 5)])
    by_all = recognise(images, known, scored_by=None, ids_are_shared=True)
    assert by_all.count() == {"learnt": 3, "calibrated": 0, "held_out": 1, "new": 1}
    by_one = recognise(images, known, scored_by=np.array([0, 0, 0, 0, 0]), ids_are_shared=True)
    assert by_one.count() == {"learnt": 1, "calibrated": 2, "held_out": 1, "new": 1}


def test_only_an_archive_s_ids_mean_the_same_everywhere() -> None:
    assert [is_unique(name) for name in ("ISIC_0024306", "IL_7194852", "HAM_0000118", "IMG_0001", "17", "isic")] == [
        True,
        True,
        True,
        False,
        False,
        False,
    ]
    assert hash_names(["a", None, float("nan"), "A "]).to_pylist()[1:3] == [None, None]


def test_nothing_known_or_nothing_asked_is_no_error() -> None:
    assert (
        recognise(pd.DataFrame([row("x", picture(1))]), KNOWN.slice(0, 0), scored_by=None, ids_are_shared=True).count()[
            "new"
        ]
        == 1
    )
    nothing = recognise(pd.DataFrame([row("x", picture(1))]).iloc[:0], KNOWN, scored_by=None, ids_are_shared=True)
    assert nothing.count() == {"learnt": 0, "calibrated": 0, "held_out": 0, "new": 0}
