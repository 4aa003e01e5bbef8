"""The page of an evaluation: sections, tables, plots and images, whatever they hold."""

from __future__ import annotations

from dataclasses import replace

from melanoma_ray.reports.evaluation import render_evaluation
from tests.unit.reports.report_samples import HOSTILE, Reader, evaluation_page


def test_a_warning_stands_before_everything_else_and_is_bold() -> None:
    html = render_evaluation(evaluation_page())
    assert "<strong>The model knows some of the images.</strong>" in html
    assert html.index("The model knows some") < html.index("Of melanomas, it refers most.") < html.index("Figures</h2>")


def test_a_figure_stands_in_its_row_with_what_it_means() -> None:
    words = Reader(render_evaluation(evaluation_page())).words()
    assert "Sensitivity Melanomas that are referred. 0.750" in words
    assert "Network baseline" in words


def test_a_wrong_diagnosis_is_marked_by_text_as_well_as_colour() -> None:
    html = render_evaluation(evaluation_page())
    words = Reader(html).words()
    assert (words.count("✓ right"), words.count("✗ wrong")) == (1, 2)
    assert html.count('<li class="wrong">') == 2
    assert "Can't be assessed: have a person look" in words
    assert "Predicted no answer" in words


def test_errors_stand_before_the_figures_and_a_gallery_without_images_says_so() -> None:
    html = render_evaluation(evaluation_page())
    assert html.index("Not referred</h2>") < html.index("Figures</h2>")
    assert "There are none." in html


def test_every_plot_has_words_for_who_can_t_see_it() -> None:
    reader = Reader(render_evaluation(evaluation_page()))
    labels = [attributes.get("aria-label") for tag, attributes in reader.elements if attributes.get("role") == "img"]
    assert labels == ["ROC curve in words.", "Bars in words."]
    assert sum(tag == "svg" for tag, _ in reader.elements) == 2


def test_what_comes_from_outside_is_escaped() -> None:
    page = evaluation_page()
    section = replace(page.summary, points=[HOSTILE], warnings=[HOSTILE])
    html = render_evaluation(replace(page, summary=section))
    assert HOSTILE not in html
    assert html.count("&lt;script&gt;") == 2
