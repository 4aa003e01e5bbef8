"""The split that folders, columns and containers' names give."""

from __future__ import annotations

import pandas as pd
import pytest

from melanoma_ray.sources.given_splits import describe_given_split, give_splits, split_of_container


def series(*values: str | None) -> pd.Series:
    return pd.Series(list(values), dtype=object)


@pytest.mark.parametrize(
    ("name", "split"),
    [
        *(("train-image.hdf5", "train"), ("test-image.hdf5", "test"), ("isic_test.parquet", "test")),
        *(("test-00000-of-00001-ab12cd34.parquet", "test"), ("validation-00003-of-00010.parquet", "val")),
        *(("x/Test.parquet", "test"), ("train_0.parquet", "train"), ("ISIC_2020_train.parquet", "train")),
        *(("latest.parquet", None), ("train_test.parquet", None), ("my_test_of_a_tool.parquet", None)),
        *(("images.parquet", None), (None, None)),
    ],
)
def test_a_container_s_name_gives_a_split_where_it_says_nothing_else(name: str | None, split: str | None) -> None:
    assert split_of_container(name) == split


def test_a_folder_counts_before_a_column_and_a_column_before_a_file_and_contradictions_are_counted() -> None:
    folders = [("Train", "nevus"), ("Test", "nevus"), ("nevus",), ("nevus",)]
    found, notes = give_splits(folders, series("test", "test", "train", None), series(None, None, "test", "val"))
    assert found.tolist() == ["train", "test", "train", "val"]
    assert notes == [
        "1 image is in one split by the folder and in another by the table (folder train, table test (1)): "
        "the folder counts",
        "1 image is in one split by the table and in another by the file (table train, file test (1)): "
        "the table counts",
    ]


def test_folders_of_several_splits_are_said_and_the_outermost_counts() -> None:
    found, notes = give_splits([("test", "train", "nevus")], series(None), series(None))
    assert found.tolist() == ["test"]
    assert notes == ["1 image is in folders of several splits: the outermost counts"]


def test_a_folder_that_may_mean_a_split_is_named() -> None:
    found, notes = give_splits([("ISIC2018_Task3_Test_Input",), ("contest",)], series(None, None), series(None, None))
    assert found.tolist() == [None, None]
    assert notes == [
        "the folder ISIC2018_Task3_Test_Input (1 image) may mean a split, and isn't taken for one: "
        "call it test or val if it is"
    ]


def test_the_sizes_of_a_given_split_are_told() -> None:
    assert describe_given_split(series("train", "test", "train", None)) == "given split: train 2, test 1"
    assert describe_given_split(series(None)) == "no split was given"
