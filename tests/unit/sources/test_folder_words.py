"""Folders named after diagnoses by people."""

from __future__ import annotations

import pytest

from melanoma_ray.diagnoses import load_taxonomy
from melanoma_ray.sources.folder_words import diagnosis_in, folder_words

TAXONOMY = load_taxonomy()


@pytest.mark.parametrize(
    ("name", "diagnosis"),
    [
        ("1. Melanoma", "melanoma"),
        ("2. Melanoma 15.75k", "melanoma"),
        ("01_nevus", "nevus"),
        ("5. Melanocytic Nevi (NV) - 7970", "nevus"),
        ("4. Basal Cell Carcinoma (BCC) 3323", "basal cell carcinoma"),
        ("6. Benign Keratosis-like Lesions (BKL) 2624", "pigmented benign keratosis"),
        ("melanoma_photos", "melanoma"),
        ("Pigmented Nevus", "nevus"),
        ("dermoscopic images nevus", "nevus"),
        ("BCC (n=120)", "basal cell carcinoma"),
        ("Dysplastic Naevi", "nevus"),
        ("Nävus", "nevus"),
        ("Na\u0308vus", "nevus"),
        ("Basaliom", "basal cell carcinoma"),
        ("Seborrhoeic keratoses", "seborrheic keratosis"),
        ("Melanoma (malignant)", "melanoma"),
        ("melanoma - Kopie", "melanoma"),
        ("Nevus (2)", "nevus"),
    ],
)
def test_a_numbered_or_decorated_name_is_its_diagnosis(name: str, diagnosis: str) -> None:
    word = diagnosis_in(name, TAXONOMY)
    assert word is not None
    assert TAXONOMY.parse(word) == diagnosis


@pytest.mark.parametrize(
    "name",
    [
        *("suspected melanoma", "melanoma vs nevus", "melanoma and nevus", "Melanoma Skin Cancer Nevi and Moles"),
        *("no nevus", "8. Seborrheic Keratoses and other Benign Tumors - 1.8k", "Melanoma (suspected)", "1", "0"),
        *("nevus (melanoma)", "Melanoma (benign)", "images", "12 photos", "melanoma?", "patient_12", "ISIC_0000001"),
    ],
)
def test_a_name_that_isn_t_certain_tells_nothing(name: str) -> None:
    assert diagnosis_in(name, TAXONOMY) is None


def test_what_is_no_melanoma_isn_t_one_however_it_is_decorated() -> None:
    word = diagnosis_in("2_not_melanoma_images", TAXONOMY)
    assert word is not None
    assert TAXONOMY.parse(word) is None


def test_a_folder_above_other_diagnoses_is_named_after_its_subject_and_tells_none() -> None:
    paths = [("melanoma", "benign"), ("melanoma", "malignant"), ("melanoma", "unsure"), ("nevus", "blue nevus")]
    found, notes = folder_words(paths, TAXONOMY)
    assert found == {paths[0]: "benign", paths[1]: "malignant", paths[2]: None, paths[3]: "blue nevus"}
    assert notes == ["the folder melanoma has images of other diagnoses below it, so its name tells none of them"]


def test_a_coarse_folder_below_a_fine_one_that_it_fits_leaves_the_fine_word() -> None:
    paths = [("melanoma", "malignant"), ("Train", "melanoma"), ("benign", "nevus"), ("melanoma", "patient_12")]
    assert folder_words(paths, TAXONOMY) == (
        {paths[0]: "melanoma", paths[1]: "melanoma", paths[2]: "nevus", paths[3]: "melanoma"},
        [],
    )


@pytest.mark.parametrize("name", ["melanoma_dataset", "Melanoma Data", "melanoma set"])
def test_a_data_set_about_a_diagnosis_is_no_folder_of_it(name: str) -> None:
    assert diagnosis_in(name, TAXONOMY) is None
