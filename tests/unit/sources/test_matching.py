"""Which row of a table is about which image."""

from __future__ import annotations

import pytest

from melanoma_ray.sources.matching import NO_ROW, archive_id, match_rows, split_id


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


def test_endings_tell_files_apart_where_the_table_has_them() -> None:
    images, endings = [("p0",), ("p0",)], [".jpg", ".png"]
    assert match_rows(images, ["p0.png", "p0.JPG"], endings=endings).row.tolist() == [1, 0]
    assert match_rows(images, ["p0.jpg"], endings=endings).row.tolist() == [0, NO_ROW]
    both = match_rows(images, ["p0"], endings=endings)
    assert (both.row.tolist(), both.ambiguous) == ([NO_ROW, NO_ROW], ("p0",))


def test_an_ending_that_differs_matches_where_there_is_one_file_only() -> None:
    assert match_rows([("p0",)], ["p0.jpg"], endings=[".png"]).row.tolist() == [0]


@pytest.mark.parametrize(
    "name", ["Copy of x", "x - Copy", "x - Copy (2)", "x copy", "x copy 2", "Kopie von x", "x (3)"]
)
def test_a_copy_has_the_row_of_its_original(name: str) -> None:
    assert match_rows([(name,)], ["x"]).row.tolist() == [0]
    assert archive_id(name.replace("x", "ISIC_0000001")) == "ISIC_0000001"


def test_a_name_that_only_ends_like_a_copy_s_is_itself_where_the_table_has_it() -> None:
    assert match_rows([("photocopy",), ("x copy",)], ["photo", "x copy", "x"]).row.tolist() == [NO_ROW, 1]


@pytest.mark.parametrize("written", ["na\u0308vus1", "N\u00c4VUS1", '"nävus1"', "'nävus1.jpg'"])
def test_unicode_s_forms_and_quotes_make_no_difference(written: str) -> None:
    assert match_rows([("nävus1",)], [written]).row.tolist() == [0]
    assert match_rows([("na\u0308vus1",)], [written]).row.tolist() == [0]


def test_numbers_that_a_spreadsheet_made_floats_are_found() -> None:
    assert match_rows([("123",), ("124.0",)], ["123.0", "124"]).row.tolist() == [0, 1]


def test_numbers_that_lost_their_zeros_are_found_where_that_is_certain() -> None:
    assert match_rows([("00012",), ("00013",)], ["13", "12"]).row.tolist() == [1, 0]
    assert match_rows([("012",), ("12",)], ["12"]).row.tolist() == [NO_ROW, 0]
    assert match_rows([("012",), ("12",)], ["12", "012"]).row.tolist() == [1, 0]
    both = match_rows([("012",), ("0012",)], ["12"])
    assert (both.row.tolist(), both.ambiguous) == ([NO_ROW, NO_ROW], ("012",))


@pytest.mark.parametrize("written", ["https://host.org/files/mole%201.jpg?size=big", "mole 1.dcm", "mole 1 "])
def test_addresses_and_endings_of_what_an_image_was_made_of_are_understood(written: str) -> None:
    assert match_rows([("mole 1",)], [written]).row.tolist() == [0]
    assert match_rows([("mole 1 ",)], [written]).row.tolist() == [0]


def test_a_question_mark_in_a_file_name_is_a_letter() -> None:
    assert match_rows([("mole?1",), ("mole",)], ["mole?1.jpg"]).row.tolist() == [0, NO_ROW]
