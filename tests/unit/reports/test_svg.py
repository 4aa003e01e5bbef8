"""Figures as pictures that stand in a page, or alone."""

from __future__ import annotations

import io

from PIL import Image

from melanoma_ray.reports.plots import plot_class_counts
from melanoma_ray.reports.svg import figure_to_png, figure_to_svg
from tests.unit.reports.report_samples import (
    COUNTS,
    HOSTILE,
    all_plots,
)


def test_a_plot_inside_a_page_keeps_its_letters_and_brings_no_style_of_its_own() -> None:
    for svg in map(figure_to_svg, all_plots()):
        assert svg.startswith("<svg")
        assert "<text" in svg
        assert "<style" not in svg
        assert "<metadata" not in svg


def test_a_name_with_markup_can_not_leave_the_plot() -> None:
    assert "<script" not in figure_to_svg(plot_class_counts({HOSTILE: {"train": 1}}))


def test_a_figure_as_png_is_an_image_on_white() -> None:
    image = Image.open(io.BytesIO(figure_to_png(plot_class_counts(COUNTS))))
    assert image.format == "PNG"
    assert image.convert("RGB").getpixel((0, 0)) == (255, 255, 255)
