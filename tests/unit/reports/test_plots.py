"""Plots, thumbnails and the colours that pages and plots share."""

from __future__ import annotations

import base64
import io
import re

import numpy as np
import pytest
from PIL import Image

from melanoma_ray.reports.page import TEMPLATES
from melanoma_ray.reports.plots import plot_class_counts, plot_confusion, plot_curves, plot_roc
from melanoma_ray.reports.svg import figure_to_png, figure_to_svg
from melanoma_ray.reports.thumbnails import thumbnail_data_uri
from tests.unit.reports.report_samples import (
    COUNTS,
    HOSTILE,
    evaluation_page,
)

# colours


def luminance(colour: str) -> float:
    """WCAG 2.2 relative luminance."""
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return float(np.dot(linear, [0.2126, 0.7152, 0.0722]))


def contrast(first: str, second: str) -> float:
    high, low = sorted((luminance(first), luminance(second)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.fixture(scope="module")
def colours() -> list[dict[str, str]]:
    """Light, dark and print, as the style sheet gives them."""
    css = (TEMPLATES / "style.css").read_text()
    return [dict(re.findall(r"--(\S+): (#\w{6});", block)) for block in re.findall(r":root \{(.*?)\}", css, re.DOTALL)]


@pytest.mark.parametrize(
    ("text", "ground"),
    [
        ("ink", "paper"),
        ("ink", "panel"),
        ("ink", "shade"),
        ("ink", "calm-panel"),
        ("quiet", "paper"),
        ("quiet", "panel"),
        ("first", "paper"),
        ("alarm", "alarm-panel"),
        ("warn", "warn-panel"),
        ("calm", "calm-panel"),
    ],
)
def test_text_has_a_contrast_of_4_5_in_light_dark_and_print(colours, text, ground):
    assert len(colours) == 3
    for colour in colours:
        assert contrast(colour[text], colour[ground]) >= 4.5


@pytest.mark.parametrize("line", ["muted", "first", "second", "third"])
def test_lines_and_bars_have_a_contrast_of_3_to_the_page(colours, line):
    for colour in colours:
        assert contrast(colour[line], colour["paper"]) >= 3


def test_paper_gets_the_light_colours_also_from_a_dark_screen(colours):
    light, dark, paper = colours
    assert paper == light
    assert dark != light


def test_every_colour_of_a_plot_follows_the_page_and_falls_back_to_the_light_one(colours):
    svg = "".join(figure_to_svg(figure) for figure in all_plots())
    used = dict(re.findall(r"var\(--(\w+), (#\w+)\)", svg))
    assert set(used) == {"ink", "muted", "first", "second", "third", "shade"}
    assert {name: colours[0][name] for name in used} == used
    assert re.findall(r"(?:fill|stroke): #\w+", svg) == []


# plots


def all_plots() -> list:
    page = evaluation_page()
    return [
        plot_class_counts(COUNTS),
        plot_curves(page.history),
        plot_confusion(page.confusion, page.diagnoses),
        plot_roc(page.roc.fpr, page.roc.tpr, page.operating_point),
    ]


def test_class_counts_show_the_total_of_each_diagnosis_in_the_given_order():
    texts = re.findall(r"<text[^>]*>([^<]*)</text>", figure_to_svg(plot_class_counts(COUNTS)))
    assert texts.index("melanoma") < texts.index("nevus")
    assert texts[texts.index("images") + 1 :].count("12") == 2  # after the ticks of the axis
    assert {"train", "val", "test"} <= set(texts)


def test_the_confusion_matrix_writes_counts_and_shades_by_row():
    figure = plot_confusion(np.array([[3, 1], [0, 0]]), ["melanoma", "nevus"])
    texts = [text.get_text() for text in figure.axes[0].texts]
    shades = [patch.get_facecolor()[3] for patch in figure.axes[0].patches]
    assert texts == ["3", "1", "0", "0"]
    assert shades == [0.75, 0.25, 0.0, 0.0]


def test_the_roc_plot_marks_the_operating_point():
    figure = plot_roc(np.array([0.0, 1.0]), np.array([0.0, 1.0]), (0.2, 0.9))
    (mark,) = [line for line in figure.axes[0].lines if line.get_label() == "decision threshold"]
    assert (list(mark.get_xdata()), list(mark.get_ydata())) == ([0.2], [0.9])


def test_curves_of_a_single_epoch_are_visible_as_points():
    figure = plot_curves(evaluation_page().history[:1])
    assert {line.get_marker() for axes in figure.axes for line in axes.lines} == {"o"}
    assert [len(axes.lines) for axes in figure.axes] == [2, 3]


def test_a_plot_inside_a_page_keeps_its_letters_and_brings_no_style_of_its_own():
    for svg in map(figure_to_svg, all_plots()):
        assert svg.startswith("<svg")
        assert "<text" in svg
        assert "<style" not in svg
        assert "<metadata" not in svg


def test_a_name_with_markup_can_not_leave_the_plot():
    assert "<script" not in figure_to_svg(plot_class_counts({HOSTILE: {"train": 1}}))


def test_a_figure_as_png_is_an_image_on_white():
    image = Image.open(io.BytesIO(figure_to_png(plot_class_counts(COUNTS))))
    assert image.format == "PNG"
    assert image.convert("RGB").getpixel((0, 0)) == (255, 255, 255)


# thumbnails


def decode(uri: str) -> Image.Image:
    header, data = uri.split(",")
    assert header == "data:image/jpeg;base64"
    return Image.open(io.BytesIO(base64.b64decode(data)))


def test_a_thumbnail_keeps_proportions_and_colours():
    pixels = np.zeros((300, 600, 3), dtype=np.uint8)
    pixels[:] = [200, 60, 20]
    image = decode(thumbnail_data_uri(pixels, side=100))
    assert (image.format, image.size) == ("JPEG", (100, 50))
    np.testing.assert_allclose(image.getpixel((50, 25)), [200, 60, 20], atol=4)


def test_a_small_image_is_not_enlarged():
    assert decode(thumbnail_data_uri(np.zeros((20, 30, 3), dtype=np.uint8))).size == (30, 20)
