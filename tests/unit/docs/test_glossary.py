"""docs/glossary.md names what is there."""

from __future__ import annotations

import re

import pytest

from tests.unit.docs.documents import ROOT, is_path, list_quoted, occurs_in_package, read_document, read_table

TEXT = read_document("docs/glossary.md")
ROWS = read_table(TEXT)


def test_the_table_is_alphabetical_and_has_each_term_once() -> None:
    terms = [row[0].casefold() for row in ROWS]
    assert len(ROWS) > 60
    assert terms == sorted(set(terms))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_a_term_has_one_sentence_and_one_file_that_exists(row: list[str]) -> None:
    _, meaning, _, where = row
    assert re.fullmatch(r"[A-Z`].*[^.]\.", meaning)
    assert ". " not in meaning
    assert (ROOT / where.strip("`")).is_file()


@pytest.mark.parametrize("path", sorted({quoted for quoted in list_quoted(TEXT) if is_path(quoted)}))
def test_a_file_it_names_exists(path: str) -> None:
    assert (ROOT / path).exists()


@pytest.mark.parametrize("name", sorted({quoted for quoted in list_quoted(TEXT) if not is_path(quoted)}))
def test_a_name_in_backticks_is_one_of_the_code(name: str) -> None:
    assert occurs_in_package(name)
