"""Reading the layouts in which collections come."""

from __future__ import annotations

from pathlib import Path

import pytest

from melanoma_ray.data.layouts import read_collection
from melanoma_ray.diagnoses import parse_diagnosis
from melanoma_ray.errors import DataError


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")


def column(collection: object, name: str) -> list[object]:
    return collection.table.column(name).to_pylist()  # type: ignore[attr-defined]


def test_folders_name_the_diagnosis_in_any_case_with_any_separator(tmp_path: Path) -> None:
    touch(tmp_path, "Actinic_Keratosis/a.jpg", "MEL/b.JPG", "basal cell carcinoma/c.png", "mel/notes.txt")
    found = read_collection(str(tmp_path))
    assert column(found, "image_id") == ["a", "b", "c"]
    assert column(found, "diagnosis") == ["actinic keratosis", "melanoma", "basal cell carcinoma"]


def test_train_and_test_folders_are_remembered(tmp_path: Path) -> None:
    touch(tmp_path, "Train/nevus/a.jpg", "Test/nevus/b.jpg")
    found = read_collection(str(tmp_path))
    assert dict(zip(column(found, "image_id"), column(found, "given_split"), strict=True)) == {
        "a": "train",
        "b": "test",
    }


def test_ham10000_s_table_tells_the_diagnosis_and_both_sides_are_counted(tmp_path: Path) -> None:
    touch(tmp_path, "images/ISIC_1.jpg", "images/ISIC_2.jpg", "images/ISIC_9.jpg")
    (tmp_path / "HAM10000_metadata.csv").write_text(
        "lesion_id,image_id,dx,dx_type,age,sex,localization\n"
        "HAM_1,ISIC_1,bkl,histo,80.0,male,scalp\n"
        "HAM_1,ISIC_2,bkl,histo,,female,back\n"
        "HAM_2,ISIC_3,nv,histo,30,male,foot\n"
    )
    found = read_collection(str(tmp_path))
    assert column(found, "diagnosis") == ["pigmented benign keratosis"] * 2
    assert column(found, "lesion_id") == ["HAM_1", "HAM_1"]
    assert column(found, "age") == [80.0, None]
    assert column(found, "site") == ["scalp", "back"]
    assert (found.num_rows_without_file, found.num_files_without_row) == (1, 1)


def test_a_table_beside_folders_adds_lesions_and_leaves_diagnoses(tmp_path: Path) -> None:
    touch(tmp_path / "images", "nevus/ISIC_1.jpg", "nevus/ISIC_1 (1).jpg", "melanoma/ISIC_2.jpg")
    table = tmp_path / "table.csv"
    table.write_text("lesion_id,image_id,dx\nHAM_1,ISIC_1,mel\n")
    found = read_collection(str(tmp_path / "images"), str(table))
    rows = {row["image_id"]: (row["diagnosis"], row["lesion_id"]) for row in found.table.to_pylist()}
    assert rows == {
        "ISIC_1": ("nevus", "HAM_1"),
        "ISIC_1 (1)": ("nevus", "HAM_1"),
        "ISIC_2": ("melanoma", None),
    }


def test_an_unknown_diagnosis_is_refused_and_the_known_ones_listed(tmp_path: Path) -> None:
    touch(tmp_path, "warts/a.jpg")
    with pytest.raises(DataError, match=r"'warts' is unknown: expected one of actinic keratosis, .*vascular lesion"):
        read_collection(str(tmp_path))


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([], "no image in it"),
        (["melanoma/readme.txt"], "no image in it"),
        (["loose.jpg"], "lie in no folder named after a diagnosis"),
    ],
)
def test_a_folder_without_usable_images_says_what_is_wrong(tmp_path: Path, names: list[str], message: str) -> None:
    touch(tmp_path, *names)
    with pytest.raises(DataError, match=message):
        read_collection(str(tmp_path))


def test_a_missing_folder_or_table_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere: not found"):
        read_collection(str(tmp_path / "nowhere"))
    touch(tmp_path, "nevus/a.jpg")
    with pytest.raises(DataError, match=r"none\.csv: not found"):
        read_collection(str(tmp_path), str(tmp_path / "none.csv"))


def test_a_table_of_other_images_is_refused(tmp_path: Path) -> None:
    touch(tmp_path, "images/a.jpg")
    (tmp_path / "metadata.csv").write_text("image_id,dx\nb,nv\n")
    with pytest.raises(DataError, match="none of 1 image files stands in the metadata table"):
        read_collection(str(tmp_path))


@pytest.mark.parametrize(
    ("name", "diagnosis"), [("AKIEC", "actinic keratosis"), (" Vascular-Lesion", "vascular lesion")]
)
def test_short_names_are_known(name: str, diagnosis: str) -> None:
    assert parse_diagnosis(name) == diagnosis
