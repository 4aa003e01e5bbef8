"""Splits: nothing on both sides, even shares, and nobody moves when images are added."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from melanoma_ray.config import SplitConfig
from melanoma_ray.errors import DataError
from melanoma_ray.preparation.labels import assign_groups
from melanoma_ray.preparation.splits import CROSSES, TIED, Assignment, assign_splits

NO_PAIRS = np.empty((0, 2), np.int64)


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
            "image_id": [f"image{i}" for i in range(num_images)],
        }
    )


def build_clean_index(num_images: int) -> pd.DataFrame:
    """Lesions of one or two images each, of one diagnosis, and no patients."""
    lesion = np.arange(num_images) * 2 // 3
    return build_index(num_images, 0).assign(
        lesion_id=[f"L{number}" for number in lesion],
        patient_id=None,
        content_sha256=[f"{number:04d}" for number in range(num_images)],
        diagnosis=np.array(["melanoma", "nevus", "dermatofibroma"])[lesion % 3],
    )


def grouped(index: pd.DataFrame) -> pd.DataFrame:
    return index.assign(claimed_diagnosis=index["diagnosis"], group_id=assign_groups(index, NO_PAIRS))


def record(index: pd.DataFrame, assignment: Assignment) -> pd.DataFrame:
    known = index[["content_sha256", "claimed_diagnosis", "path"]]
    return known.assign(split=assignment.split, fold=assignment.fold).dropna(subset=["split"])


@given(st.integers(0, 10_000), st.sampled_from([0.1, 0.15, 0.3]), st.integers(0, 5))
def test_no_lesion_patient_or_content_stands_on_two_sides(data_seed: int, fraction: float, seed: int) -> None:
    index = build_index(150, data_seed)
    index = grouped(index)
    found = assign_splits(index, SplitConfig(val_fraction=fraction, test_fraction=fraction, seed=seed))
    split = found.split
    assert not found.dropped.notna().any()
    assert split.notna().all()
    for name in ("lesion_id", "patient_id", "content_sha256"):
        assert (split.groupby(index[name]).nunique() <= 1).all()


def test_each_diagnosis_is_cut_in_the_wanted_shares() -> None:
    index = build_clean_index(900)
    index = grouped(index)
    split = assign_splits(index, SplitConfig(val_fraction=0.2, test_fraction=0.1)).split
    shares = pd.crosstab(index["diagnosis"], split, normalize="index")
    assert (shares["val"].between(0.19, 0.21)).all()
    assert (shares["test"].between(0.09, 0.11)).all()


def test_the_split_depends_on_its_seed_and_not_on_the_order_of_rows() -> None:
    index = build_index(200, 1)
    index = grouped(index)
    split = assign_splits(index, SplitConfig(seed=1)).split
    shuffled = assign_splits(index.sample(frac=1, random_state=0), SplitConfig(seed=1)).split
    pd.testing.assert_series_equal(shuffled.sort_index(), split, check_dtype=False)
    other = assign_splits(index, SplitConfig(seed=2)).split
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
            "image_id": ["a", "b", "c", "d"],
        }
    )
    index = grouped(index)
    found = assign_splits(index, SplitConfig(val_fraction=0.5))
    split, dropped = found.split, found.dropped
    assert split.tolist()[1] == "test"
    assert dropped.tolist() == [CROSSES, None, None, None]
    assert split[0] is None
    assert sorted(split[2:]) == ["train", "val"]


def test_random_splits_image_by_image() -> None:
    index = build_index(100, 2)
    index = grouped(index)
    split = assign_splits(index, SplitConfig(method="random", val_fraction=0.2, test_fraction=0)).split
    assert split.value_counts().to_dict() == {"train": 80, "val": 20}
    assert split.groupby(index["lesion_id"]).nunique().max() > 1


@given(st.integers(0, 10_000), st.sampled_from([0, 4]), st.sampled_from(["grouped", "random"]))
def test_nobody_moves_when_images_are_added_unless_a_new_image_ties_two_sides(
    data_seed: int, num_folds: int, method: Literal["grouped", "random"]
) -> None:
    later = build_index(150, data_seed)
    if method == "random":  # copies may part there, whatever they are called
        later["content_sha256"] = [f"{number % 60}" for number in range(len(later))]
    else:
        later = later.drop_duplicates("content_sha256")
    earlier = grouped(later.iloc[: 2 * len(later) // 3])
    config = SplitConfig(method=method, num_folds=num_folds, val_fraction=0.2, test_fraction=0.2)
    first = assign_splits(earlier, config)
    second = assign_splits(grouped(later), config, record(earlier, first))
    stays = second.dropped[earlier.index].isna()
    assert (second.split[earlier.index] == first.split)[stays].all()
    assert second.fold[earlier.index][stays].equals(first.fold[stays])
    assert set(second.dropped.dropna()) <= {TIED}
    assert (second.split.isna() == second.dropped.notna()).all()
    if method == "grouped":
        side = second.split + second.fold.astype(str)
        assert (side.groupby(grouped(later)["group_id"]).nunique() <= 1).all()


def test_the_train_side_leaves_when_a_new_image_ties_it_to_the_test_side() -> None:
    index = build_index(4, 0).assign(diagnosis="nevus", lesion_id=["A", "B", "A", "C"])
    index["patient_id"] = np.array([None, "P", "P", None], object)
    index["content_sha256"] = ["a", "b", "new", "c"]
    recorded = pd.DataFrame({"content_sha256": ["a", "b", "c"], "split": ["test", "train", "train"], "fold": None})
    found = assign_splits(grouped(index), SplitConfig(), recorded)
    assert found.split.tolist() == ["test", None, "test", "train"]
    assert found.dropped.tolist() == [None, TIED, None, None]


def test_folds_are_even_within_each_diagnosis_and_fold_0_is_val() -> None:
    index = grouped(build_clean_index(900))
    found = assign_splits(index, SplitConfig(num_folds=5, test_fraction=0.2))
    counts = pd.crosstab(index["diagnosis"], found.fold)
    assert (counts.max(axis=1) - counts.min(axis=1) <= 2).all()
    assert ((found.fold == 0) == (found.split == "val")).all()
    assert found.fold[found.split == "test"].isna().all()
    assert (found.split == "test").mean() == pytest.approx(0.2, abs=0.01)


def test_large_groups_are_spread_like_small_ones() -> None:
    """One patient of eight images and one of one aren't the same burden: each fold gets its part of both."""
    patients = [f"P{n}" for n in range(40) for _ in range(8)] + [f"Q{n}" for n in range(40)]
    index = build_index(360, 0).assign(diagnosis="nevus", lesion_id=None, patient_id=patients)
    index["content_sha256"] = [f"{n:03d}" for n in range(360)]
    found = assign_splits(grouped(index), SplitConfig(num_folds=4, test_fraction=0))
    by_size = pd.crosstab(index["patient_id"].str[0], found.fold)
    assert (by_size.loc["P"] == 80).all()
    assert (by_size.loc["Q"] == 10).all()


def test_a_diagnosis_of_two_images_stays_in_training() -> None:
    index = grouped(build_index(62, 0).assign(lesion_id=None, patient_id=None))
    index["content_sha256"] = [f"{n:03d}" for n in range(62)]
    index["diagnosis"] = ["dermatofibroma"] * 2 + ["nevus"] * 60
    found = assign_splits(grouped(index), SplitConfig())
    assert found.split[:2].tolist() == ["train", "train"]


@pytest.mark.parametrize("method", ["grouped", "random"])
@pytest.mark.parametrize("split", ["test", "val"])
def test_a_split_that_is_given_later_is_made_of_the_given_images_alone(
    method: Literal["grouped", "random"], split: str
) -> None:
    """Train was prepared first, and Test came later."""
    index = grouped(build_clean_index(60))
    config = SplitConfig(method=method)
    earlier = index.iloc[:48]
    first = assign_splits(earlier, config)
    drawn = first.split[first.split == split].index
    later = index.assign(given_split=pd.Series([None] * 48 + [split] * 12, dtype=object))
    second = assign_splits(later, config, record(earlier, first))
    assert second.split[second.split == split].index.tolist() == list(range(48, 60))
    assert second.num_released == len(drawn) > 0
    third = assign_splits(later, config, record(later, second))
    assert third.split.equals(second.split)
    assert third.num_released == 0


def test_what_was_drawn_before_a_test_split_was_given_isn_t_lost() -> None:
    index = grouped(build_clean_index(60))
    earlier = index.iloc[:48]
    first = assign_splits(earlier, SplitConfig())
    second = assign_splits(
        index.assign(given_split=pd.Series([None] * 48 + ["test"] * 12, dtype=object)),
        SplitConfig(),
        record(earlier, first),
    )
    assert second.dropped.isna().all()
    assert second.split.notna().all()


def test_images_of_a_given_test_split_alone_are_refused_in_those_words() -> None:
    index = grouped(build_clean_index(12)).assign(given_split="test")
    with pytest.raises(
        DataError, match="all 12 images are in the given test split; give the images to train on as well"
    ):
        assign_splits(index, SplitConfig())


def test_a_collection_of_which_nothing_is_left_to_train_on_is_refused() -> None:
    """All train images are of lesions in the given test split."""
    index = build_clean_index(6).assign(lesion_id=["L0", "L1", "L2"] * 2, given_split=["test"] * 3 + ["train"] * 3)
    with pytest.raises(DataError, match="no image is left for the train split"):
        assign_splits(grouped(index), SplitConfig())
