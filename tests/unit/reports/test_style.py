"""The colours that pages and plots share."""

from __future__ import annotations

import re

import numpy as np
import pytest

from melanoma_ray.reports.page import TEMPLATES
from melanoma_ray.reports.svg import figure_to_svg
from tests.unit.reports.report_samples import all_plots


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
def test_text_has_a_contrast_of_4_5_in_light_dark_and_print(
    colours: list[dict[str, str]], text: str, ground: str
) -> None:
    assert len(colours) == 3
    for colour in colours:
        assert contrast(colour[text], colour[ground]) >= 4.5


@pytest.mark.parametrize("line", ["muted", "first", "second", "third"])
def test_lines_and_bars_have_a_contrast_of_3_to_the_page(colours: list[dict[str, str]], line: str) -> None:
    for colour in colours:
        assert contrast(colour[line], colour["paper"]) >= 3


def test_paper_gets_the_light_colours_also_from_a_dark_screen(colours: list[dict[str, str]]) -> None:
    light, dark, paper = colours
    assert paper == light
    assert dark != light


def test_every_colour_of_a_plot_follows_the_page_and_falls_back_to_the_light_one(colours: list[dict[str, str]]) -> None:
    svg = "".join(figure_to_svg(figure) for figure in all_plots())
    used = dict(re.findall(r"var\(--(\w+), (#\w+)\)", svg))
    assert set(used) == {"ink", "muted", "first", "second", "third", "shade"}
    assert {name: colours[0][name] for name in used} == used
    assert re.findall(r"(?:fill|stroke): #\w+", svg) == []
