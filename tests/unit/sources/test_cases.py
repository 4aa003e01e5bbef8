"""Small imitations of public sets, exports and mistakes, each with what must become of it: ../shared/cases."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from melanoma_ray.errors import DataError
from melanoma_ray.sources.layouts import Collection, read_collection
from melanoma_ray.sources.listing import MASKS, SYSTEM
from melanoma_ray.sources.taxonomies import open_taxonomy
from melanoma_ray.sources.unlabelled import list_images

CASES = Path(__file__).parents[4] / "shared" / "cases" / "data"
pytestmark = pytest.mark.skipif(
    not CASES.is_dir(), reason="the cases aren't here: ../shared/cases; other tests of this room make their own"
)
LAST_TWO = ("pigmented benign keratosis", "vascular lesion")
TWO_OF_FOUR = {"nevus": 2, "melanoma": 2, "basal cell carcinoma": 2, "pigmented benign keratosis": 2}
SIX = ("melanoma", "nevus", "basal cell carcinoma", "actinic keratosis", *LAST_TWO)
TABLE_DIALECTS = (
    *(
        "csv_bom",
        "csv_semicolon",
        "csv_latin1",
        "csv_index_col",
        "csv_quoted_newline",
        "cols_uppercase",
        "tab_dataverse",
    ),
    *("ids_with_ext", "ids_with_path", "upper_id", "onehot_bool", "onehot_submission", "bcn20000"),
)
FOLDERS_AND_RUBBISH = ("ipynb_checkpoints", "ipynb_checkpoints_with_table", "appledouble", "macosx_dir", "junk")


def read(name: str) -> Collection:
    return read_collection(str(CASES / name))


def counts(found: Collection) -> dict[str, int]:
    return dict(Counter(found.table.column("diagnosis").to_pylist()))


def column(found: Collection, name: str) -> list[object]:
    return list(found.table.column(name).to_pylist())


@pytest.mark.parametrize("name", TABLE_DIALECTS)
def test_each_dialect_of_a_table_is_read_and_each_id_matched(name: str) -> None:
    found = read(name)
    assert counts(found) == TWO_OF_FOUR
    assert (found.num_rows_without_file, found.num_files_without_row) == (0, 0)


@pytest.mark.parametrize("name", FOLDERS_AND_RUBBISH)
def test_rubbish_of_systems_is_passed_over_and_counted(name: str) -> None:
    found = read(name)
    assert counts(found) == TWO_OF_FOUR
    assert found.passed_over[SYSTEM] == sum(1 for path in (CASES / name).rglob("*") if path.is_file()) - 8 - (
        name == "ipynb_checkpoints_with_table"
    )


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("given_test_smaller_copy", {"train": 24, "test": 8}),
        ("given_test_equal_copy_case", {"train": 12, "test": 2}),
        ("nested_test", {"train": 8, "test": 4}),
        ("train_valid_test", {"train": 4, "val": 4, "test": 4}),
        ("roboflow_multilabel", {"train": 4, "val": 4, "test": 4}),
        ("kaggle10000", {"train": 4, "test": 4}),
        ("train_in_name", {None: 8}),
        ("class_beats_patient_subdirs", {None: 8}),
    ],
)
def test_a_given_split_is_found_at_any_depth_and_said(name: str, split: dict[str | None, int]) -> None:
    found = read(name)
    assert Counter(column(found, "given_split")) == split
    told = ", ".join(f"{side} {split[side]}" for side in ("train", "val", "test") if side in split)
    assert (f"given split: {told}" if told else "no split was given") in found.notes


def test_several_roots_give_a_split_by_their_own_names() -> None:
    roots = [str(CASES / "given_test_smaller_copy" / name) for name in ("Train", "Test")]
    assert Counter(column(read_collection(roots), "given_split")) == {"train": 24, "test": 8}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("parquet_dup_ids", {"melanoma": 2, "nevus": 1, "basal cell carcinoma": 1}),
        ("parquet_shards_dup", {"melanoma": 3, "nevus": 3, "basal cell carcinoma": 2}),
        ("parquet_shards_same_ids", {"melanoma": 4, "nevus": 2, "basal cell carcinoma": 2}),
        ("parquet_one_without_bytes", {"melanoma": 2, "nevus": 1, "basal cell carcinoma": 1}),
        ("parquet_meta_beside", {"melanoma": 4}),
        ("hdf5_nested", {"melanoma": 4}),
        ("hdf5_metadata_parquet_beside", {"melanoma": 4}),
    ],
)
def test_each_row_of_a_container_keeps_its_own_columns(name: str, expected: dict[str, int]) -> None:
    assert counts(read(name)) == expected


def test_ids_under_two_diagnoses_are_said() -> None:
    assert "ids that stand for several rows of different diagnoses: x1 (nv, mel)" in read("parquet_dup_ids").notes


def test_a_given_table_applies_to_a_parquet_of_images() -> None:
    folder = CASES / "parquet_meta_beside"
    found = read_collection(str(folder / "images.parquet"), str(folder / "metadata.csv"))
    assert counts(found) == {"melanoma": 4}


def test_numbers_that_nothing_names_are_one_line() -> None:
    with pytest.raises(DataError, match=r"are numbers \(0, 1, 2, 3, 4\), and the file doesn't name them"):
        read("hf_int_labels")
    assert len(list_images(str(CASES / "hf_int_labels")).images) == 6


def test_placeholders_group_nothing() -> None:
    found = read("placeholder_patient")
    assert column(found, "patient_id") == column(found, "lesion_id") == [None] * 40


def test_a_shifted_column_is_read_where_it_belongs() -> None:
    assert sorted(map(str, column(read("csv_trailing_comma_lesion"), "lesion_id"))) == [f"L{i}" for i in range(8)]


def test_ids_with_endings_bring_their_lesions_to_folders() -> None:
    assert None not in column(read("ids_with_ext_folders"), "lesion_id")


def test_what_a_table_doesn_t_tell_apart_is_said() -> None:
    with pytest.raises(DataError, match="one row for several different files of one name, and doesn't tell them apart"):
        read("same_name_two_folders_table")


def test_ages_and_sexes() -> None:
    found = read("ages")
    assert column(found, "age") == [85.0, None, None, 45.0, None, None, 30.5, 60.0]
    assert column(found, "sex") == ["male", "female", "male", "female", "male", "female", None, None]


def test_missing_labels_are_missing_and_said() -> None:
    found = read("nan_labels")
    assert (counts(found), found.num_files_without_row) == ({"nevus": 2}, 6)
    assert any(note.startswith("6 images are left out") for note in found.notes)


def test_tables_that_contradict_each_other_are_said() -> None:
    found = read("two_tables_contradict")
    assert counts(found) == TWO_OF_FOUR
    assert "tables contradict each other about 6 images: the first one counts" in found.notes


def test_masks_are_passed_over_by_their_names() -> None:
    assert read("isic2016_masks").passed_over[MASKS] == 6


def test_ph2_s_masks_are_passed_over_and_an_empty_table_is_one_line() -> None:
    assert list_images(str(CASES / "ph2")).passed_over[MASKS] == 8
    with pytest.raises(DataError, match=r"of 4 images 0 were found in PH2_dataset\.txt"):
        read("ph2")


def test_a_table_s_finer_word_counts_before_a_coarse_folder() -> None:
    assert counts(read("benign_folder_with_table")) == {"nevus": 4, "melanoma": 4}


def test_a_patient_s_folder_groups_below_the_diagnosis() -> None:
    assert column(read("class_beats_patient_subdirs"), "patient_id").count(None) == 0


@pytest.mark.parametrize("name", ["isic2016", "kaggle10000"])
def test_sets_of_two_words_have_two_classes(name: str) -> None:
    found = read(name)
    assert counts(found) == {"benign": 4, "malignant": 4}
    assert [(one.name, one.is_malignant) for one in found.diagnoses] == [("benign", False), ("malignant", True)]


@pytest.mark.parametrize(
    ("name", "expected", "site"),
    [
        ("isic2017", {"melanoma": 3, "seborrheic keratosis": 3, "nevus": 2}, None),
        ("isic_cli_2026", {"nevus": 1}, "Head and neck"),
        ("ddi", {"nevus": 2, "melanoma": 2, "basal cell carcinoma": 2, "seborrheic keratosis": 2}, None),
        ("derm7pt", {"nevus": 3, "melanoma": 2, "basal cell carcinoma": 1, "vascular lesion": 1}, "back"),
        ("hf_marmal", dict.fromkeys(SIX, 1), "back"),
        (
            "long_names",
            {"nevus": 2, "pigmented benign keratosis": 2, "actinic keratosis": 2, "vascular lesion": 2},
            None,
        ),
    ],
)
def test_public_sets_are_read(name: str, expected: dict[str, int], site: str | None) -> None:
    found = read(name)
    assert counts(found) == expected
    assert column(found, "site")[0] == site


def test_milk10k_s_truth_is_by_lesion_and_its_two_pictures_are_told_apart() -> None:
    found = read("milk10k")
    assert found.num_left_out == {"INF": 2}
    assert Counter(column(found, "image_type")) == {"clinical: close-up": 5, "dermoscopic": 5}
    assert set(Counter(column(found, "lesion_id")).values()) == {2}


def test_pad_ufes_20_s_words_patients_and_regions_are_read() -> None:
    found = read("padufes")
    assert set(counts(found)) == {
        *("nevus", "melanoma", "basal cell carcinoma", "actinic keratosis", "seborrheic keratosis"),
        "squamous cell carcinoma",
    }
    assert column(found, "site") == ["ARM"] * 8
    assert None not in column(found, "patient_id")


def test_colons_are_letters_of_a_name() -> None:
    assert sorted(map(str, column(read("colons"), "image_id"))) == ["2024-01-01::12", "b"]


def test_each_ending_is_read_or_named() -> None:
    found = read("other_exts")
    assert len(found.table) + sum(found.passed_over.values()) == 14
    assert found.passed_over == {"files without an ending": 1}


def test_an_archive_is_one_line() -> None:
    with pytest.raises(DataError, match=r"archives \(\.zip\): unpack them first \(1\)"):
        read("zipped")


def test_every_file_of_a_mixed_folder_is_an_image_or_counted() -> None:
    listed = list_images(str(CASES / "predict_mix"), [str(CASES / "_tables" / "predict_metadata_mismatch_meta.csv")])
    assert len(listed.images) + sum(listed.passed_over.values()) == 20
    assert any(note.startswith("of ") and "were found in" in note for note in listed.notes)


@pytest.mark.parametrize("name", ["taxo_ok", "taxo_bom", "taxo_semicolon"])
def test_taxonomies_are_read_in_any_dialect(name: str) -> None:
    assert open_taxonomy(str(CASES / "_tables" / f"{name}.csv")).parse("Melanocytic nevi") == "nevus"


def test_a_taxonomy_in_latin_1_is_read() -> None:
    assert open_taxonomy(str(CASES / "_tables" / "taxo_latin1.csv")).parse("n\xe4vus") == "nevus"
