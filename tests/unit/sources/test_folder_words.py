"""Folders named after diagnoses by people."""

from __future__ import annotations

import pytest

from melanoma_ray.diagnoses import load_taxonomy
from melanoma_ray.sources.folder_words import diagnosis_in

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
