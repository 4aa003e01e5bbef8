"""Plots: what they show."""

from __future__ import annotations

import re

import numpy as np
from matplotlib.colors import to_rgba

from melanoma_ray.reports.plots import plot_class_counts, plot_confusion, plot_curves, plot_roc
from melanoma_ray.reports.svg import figure_to_svg
from tests.unit.reports.report_samples import (
    COUNTS,
    HISTORY,
)


def test_class_counts_show_the_total_of_each_diagnosis_in_the_given_order() -> None:
    texts = re.findall(r"<text[^>]*>([^<]*)</text>", figure_to_svg(plot_class_counts(COUNTS)))
    assert texts.index("melanoma") < texts.index("nevus")
    assert texts[texts.index("images") + 1 :].count("12") == 2  # after the ticks of the axis
    assert {"train", "val", "test"} <= set(texts)


def test_the_confusion_matrix_writes_counts_and_shades_by_row() -> None:
    figure = plot_confusion(np.array([[3, 1], [0, 0]]), ["melanoma", "nevus"])
    texts = [text.get_text() for text in figure.axes[0].texts]
    shades = [to_rgba(patch.get_facecolor())[3] for patch in figure.axes[0].patches]
    assert texts == ["3", "1", "0", "0"]
    assert shades == [0.75, 0.25, 0.0, 0.0]


def test_the_roc_plot_marks_the_operating_point() -> None:
    figure = plot_roc(np.array([0.0, 1.0]), np.array([0.0, 1.0]), (0.2, 0.9))
    (mark,) = [line for line in figure.axes[0].lines if line.get_label() == "decision threshold"]
    np.testing.assert_array_equal(mark.get_xydata(), [[0.2, 0.9]])


def test_curves_of_a_single_epoch_are_visible_as_points() -> None:
    figure = plot_curves(HISTORY[:1])
    assert {line.get_marker() for axes in figure.axes for line in axes.lines} == {"o"}
    assert [len(axes.lines) for axes in figure.axes] == [2, 3]
