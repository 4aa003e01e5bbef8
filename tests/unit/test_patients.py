"""Age, sex and site beside the image: how they become numbers."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from melanoma_ray.patients import NUM_FEATURES, encode_metadata, encode_patient, nothing_known
from melanoma_ray.schema import SEXES, SITES


def patient(age: float | None = None, sex: str | None = None, site: str | None = None) -> np.ndarray:
    (row,) = encode_metadata(pd.DataFrame([{"age": age, "sex": sex, "site": site}]))
    return np.asarray(row)


def test_what_is_missing_or_unknown_is_zero() -> None:
    assert not patient().any()
    assert not patient(site="unknown").any()
    np.testing.assert_array_equal(nothing_known(2), [patient(), patient(np.nan)])


@pytest.mark.parametrize("age", [None, float("nan"), 0.0, 50.0, 87.5])
@pytest.mark.parametrize("sex", [None, "unknown", *SEXES])
@pytest.mark.parametrize("site", [None, "wing", "Back", *SITES])
def test_a_patient_alone_is_encoded_as_a_row_of_a_table(age: float | None, sex: str | None, site: str | None) -> None:
    found = encode_patient(age, sex, site)
    np.testing.assert_array_equal(found, patient(age, sex, site))
    assert found.dtype == np.float32


def test_each_fact_has_places_of_its_own() -> None:
    assert patient(age=50).tolist() == [1] + [0] * (NUM_FEATURES - 1)
    assert patient(age=80)[1] == pytest.approx(0.3)
    np.testing.assert_array_equal(np.flatnonzero(patient(sex="male")), [3])
    np.testing.assert_array_equal(np.flatnonzero(patient(site="torso")), [4 + SITES.index("torso")])


@pytest.mark.parametrize(
    ("word", "site"),
    [
        ("Back", "torso"),
        ("anterior torso", "torso"),
        ("scalp", "head/neck"),
        ("foot", "palms/soles"),
        ("genital", "oral/genital"),
    ],
)
def test_a_collection_s_word_means_a_site(word: str, site: str) -> None:
    np.testing.assert_array_equal(patient(site=word), patient(site=site))
