"""What each page says, and in which order."""

from __future__ import annotations

from dataclasses import replace

import pytest

from melanoma_ray.errors import DataError
from melanoma_ray.metrics.intervals import Estimate
from melanoma_ray.reports.audit import render_audit
from melanoma_ray.reports.evaluation import (
    build_metric_row,
    render_evaluation,
)
from melanoma_ray.reports.formatting import describe_share
from melanoma_ray.reports.sweep import render_sweep
from melanoma_ray.reports.worklist import render_worklist
from tests.unit.reports.report_samples import (
    HOSTILE,
    TRIALS,
    WORKLIST,
    Reader,
    audit_page,
    evaluation_page,
    rows_of,
    trial,
    worklist,
    worklist_row,
)

# evaluation


def test_the_report_gives_each_figure_with_interval_and_images():
    words = Reader(render_evaluation(evaluation_page())).words()
    assert "0.750 0.600 to 0.850 30 of 40 melanomas" in words
    assert "0.100 none 40 images" in words
    assert "specificity is undefined: all 40 images are melanoma" in words


def test_the_report_says_that_thresholds_come_from_the_validation_split():
    words = Reader(render_evaluation(evaluation_page())).words()
    assert "Chosen on the validation split" in words
    assert "0.3125" in words


def test_the_report_says_in_words_what_the_operating_point_means():
    words = Reader(render_evaluation(evaluation_page())).words()
    assert "95.0 % of the melanomas and 25.0 % of the other images are referred" in words


def test_a_wrong_diagnosis_is_marked_by_text_as_well_as_colour():
    html = render_evaluation(evaluation_page())
    words = Reader(html).words()
    assert (words.count("✓ right"), words.count("✗ wrong")) == (1, 1)
    assert html.count('<li class="wrong">') == 1
    assert "Can't be assessed: have a person look" in words


def test_a_report_without_roc_history_and_gallery_says_so():
    page = replace(evaluation_page(), roc=None, history=[], gallery=[])
    reader = Reader(render_evaluation(page))
    assert sum(tag == "svg" for tag, _ in reader.elements) == 2
    assert "the test split lacks one of them" in reader.words()
    assert "No images were chosen to be shown." in reader.words()


def test_a_figure_without_numerator_names_its_images_only():
    estimate = Estimate(value=0.9, low=0.8, high=0.95, numerator=None, denominator=1234)
    assert build_metric_row("AUROC", "Ranking.", estimate).sample == "1,234 images"


# worklist


def test_the_worklist_begins_with_what_needs_eyes_and_ends_with_the_unreadable():
    html = worklist("Worklist", is_synthetic=False)
    assert rows_of(html, *(row.image_id for row in WORKLIST)) == [
        "urgent",
        "less-urgent",
        "strange",
        "calm-but-higher",
        "calm",
        "broken",
    ]
    assert html.index("Unreadable images</h2>") < html.index("truncated: half of it is missing")


def test_the_worklist_counts_its_decisions():
    words = Reader(worklist("Worklist", is_synthetic=False)).words()
    assert "2 Refer to a dermatologist 1 Can't be assessed: have a person look 2 Routine 1 Unreadable" in words


def test_a_worklist_without_images_says_so():
    html = render_worklist([], title="Worklist", is_synthetic=False, decision_threshold=0.5)
    assert "No image could be assessed." in html
    assert "Unreadable images" not in html


def test_a_file_name_with_markup_is_shown_as_text():
    row = replace(worklist_row("x", 0.9, "refer"), image_id=HOSTILE, path=HOSTILE, top_diagnosis=HOSTILE)
    html = render_worklist([row], title="Worklist", is_synthetic=False, decision_threshold=0.5)
    assert "<script" not in html
    assert HOSTILE in "".join(Reader(html).text)


def test_a_row_with_neither_decision_nor_error_is_refused_by_name():
    with pytest.raises(DataError, match="'lost' has neither"):
        replace(worklist_row("lost", None), error=None)


@pytest.mark.parametrize(
    ("value", "words"),
    [(0.0, "0.0 %"), (0.0004, "< 0.1 %"), (0.6321, "63.2 %"), (0.9999, "> 99.9 %"), (1.0, "100.0 %")],
)
def test_only_none_and_all_are_written_as_0_and_100_percent(value, words):
    assert describe_share(value) == words


# sweep


@pytest.mark.parametrize(
    ("mode", "order"),
    [("max", ["high", "low", "none", "not-finite"]), ("min", ["low", "high", "none", "not-finite"])],
)
def test_the_sweep_puts_the_best_trial_first_and_those_without_a_figure_last(mode, order):
    html = render_sweep(TRIALS, title="Sweep", is_synthetic=False, metric="figure", mode=mode, facts={})
    assert rows_of(html, *order) == order
    assert html.count('<tr class="best">') == 1
    assert "not finite" in html


def test_settings_of_all_trials_share_their_columns():
    trials = [trial("a", 0.9, rate=0.00031234, frozen=True), trial("b", 0.8, rate=1e-5, decay=None)]
    html = render_sweep(trials, title="Sweep", is_synthetic=False, metric="figure", mode="max", facts={})
    words = Reader(html).words()
    assert "Trial figure rate frozen decay Epochs Status" in words
    assert "a best 0.9000 0.000312 yes 3 finished" in words
    assert "b 0.8000 1e-05 none 3 finished" in words


def test_no_trial_is_called_the_best_when_none_has_a_figure():
    html = render_sweep([trial("a", None)], title="Sweep", is_synthetic=False, metric="figure", mode="max", facts={})
    assert '<tr class="best">' not in html


# audit


def test_the_audit_tells_what_was_found_and_what_was_done():
    words = Reader(render_audit(audit_page())).words()
    assert "Same image twice: 1,234 images" in words
    assert "What was done: One was kept." in words
    assert "a/b.jpg truncated half of it" in words


def test_an_audit_that_found_nothing_says_so():
    words = Reader(render_audit(replace(audit_page(), findings=[], unreadable=[]))).words()
    assert "Nothing was found." in words
    assert "Every image could be read." in words
