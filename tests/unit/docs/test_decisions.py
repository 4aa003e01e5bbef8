"""Decisions are dated, newest first, and each stands in one of the two files."""

from __future__ import annotations

import datetime as dt
import itertools
import re

import pytest

from tests.unit.docs.documents import read_document

FILES = ("docs/decisions.md", "docs/performance.md")
_HEAD = re.compile(r"\*\*(\d{4}-\d{2}-\d{2}) · (.+?)\*\*\s\S", re.DOTALL)


def read_decisions(name: str) -> list[tuple[dt.date, str]]:
    """Return the date and the statement of each paragraph after the introduction."""
    paragraphs = read_document(name).strip().split("\n\n")[2:]
    heads = [_HEAD.match(paragraph) for paragraph in paragraphs]
    assert all(heads), [paragraph[:60] for paragraph, head in zip(paragraphs, heads, strict=True) if head is None]
    return [(dt.date.fromisoformat(head[1]), " ".join(head[2].split())) for head in heads if head]


@pytest.mark.parametrize("name", FILES)
def test_dates_are_valid_and_the_newest_comes_first(name: str) -> None:
    dates = [date for date, _ in read_decisions(name)]
    assert len(dates) > 8
    assert dates == sorted(dates, reverse=True)
    assert dates[-1] >= dt.date(2026, 11, 22)


@pytest.mark.parametrize("name", FILES)
def test_a_decision_is_a_sentence(name: str) -> None:
    assert all(statement.endswith(".") for _, statement in read_decisions(name))


def test_no_decision_stands_twice() -> None:
    statements = list(itertools.chain.from_iterable(read_decisions(name) for name in FILES))
    assert len(statements) == len(set(statements))
