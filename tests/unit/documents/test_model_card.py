"""The model card's own words: which items there are, and what a publisher may say to them."""

from __future__ import annotations

import re

import pytest

from melanoma_ray.documents.guidelines.claim import CLAIM
from melanoma_ray.documents.guidelines.items import Guideline
from melanoma_ray.documents.guidelines.stard import STARD_AI
from melanoma_ray.documents.guidelines.tripod import TRIPOD_AI
from melanoma_ray.documents.model_card import GUIDELINES, check_statements
from melanoma_ray.errors import ConfigError


@pytest.mark.parametrize(("guideline", "num_items", "num_parts"), [(TRIPOD_AI, 27, 52), (STARD_AI, 40, 48)])
def test_every_item_of_a_guideline_is_there_once_and_in_order(
    guideline: Guideline, num_items: int, num_parts: int
) -> None:
    numbers = [item.number for item in guideline.items]
    assert len(set(numbers)) == len(numbers) == num_parts
    whole = [int(re.sub("[a-g]", "", number.split()[-1])) for number in numbers]
    assert whole == sorted(whole)
    assert set(whole) == set(range(1, num_items + 1))


def test_the_items_of_claim_are_numbered_as_there_and_in_order() -> None:
    numbers = [int(item.number.removeprefix("CLAIM ")) for item in CLAIM.items]
    assert numbers == sorted(set(numbers))
    assert set(numbers) <= set(range(1, 45))


def test_an_item_that_asks_for_the_same_as_another_names_one_of_tripod_s() -> None:
    known = {item.number for item in TRIPOD_AI.items}
    assert {item.like for guideline in GUIDELINES for item in guideline.items} - {""} <= known
    assert not any(item.like for item in TRIPOD_AI.items)


def test_a_statement_is_text_for_an_item_that_exists() -> None:
    check_statements({"18a": "Nobody.", "STARD-AI 5": "Retrospective.", "CLAIM 11": "No names."})
    with pytest.raises(ConfigError, match=r"'28' is no item of TRIPOD\+AI, STARD-AI, CLAIM 2024; expected one of 1, "):
        check_statements({"28": "More."})
    with pytest.raises(ConfigError, match="18a = 3: expected text"):
        check_statements({"18a": 3})
