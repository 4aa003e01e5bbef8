"""What single cells say: understood where it is certain, told where it isn't."""

from __future__ import annotations

import pytest

from melanoma_ray.sources.cells import clean, clean_group, describe_words, parse_age, parse_sex, parse_split


@pytest.mark.parametrize(
    "word", ["n.a.", "TBD", "unbekannt", "k.A.", "keine Angabe", "#N/A", "Not reported", "\\N", "/"]
)
def test_placeholders_of_other_hands_are_missing_values(word: str) -> None:
    assert clean(word) is None


@pytest.mark.parametrize("word", ["anonymous", "Anonymised", "-1"])
def test_a_name_for_nobody_groups_nothing(word: str) -> None:
    assert clean_group(word) is None
    assert clean_group("0") == "0"


@pytest.mark.parametrize(
    ("word", "sex"),
    [
        *(("weiblich", "female"), ("Frau", "female"), ("F.", "female"), ("männlich", "male"), ("Mann", "male")),
        *(("divers", None), ("h", None), ("0", None), ("", None)),
    ],
)
def test_a_sex_is_understood_where_it_is_certain(word: str, sex: str | None) -> None:
    assert parse_sex(word) == sex


@pytest.mark.parametrize(
    ("text", "years"),
    [
        *(("45 Jahre", 45), ("45y", 45), ("45 yo", 45), ("45 ans", 45), (">85", 85), ("45,5", 45.5), ("70-80 J.", 75)),
        *(("18 months", 1.5), ("1965", None), ("<18", None), ("999", None), ("ca. 45", None), ("12/03/1960", None)),
    ],
)
def test_an_age_is_understood_where_it_is_certain(text: str, years: float | None) -> None:
    assert parse_age(text) == years


@pytest.mark.parametrize(
    ("word", "split"),
    [
        *(
            ("training set", "train"),
            ("Testing", "test"),
            ("test_set", "test"),
            ("TrainSet", "train"),
            ("VALID", "val"),
        ),
        *(("validation images", "val"), ("Test data", "test"), ("images_train", "train")),
        *(("holdout", None), ("dev", None), ("0", None), ("train test", None), ("test1", None), ("contest", None)),
        *(("ISIC_2019_Training_Input", None), ("test patients", None), ("", None)),
    ],
)
def test_a_split_is_understood_where_a_name_says_nothing_else(word: str, split: str | None) -> None:
    assert parse_split(word) == split


def test_words_that_aren_t_understood_are_counted() -> None:
    assert describe_words("x/meta.csv", "sex", []) == []
    assert describe_words("x/meta.csv", "age", ["old"]) == [
        "meta.csv: 1 row has an age that isn't understood, and counts as unknown: 'old' (1)"
    ]
