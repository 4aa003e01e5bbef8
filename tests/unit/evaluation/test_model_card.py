"""The model card's own words: which items there are, and what a publisher may say to them."""

from __future__ import annotations

import re

import pytest

from melanoma_ray.errors import ConfigError
from melanoma_ray.evaluation.model_card import check_statements
from melanoma_ray.evaluation.tripod import ITEMS


def test_every_item_of_the_guideline_is_there_once_and_in_order() -> None:
    numbers = [item.number for item in ITEMS]
    assert len(set(numbers)) == len(numbers) == 52
    whole = [int(re.sub("[a-g]", "", number)) for number in numbers]
    assert whole == sorted(whole)
    assert set(whole) == set(range(1, 28))


def test_a_statement_is_text_for_an_item_that_exists() -> None:
    check_statements({"18a": "Nobody.", "27c": "A prospective study."})
    with pytest.raises(ConfigError, match=r"'28' is no item of TRIPOD\+AI; expected one of 1, "):
        check_statements({"28": "More."})
    with pytest.raises(ConfigError, match="18a = 3: expected text"):
        check_statements({"18a": 3})
