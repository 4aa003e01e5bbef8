"""What preparation says of a split that the sources themselves give."""

from __future__ import annotations

import pandas as pd
import pyarrow as pa

from melanoma_ray.diagnoses import NINE
from melanoma_ray.preparation.pipeline import _describe_given
from melanoma_ray.sources.layouts import Collection


def build_collection(given: list[str | None], num_given: dict[str, int]) -> Collection:
    return Collection(
        table=pa.table({"given_split": pa.array(given, pa.string())}),
        diagnoses=NINE,
        num_rows_without_file=0,
        num_files_without_row=0,
        num_left_out={},
        passed_over={},
        num_given=num_given,
        notes=(),
    )


def test_what_remains_of_a_given_split_and_where_the_rest_went_adds_up() -> None:
    collection = build_collection(["train", "test", "test", "test", "test", "train"], {"train": 2, "test": 6})
    index = pd.DataFrame(
        {
            "given_split": ["train", "test", "test", "train"],
            "split": ["val", "test", None, "train"],
            "dropped": [None, None, "conflicting diagnoses", None],
        }
    )
    quarantine = pd.DataFrame({"given_split": ["test"], "fault": ["truncated"]})
    assert _describe_given(collection, index, quarantine) == [
        "of the given test split 1 of 6 images remain: 2 without one of the diagnoses, 1 masks, "
        "1 unreadable (truncated), 1 conflicting diagnoses",
        "1 image of the given train split was drawn for val",
    ]


def test_a_split_drawn_in_place_of_a_given_one_that_is_lost_is_told() -> None:
    index = pd.DataFrame({"given_split": [None, None], "split": ["test", "train"], "dropped": [None, None]})
    quarantine = pd.DataFrame({"given_split": ["test"], "fault": ["truncated"]})
    assert _describe_given(build_collection(["test", None, None], {"test": 1}), index, quarantine) == [
        "of the given test split 0 of 1 images remain: 1 unreadable (truncated); 1 image was drawn in their place"
    ]


def test_a_given_split_of_which_all_remains_needs_no_word() -> None:
    index = pd.DataFrame({"given_split": ["test", None], "split": ["test", "train"], "dropped": [None, None]})
    quarantine = pd.DataFrame({"given_split": [], "fault": []})
    assert _describe_given(build_collection(["test", None], {"test": 1}), index, quarantine) == []
