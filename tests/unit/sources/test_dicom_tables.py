"""What DICOM headers tell is used where no table tells it, and names nobody."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.sr.codedict import codes

from melanoma_ray.errors import DataError
from melanoma_ray.schema import SITES
from melanoma_ray.sources import dicom_tables
from melanoma_ray.sources.dicom_headers import HeaderTooLongError, find_header
from melanoma_ray.sources.dicom_tables import find_age, find_lesion, site_of_words
from melanoma_ray.sources.layouts import Collection, read_collection
from melanoma_ray.sources.listing import DICOM_DIRECTORIES, list_source
from melanoma_ray.sources.unlabelled import list_images
from tests.unit.imaging.dicom_files import NAME, build_header, write_dicom, write_header_only
from tests.unit.imaging.files import encode

PIXELS = np.full((16, 16, 3), 120, np.uint8)


def place(root: Path, name: str, **attributes: Any) -> None:  # noqa: ANN401 - of any kind
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_bytes(write_dicom(PIXELS, **attributes))


def column(collection: Collection, name: str) -> list[object]:
    return list(collection.table.column(name).to_pylist())


def region(value: str, meaning: str, scheme: str = "SCT") -> Sequence:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return Sequence([item])


def test_patient_age_sex_and_site_of_the_header_are_the_image_s(tmp_path: Path) -> None:
    place(tmp_path, "nevus/a.dcm", PatientAge="064Y", AnatomicRegionSequence=region("66643007", "Ruecken"))
    place(tmp_path, "melanoma/b.dcm", PatientID="P-18", PatientSex="M", BodyPartExamined="LOWERLEG")
    found = read_collection(str(tmp_path))
    assert column(found, "image_id") == ["b", "a"]
    assert column(found, "patient_id") == ["P-18", "P-17"]
    assert column(found, "age") == [65.0, 64.0]  # from the dates of birth and of the study, where none is stated
    assert column(found, "sex") == ["male", "female"]
    assert column(found, "site") == ["lower extremity", "torso"]
    assert column(found, "image_type") == ["dermoscopic", "dermoscopic"]


def test_a_table_counts_before_the_header_and_the_header_fills_what_it_lacks(tmp_path: Path) -> None:
    place(tmp_path, "images/a.dcm", PatientAge="064Y")
    (tmp_path / "meta.csv").write_text("image_id,dx,age,sex\na,nv,40,\n")
    found = read_collection(str(tmp_path))
    assert [column(found, name) for name in ("age", "sex", "diagnosis")] == [[40.0], ["female"], ["nevus"]]


def test_a_patient_whom_a_table_names_for_some_images_has_that_name_for_all(tmp_path: Path) -> None:
    place(tmp_path, "nevus/a.dcm")
    place(tmp_path, "nevus/b.dcm")
    place(tmp_path, "nevus/c.dcm", PatientID="P-18")
    (tmp_path / "meta.csv").write_text("image_id,patient_id\na,pseudonym1\n")
    assert column(read_collection(str(tmp_path)), "patient_id") == ["pseudonym1", "pseudonym1", "P-18"]


def test_equal_ids_of_two_issuers_are_two_patients(tmp_path: Path) -> None:
    place(tmp_path, "nevus/a.dcm", IssuerOfPatientID="North")
    place(tmp_path, "nevus/b.dcm", IssuerOfPatientID="South")
    assert column(read_collection(str(tmp_path)), "patient_id") == ["P-17 of North", "P-17 of South"]


def test_a_placeholder_is_no_patient(tmp_path: Path) -> None:
    place(tmp_path, "nevus/a.dcm", PatientID="ANONYMOUS", PatientSex="O")
    found = read_collection(str(tmp_path))
    assert [column(found, name) for name in ("patient_id", "sex")] == [[None], [None]]


def test_files_without_an_ending_and_with_a_uid_for_a_name_are_read_by_their_bytes(tmp_path: Path) -> None:
    place(tmp_path, "nevus/IM000001")
    place(tmp_path, "nevus/1.2.840.113619.1")
    place(tmp_path, "nevus/1.2.840.113619.2")
    (tmp_path / "nevus" / "README").write_text("no image")
    (tmp_path / "DICOMDIR").write_bytes(write_header_only())
    found = read_collection(str(tmp_path))
    assert column(found, "image_id") == ["1.2.840.113619.1", "1.2.840.113619.2", "IM000001"]
    assert found.passed_over == {"files without an ending": 1, DICOM_DIRECTORIES: 1}


def test_a_table_finds_a_file_by_its_uid(tmp_path: Path) -> None:
    for name in ("1.2.840.113619.1", "1.2.840.113619.2"):
        place(tmp_path, f"images/{name}")
    (tmp_path / "meta.csv").write_text("image_id,dx\n1.2.840.113619.1,nv\n1.2.840.113619.2,mel\n")
    assert column(read_collection(str(tmp_path)), "diagnosis") == ["nevus", "melanoma"]


def test_prediction_has_the_same_of_the_headers(tmp_path: Path) -> None:
    place(tmp_path, "a.dcm", PatientAge="064Y", TrackingID="mole 3")
    row = list_images(str(tmp_path)).images.iloc[0]
    assert tuple(row[["age", "sex", "patient_id", "lesion_id"]]) == (64.0, "female", "P-17", "mole 3")


def test_burnt_in_text_and_unknown_sites_are_told_and_nobody_is_named(tmp_path: Path) -> None:
    place(tmp_path, "a.dcm", BurnedInAnnotation="YES", BodyPartExamined="WING")
    found = list_images(str(tmp_path))
    assert any("1 DICOM image says that text is burnt in" in note for note in found.notes)
    assert any("'WING' (1)" in note for note in found.notes)
    told = f"{found.images.to_dict('records')} {found.notes}"
    assert not any(word in told for word in (*NAME.split("^"), "19610203"))


def test_a_damaged_header_tells_nothing_and_ends_nothing(tmp_path: Path) -> None:
    place(tmp_path, "b.dcm")
    (tmp_path / "a.dcm").write_bytes(write_dicom(PIXELS)[:140])
    (tmp_path / "c.dcm").write_bytes(b"no DICOM at all")
    assert list(list_images(str(tmp_path)).images["patient_id"]) == [None, "P-17", None]


def test_a_long_header_and_another_format_s_ending_lose_no_patient(tmp_path: Path) -> None:
    place(tmp_path, "a.dcm", ICCProfile=bytes(400_000), TrackingID="mole 3")
    place(tmp_path, "b.jpg", PatientID="P-18")
    (tmp_path / "c.jpg").write_bytes(encode(PIXELS))
    images = list_images(str(tmp_path)).images
    assert list(images["patient_id"]) == ["P-17", "P-18", None]
    assert list(images["lesion_id"]) == ["mole 3", None, None]


def test_a_header_without_an_end_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place(tmp_path, "a.dcm", ICCProfile=bytes(2_000_000), TrackingID="mole 3")
    with pytest.raises(HeaderTooLongError, match="more than 1000000 bytes before the pixels"):
        find_header(str(tmp_path / "a.dcm"), most_bytes=1_000_000)
    monkeypatch.setattr(dicom_tables, "find_header", partial(find_header, most_bytes=1_000_000))
    found = list_images(str(tmp_path))
    assert list(found.images["patient_id"]) == [None]
    assert any("1 DICOM header is longer than" in note for note in found.notes)


def test_little_more_than_the_header_of_a_file_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.dcm").write_bytes(write_dicom(np.zeros((1500, 1500, 3), np.uint8)))
    assert find_header(str(tmp_path / "a.dcm"), most_bytes=300_000) is not None


def test_a_folder_without_images_says_so(tmp_path: Path) -> None:
    (tmp_path / "IM000001").write_bytes(b"x")
    with pytest.raises(DataError, match="no image in it"):
        list_images(str(tmp_path))
    assert not list_source(str(tmp_path)).images


@pytest.mark.parametrize(
    ("attributes", "age"),
    [
        ({"PatientAge": "045Y"}, 45),
        ({"PatientAge": "018M"}, 1.5),
        ({"PatientAge": "026W"}, 0.5),
        ({"PatientAge": "45"}, 45),
        ({"PatientAge": "000Y"}, None),
        ({"PatientAge": "999Y"}, None),
        ({"PatientBirthDate": "19600704", "StudyDate": "20260703"}, 65),
        ({"PatientBirthDate": "19600704", "StudyDate": "", "AcquisitionDate": "20260705"}, 66),
        ({"PatientBirthDate": ""}, None),
        ({"PatientBirthDate": "19999999"}, None),
        ({"PatientBirthDate": "20270101"}, None),
    ],
)
def test_the_age_is_the_stated_one_or_that_on_the_day_of_the_study(attributes: dict[str, str], age: float) -> None:
    assert find_age(build_header(**attributes)) == age


def test_a_lesion_is_the_one_that_is_followed_or_else_the_specimen() -> None:
    specimen = Dataset()
    specimen.SpecimenIdentifier = "S-4"
    assert find_lesion(build_header()) is None
    assert find_lesion(build_header(SpecimenDescriptionSequence=[specimen])) == "S-4"
    assert find_lesion(build_header(SpecimenDescriptionSequence=[specimen], TrackingUID="1.2.3")) == "1.2.3"


@pytest.mark.parametrize(
    ("words", "site"),
    [
        ("Skin of forearm", "upper extremity"),
        ("Skin structure of left lower leg", "lower extremity"),
        ("Upper back", "torso"),
        ("Upper arm", "upper extremity"),
        ("Dorsum of right hand", "palms/soles"),
        ("FOREHEAD", "head/neck"),
        ("Entire trunk", "torso"),
        ("BREAST", "torso"),
        ("Nail unit of great toe", "palms/soles"),
        ("Skin of anterior helix of ear", "head/neck"),
        ("Mucosa of lower lip", "oral/genital"),
        ("Neck and Chest", None),
        ("Extremity", None),
        ("", None),
    ],
)
def test_names_of_sites_are_understood_where_they_are_certain(words: str, site: str | None) -> None:
    assert site_of_words(words) == site
    assert site is None or site in SITES


def test_most_sites_of_dicom_s_dermatology_are_understood() -> None:
    named = [code.meaning for code in codes.cid4029.concepts.values()]
    unknown = [name for name in named if site_of_words(name) is None]
    assert len(unknown) < 0.2 * len(named), unknown


def test_codes_count_whatever_language_their_meaning_has(tmp_path: Path) -> None:
    given = {"a": ("69536005", "Kopf", "SCT"), "b": ("T-D1100", "Kopf", "SRT"), "c": ("1", "Kopf", "99LOCAL")}
    for name, (value, meaning, scheme) in given.items():
        place(tmp_path, f"{name}.dcm", AnatomicRegionSequence=region(value, meaning, scheme))
    assert list(list_images(str(tmp_path)).images["site"]) == ["head/neck", "head/neck", None]
