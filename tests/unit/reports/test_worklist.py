"""The worklist: what it says, in the order that it is given."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from melanoma_ray.errors import DataError
from melanoma_ray.reports.worklist import render_worklist
from tests.unit.reports.report_samples import HOSTILE, WORKLIST, Reader, build_worklist, worklist, worklist_row


def places_of(html: str) -> list[tuple[str, str]]:
    return re.findall(r'data-image="([^"]+)" data-place="(\d+)"', html)


def test_the_worklist_has_its_rows_in_their_order_and_then_those_without_an_answer() -> None:
    html = worklist("Worklist", is_synthetic=False)
    assert [image for image, _ in places_of(html)] == [row.image_id for row in WORKLIST]
    assert html.index("Images without an answer</h2>") < html.index("truncated: half of it is missing")


def test_the_worklist_counts_its_decisions() -> None:
    words = Reader(worklist("Worklist", is_synthetic=False)).words()
    assert "2 Refer to a dermatologist 1 Can't be assessed: have a person look 1 Routine 1 Without an answer" in words


def test_a_worklist_without_images_says_so() -> None:
    html = render_worklist(build_worklist([]), [])
    assert "No image could be assessed." in html
    assert "Images without an answer" not in html


def test_a_file_name_with_markup_is_shown_as_text() -> None:
    urgent = worklist_row("x", 0.9, "refer")
    row = replace(urgent, image_id=HOSTILE, path=HOSTILE, top_diagnosis=HOSTILE, patient_id=HOSTILE)
    html = render_worklist(build_worklist([row]), [row])
    assert html.count("<script") == 1
    assert HOSTILE in "".join(Reader(html).text)


def test_a_row_with_neither_decision_nor_error_is_refused_by_name() -> None:
    with pytest.raises(DataError, match="'lost': expected an error"):
        replace(worklist_row("lost", None), error=None)


def test_what_is_said_above_a_patient_s_rows_is_counted() -> None:
    of_patient = [
        replace(worklist_row(name, 0.9, "refer"), patient_id="P1", lesion_id=lesion)
        for name, lesion in (("a", "L1"), ("b", "L1"), ("c", "L2"))
    ]
    unsure = replace(worklist_row("d", 0.5, "refer"), patient_id="P2")
    words = Reader(render_worklist(build_worklist([]), [*of_patient, unsure, *WORKLIST[2:]])).words()
    assert "Patient P1: 3 images of 2 lesions" in words
    assert "Patient P2: 1 image" in words
    assert words.count("Patient P") == 2


def test_a_further_page_goes_on_counting_and_names_the_others() -> None:
    pages = ("worklist.html", "worklist-2.html", "worklist-3.html")
    html = render_worklist(build_worklist([], pages=pages), WORKLIST, number=2, first_place=2001)
    assert places_of(html)[0] == ("urgent", "2001")
    assert re.findall(r'href="(worklist[^"]*)"', html) == ["worklist.html", "worklist-3.html"]
    assert '<strong aria-current="page">2</strong>' in html


def test_a_copy_an_ugly_duckling_and_an_overlay_are_told() -> None:
    row = replace(worklist_row("x", 0.9, "refer"), copies=("b/x.jpg",), is_ugly_duckling=True, overlay="data:image/x")
    html = render_worklist(build_worklist([row]), [row])
    assert "same picture: b/x.jpg" in Reader(html).words()
    assert "Ugly duckling" in Reader(html).words()
    assert 'data-overlay="data:image/x"' in html
