"""The report of an evaluation: what it says."""

from __future__ import annotations

from dataclasses import replace

from melanoma_ray.metrics.intervals import Estimate
from melanoma_ray.reports.evaluation import (
    build_metric_row,
    render_evaluation,
)
from tests.unit.reports.report_samples import (
    Reader,
    evaluation_page,
)


def test_the_report_gives_each_figure_with_interval_and_images() -> None:
    words = Reader(render_evaluation(evaluation_page())).words()
    assert "0.750 0.600 to 0.850 30 of 40 melanomas" in words
    assert "0.100 none 40 images" in words
    assert "specificity is undefined: all 40 images are melanoma" in words


def test_the_report_says_that_thresholds_come_from_the_validation_split() -> None:
    words = Reader(render_evaluation(evaluation_page())).words()
    assert "Chosen on the validation split" in words
    assert "0.3125" in words


def test_the_report_says_in_words_what_the_operating_point_means() -> None:
    words = Reader(render_evaluation(evaluation_page())).words()
    assert "95.0 % of the melanomas and 25.0 % of the other images are referred" in words


def test_a_wrong_diagnosis_is_marked_by_text_as_well_as_colour() -> None:
    html = render_evaluation(evaluation_page())
    words = Reader(html).words()
    assert (words.count("✓ right"), words.count("✗ wrong")) == (1, 1)
    assert html.count('<li class="wrong">') == 1
    assert "Can't be assessed: have a person look" in words


def test_a_report_without_roc_history_and_gallery_says_so() -> None:
    page = replace(evaluation_page(), roc=None, history=[], gallery=[])
    reader = Reader(render_evaluation(page))
    assert sum(tag == "svg" for tag, _ in reader.elements) == 2
    assert "There is no ROC curve" in reader.words()
    assert "There are no images to show." in reader.words()


def test_a_figure_without_numerator_names_its_images_only() -> None:
    estimate = Estimate(value=0.9, low=0.8, high=0.95, numerator=None, denominator=1234)
    assert build_metric_row("AUROC", "Ranking.", estimate).sample == "1,234 images"
