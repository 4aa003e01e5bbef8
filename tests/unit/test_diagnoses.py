"""The nine diagnoses, and every name they go by."""

from __future__ import annotations

import pytest

from melanoma_ray.diagnoses import load_taxonomy, parse_diagnosis
from melanoma_ray.errors import DataError


@pytest.mark.parametrize(
    ("name", "diagnosis"), [("AKIEC", "actinic keratosis"), (" Vascular-Lesion", "vascular lesion")]
)
def test_short_names_are_known(name: str, diagnosis: str) -> None:
    assert parse_diagnosis(name) == diagnosis


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("word,meaning\n", "expected name and diagnosis"),
        ("name,diagnosis\nx,wart\n", "'x' is said to be 'wart'"),
        ("name,diagnosis\ngut,nevus\nGut,melanoma\n", "'gut' is said to be 'nevus' and 'melanoma'"),
        ("name,diagnosis,is_malignant\na,X,yes\nb,x,yes\n", "'X' and 'x' are spellings of one diagnosis"),
    ],
)
def test_a_taxonomy_that_makes_no_sense_is_refused(text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        load_taxonomy(text)


def test_every_word_of_the_built_in_taxonomy_covers_its_own_meaning() -> None:
    taxonomy = load_taxonomy()
    assert len(taxonomy.meanings) > 80
    for word, meaning in taxonomy.meanings.items():
        assert meaning is None or meaning in taxonomy.covers(word)
