"""Duplicates, groups and splits: nothing on both sides."""

from __future__ import annotations

import numpy as np
import pandas as pd
from hypothesis import given
from hypothesis import strategies as st

from melanoma_ray.config import SplitConfig
from melanoma_ray.data.duplicates import CONFLICT, DUPLICATE, assign_groups, count_conflicts, settle_duplicates
from melanoma_ray.data.splits import CROSSES, assign_splits


def build_index(num_images: int, seed: int, *, num_lesions: int = 40) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    lesion = random.integers(0, num_lesions, num_images)
    return pd.DataFrame(
        {
            "path": [f"{i:04d}.jpg" for i in range(num_images)],
            "diagnosis": np.array(["melanoma", "nevus", "dermatofibroma"])[lesion % 3],
            "lesion_id": [f"L{number}" if number % 5 else None for number in lesion],
            "patient_id": [f"P{number // 2}" if number % 7 == 0 else None for number in lesion],
            "content_sha256": [f"{number:03d}" for number in random.integers(0, 10 * num_images, num_images)],
            "given_split": None,
        }
    )


@given(st.integers(0, 10_000), st.sampled_from([0.1, 0.15, 0.3]), st.integers(0, 5))
def test_no_lesion_patient_or_content_stands_on_two_sides(data_seed: int, fraction: float, seed: int) -> None:
    index = build_index(150, data_seed)
    index["group_id"] = assign_groups(index)
    split, dropped = assign_splits(index, SplitConfig(val_fraction=fraction, test_fraction=fraction, seed=seed))
    assert not dropped.notna().any()
    for name in ("lesion_id", "patient_id", "content_sha256"):
        assert (split.groupby(index[name]).nunique() <= 1).all()


def test_each_diagnosis_is_cut_in_the_wanted_shares() -> None:
    index = build_index(900, 0, num_lesions=600)
    index["group_id"] = assign_groups(index)
    split, _ = assign_splits(index, SplitConfig(val_fraction=0.2, test_fraction=0.1))
    shares = pd.crosstab(index["diagnosis"], split, normalize="index")
    assert (shares["val"].between(0.16, 0.24)).all()
    assert (shares["test"].between(0.07, 0.13)).all()


def test_the_split_depends_on_its_seed_and_not_on_the_order_of_rows() -> None:
    index = build_index(200, 1)
    index["group_id"] = assign_groups(index)
    split, _ = assign_splits(index, SplitConfig(seed=1))
    shuffled, _ = assign_splits(index.sample(frac=1, random_state=0), SplitConfig(seed=1))
    pd.testing.assert_series_equal(shuffled.sort_index(), split, check_dtype=False)
    other, _ = assign_splits(index, SplitConfig(seed=2))
    assert (other != split).any()


def test_a_given_test_split_stays_and_its_relatives_leave_training() -> None:
    index = pd.DataFrame(
        {
            "path": ["a", "b", "c", "d"],
            "diagnosis": "nevus",
            "lesion_id": ["1", "1", "2", "3"],
            "patient_id": None,
            "content_sha256": ["1", "2", "3", "4"],
            "given_split": ["train", "test", "train", "train"],
        }
    )
    index["group_id"] = assign_groups(index)
    split, dropped = assign_splits(index, SplitConfig(val_fraction=0.5))
    assert split.tolist()[1] == "test"
    assert dropped.tolist() == [CROSSES, None, None, None]
    assert split[0] is None
    assert sorted(split[2:]) == ["train", "val"]


def test_random_splits_image_by_image() -> None:
    index = build_index(100, 2)
    index["group_id"] = assign_groups(index)
    split, _ = assign_splits(index, SplitConfig(method="random", val_fraction=0.2, test_fraction=0))
    assert split.value_counts().to_dict() == {"train": 80, "val": 20}
    assert split.groupby(index["lesion_id"]).nunique().max() > 1


def test_copies_go_but_the_first_and_conflicting_ones_go_all() -> None:
    index = pd.DataFrame(
        {
            "path": ["a", "b", "c", "d", "e"],
            "diagnosis": ["nevus", "nevus", "melanoma", "seborrheic keratosis", "nevus"],
            "content_sha256": ["1", "1", "2", "2", "3"],
        }
    )
    assert settle_duplicates(index, "drop").tolist() == [None, DUPLICATE, CONFLICT, CONFLICT, None]
    assert settle_duplicates(index, "keep").isna().all()
    assert count_conflicts(index) == {"melanoma | seborrheic keratosis": 1}


def test_groups_join_through_others() -> None:
    index = pd.DataFrame(
        {
            "path": list("abcd"),
            "lesion_id": ["1", "1", None, None],
            "patient_id": [None, "p", "p", None],
            "content_sha256": list("wxyz"),
        }
    )
    groups = assign_groups(index)
    assert groups.tolist() == ["w", "w", "w", "z"]
