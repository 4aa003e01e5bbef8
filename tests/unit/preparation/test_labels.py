"""One diagnosis a picture: copies, conflicts, and what belongs together."""

from __future__ import annotations

import numpy as np
import pandas as pd

from melanoma_ray.preparation.labels import (
    BY_FOLDER,
    BY_TABLE,
    CONFLICT,
    DUPLICATE,
    assign_groups,
    count_conflicts,
    resolve_labels,
)

NO_PAIRS = np.empty((0, 2), np.int64)
AKIEC = ["actinic keratosis", "squamous cell carcinoma"]


def build_index(rows: list[dict[str, object]]) -> pd.DataFrame:
    """Images of 10×10 pixels, each with a content of its own unless the row says otherwise."""
    defaults = [
        {
            "path": f"{i}.jpg",
            "image_id": f"image{i}",
            "content_sha256": f"own{i}",
            "diagnosis": "nevus",
            "table_diagnosis": None,
            "is_by_table": False,
            "given_split": None,
            "table_covers": None,
            "folder_claim": None,
            "width": 10,
            "height": 10,
            "lesion_id": None,
            "patient_id": None,
        }
        for i in range(len(rows))
    ]
    return pd.DataFrame([default | row for default, row in zip(defaults, rows, strict=True)])


def test_of_copies_under_one_diagnosis_the_first_stays() -> None:
    index = build_index([{"content_sha256": "x"}, {"content_sha256": "x"}, {}])
    labels = resolve_labels(index, NO_PAIRS, "drop")
    assert labels.dropped.tolist() == [None, DUPLICATE, None]
    assert labels.conflict.isna().all()


def test_copies_under_several_diagnoses_all_go_where_no_table_knows() -> None:
    index = build_index(
        [
            {"content_sha256": "x", "diagnosis": "melanoma"},
            {"content_sha256": "x", "diagnosis": "seborrheic keratosis"},
            {},
        ]
    )
    labels = resolve_labels(index, NO_PAIRS, "drop")
    assert labels.dropped.tolist() == [CONFLICT, CONFLICT, None]
    assert count_conflicts(labels) == {"melanoma | seborrheic keratosis": {CONFLICT: 2}}


def test_a_table_s_word_resolves_a_conflict_if_it_leaves_one_claim() -> None:
    table: dict[str, object] = {"table_diagnosis": "actinic keratosis", "table_covers": AKIEC, "content_sha256": "x"}
    index = build_index([table | {"diagnosis": "actinic keratosis"}, table | {"diagnosis": "nevus"}])
    labels = resolve_labels(index, NO_PAIRS, "drop")
    assert labels.diagnosis.tolist() == ["actinic keratosis"] * 2
    assert labels.resolution.tolist() == [BY_TABLE] * 2
    assert labels.dropped.tolist() == [None, DUPLICATE]


def test_a_folder_says_which_meaning_of_another_collection_s_word_is_meant() -> None:
    table: dict[str, object] = {"table_diagnosis": AKIEC[0], "table_covers": AKIEC, "image_id": "ISIC_0000001"}
    index = build_index([table | {"diagnosis": AKIEC[1]}, table | {"diagnosis": AKIEC[0], "is_by_table": True}])
    labels = resolve_labels(index, NO_PAIRS, "drop")
    assert labels.diagnosis.tolist() == [AKIEC[1]] * 2
    assert labels.resolution.tolist() == [BY_FOLDER] * 2
    assert labels.dropped.tolist() == [None, DUPLICATE]


def test_a_table_s_word_that_may_mean_both_claims_resolves_nothing() -> None:
    table: dict[str, object] = {"table_diagnosis": "actinic keratosis", "table_covers": AKIEC, "content_sha256": "x"}
    index = build_index([table | {"diagnosis": AKIEC[0]}, table | {"diagnosis": AKIEC[1]}])
    assert resolve_labels(index, NO_PAIRS, "drop").dropped.tolist() == [CONFLICT, CONFLICT]


def test_a_folder_within_a_table_s_wider_word_is_no_conflict_and_one_outside_it_is_corrected() -> None:
    table: dict[str, object] = {"table_diagnosis": "actinic keratosis", "table_covers": AKIEC}
    index = build_index([table | {"diagnosis": "squamous cell carcinoma"}, table | {"diagnosis": "nevus"}])
    labels = resolve_labels(index, NO_PAIRS, "drop")
    assert labels.diagnosis.tolist() == ["squamous cell carcinoma", "actinic keratosis"]
    assert labels.resolution.tolist() == [None, BY_TABLE]
    assert labels.conflict.tolist() == [None, "actinic keratosis | nevus"]


def test_tables_that_contradict_each_other_resolve_nothing() -> None:
    index = build_index(
        [
            {"content_sha256": "x", "table_diagnosis": "melanoma", "table_covers": ["melanoma"]},
            {"content_sha256": "x", "table_diagnosis": "nevus", "table_covers": ["nevus"]},
        ]
    )
    assert resolve_labels(index, NO_PAIRS, "drop").dropped.tolist() == [CONFLICT, CONFLICT]


def test_an_isic_id_names_one_picture_and_the_larger_file_of_it_stays() -> None:
    index = build_index(
        [
            {"image_id": "ISIC_0000001"},
            {"image_id": "ISIC_0000001 (1)"},
            {"image_id": "ISIC_0000001", "width": 20},
            {"image_id": "image"},
            {"image_id": "image"},
        ]
    )
    labels = resolve_labels(index, NO_PAIRS, "drop")
    assert labels.dropped.tolist() == [DUPLICATE, DUPLICATE, None, None, None]


def test_pictures_that_look_the_same_both_stay_unless_their_claims_differ() -> None:
    index = build_index([{}, {}, {"diagnosis": "melanoma"}, {}])
    labels = resolve_labels(index, np.array([[0, 1], [2, 3]]), "drop")
    assert labels.dropped.tolist() == [None, None, CONFLICT, CONFLICT]


def test_the_keep_policy_changes_nothing_and_still_tells() -> None:
    index = build_index([{"content_sha256": "x", "diagnosis": "melanoma"}, {"content_sha256": "x"}])
    labels = resolve_labels(index, NO_PAIRS, "keep")
    assert labels.dropped.isna().all()
    assert labels.diagnosis.tolist() == ["melanoma", "nevus"]
    assert count_conflicts(labels) == {"melanoma | nevus": {"kept as they are": 2}}


def test_groups_join_through_others() -> None:
    index = build_index(
        [
            {"lesion_id": "1", "content_sha256": "w"},
            {"lesion_id": "1", "patient_id": "p", "content_sha256": "x"},
            {"patient_id": "p", "content_sha256": "y"},
            {"content_sha256": "z"},
            {"content_sha256": "v"},
        ]
    )
    assert assign_groups(index, np.array([[3, 4]])).tolist() == ["w", "w", "w", "v", "v"]


def test_a_folder_s_benign_that_a_table_overrules_is_a_conflict_like_any_other() -> None:
    rows: list[dict[str, object]] = [
        {"diagnosis": "melanoma", "folder_claim": "benign", "is_by_table": True, "table_covers": ["melanoma"]},
        {"diagnosis": "melanoma", "is_by_table": True, "table_covers": ["melanoma"]},
    ]
    labels = resolve_labels(build_index(rows), NO_PAIRS, "drop")
    assert count_conflicts(labels) == {"benign | melanoma": {BY_TABLE: 1}}
    assert labels.dropped.isna().all()
    kept = resolve_labels(build_index(rows), NO_PAIRS, "keep")
    assert count_conflicts(kept) == {"benign | melanoma": {BY_TABLE: 1}}
