"""The worklist: what it says, and in which order."""

from __future__ import annotations

from dataclasses import replace

import pytest

from melanoma_ray.errors import DataError
from melanoma_ray.reports.worklist import render_worklist
from tests.unit.reports.report_samples import (
    HOSTILE,
    WORKLIST,
    Reader,
    rows_of,
    worklist,
    worklist_row,
)


def test_the_worklist_begins_with_what_needs_eyes_and_ends_with_those_without_an_answer() -> None:
    html = worklist("Worklist", is_synthetic=False)
    assert rows_of(html, *(row.image_id for row in WORKLIST)) == [
        "urgent",
        "less-urgent",
        "strange",
        "calm-but-higher",
        "calm",
        "broken",
    ]
    assert html.index("Images without an answer</h2>") < html.index("truncated: half of it is missing")


def test_the_worklist_counts_its_decisions() -> None:
    words = Reader(worklist("Worklist", is_synthetic=False)).words()
    assert "2 Refer to a dermatologist 1 Can't be assessed: have a person look 2 Routine 1 Without an answer" in words


def test_a_worklist_without_images_says_so() -> None:
    html = render_worklist([], title="Worklist", is_synthetic=False, decision_threshold=0.5)
    assert "No image could be assessed." in html
    assert "Images without an answer" not in html


def test_a_file_name_with_markup_is_shown_as_text() -> None:
    row = replace(worklist_row("x", 0.9, "refer"), image_id=HOSTILE, path=HOSTILE, top_diagnosis=HOSTILE)
    html = render_worklist([row], title="Worklist", is_synthetic=False, decision_threshold=0.5)
    assert "<script" not in html
    assert HOSTILE in "".join(Reader(html).text)


def test_a_row_with_neither_decision_nor_error_is_refused_by_name() -> None:
    with pytest.raises(DataError, match="'lost': expected an error"):
        replace(worklist_row("lost", None), error=None)
