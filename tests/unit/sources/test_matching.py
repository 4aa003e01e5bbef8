"""Which row of a table is about which image."""

from __future__ import annotations

import pytest

from melanoma_ray.sources.matching import NO_ROW, match_rows, split_id


@pytest.mark.parametrize(
    "written",
    [
        "ISIC_0000001",
        "ISIC_0000001.jpg",
        "ISIC_0000001.JPG",
        " ISIC_0000001 ",
        "images/ISIC_0000001.png",
        "x\\y\\isic_0000001",
    ],
)
def test_ids_match_with_or_without_ending_path_spaces_and_case(written: str) -> None:
    assert match_rows([("images", "ISIC_0000001")], ["other", written]).row.tolist() == [1]


def test_folders_tell_files_of_one_name_apart() -> None:
    images = [("images", "clinicA", "IMG_1"), ("images", "clinicB", "IMG_1")]
    match = match_rows(images, ["clinicB/IMG_1.jpg", "clinicA/IMG_1.jpg"])
    assert match.row.tolist() == [1, 0]
    assert match.ambiguous == ()


def test_a_row_of_another_folder_isn_t_taken_by_a_file_of_the_same_name() -> None:
    assert match_rows([("p1", "img1"), ("p2", "img1")], ["p1/img1"]).row.tolist() == [0, NO_ROW]


def test_what_a_table_doesn_t_tell_apart_gets_no_row_and_is_named() -> None:
    match = match_rows([("clinicA", "IMG_1"), ("clinicB", "IMG_1"), ("clinicB", "IMG_2")], ["IMG_1", "IMG_2"])
    assert match.row.tolist() == [NO_ROW, NO_ROW, 1]
    assert match.ambiguous == ("IMG_1",)


def test_one_picture_in_two_folders_has_one_row() -> None:
    images = [("part_1", "ISIC_0000001"), ("part_2", "ISIC_0000001"), ("a", "x"), ("b", "x")]
    match = match_rows(images, ["ISIC_0000001", "x"], lambda places: places == [2, 3])
    assert match.row.tolist() == [0, 0, 1, 1]


def test_copies_and_exports_are_found_under_the_name_of_the_original() -> None:
    images = [("ISIC_1 (1)",), ("ISIC_1_jpg.rf.0123456789abcdef",), ("ISIC_10",)]
    assert match_rows(images, ["ISIC_1"]).row.tolist() == [0, 0, NO_ROW]


def test_an_id_that_is_missing_or_empty_matches_nothing() -> None:
    assert match_rows([("a",)], [None, "", " ", "/"]).row.tolist() == [NO_ROW]
    assert split_id("") == ("",)
