"""What the tables of the report are made of: the main figures' titles and meanings, and rows of estimates."""

from __future__ import annotations

from melanoma_ray.evaluation.wording import Words, value_cells
from melanoma_ray.metrics.intervals import Estimate
from melanoma_ray.reports.evaluation import Cell

MEANINGS = {
    "accuracy": ("Accuracy", "Share of images whose predicted diagnosis is the true one.", "images"),
    "balanced_accuracy": (
        "Balanced accuracy",
        "Mean over the diagnoses of the share of a diagnosis's images that are recognised.",
        "images",
    ),
    "melanoma_auroc": (
        "{title} AUROC",
        "Probability that a {one} is ranked above an image that is none; 0.5 is guessing.",
        "images",
    ),
    "sensitivity": ("Sensitivity", "Share of the {many} that are referred.", "{many}"),
    "specificity": ("Specificity", "Share of the other images that are not referred.", "other images"),
    "brier_score": ("Brier score", "Mean squared error of the {one} probability; 0 is perfect.", "images"),
    "expected_calibration_error": (
        "Calibration error",
        "Expected calibration error: mean difference between the {one} probability and the frequency of {many}.",
        "images",
    ),
}
"""Title, meaning and unit of each main figure; words in braces are those of ``wording.Words``."""
Row = tuple[Cell | str, ...]
HEADS = ("Figure", "Value", "95 % interval", "Images")


def figure_row(name: str, estimate: Estimate | None, words: Words) -> Row:
    """Return the row of one of the main figures.

    Args:
        name: A key of ``MEANINGS``.
        estimate: The figure; none: it isn't defined.
        words: What the images to be referred are called.
    """
    title, meaning, unit = words_of(name, words)
    return estimate_row(title, meaning, estimate, unit)


def words_of(name: str, words: Words) -> tuple[str, str, str]:
    """Return title, meaning and unit of one of the main figures."""
    title, meaning, unit = (text.format(one=words.one, many=words.many, title=words.title) for text in MEANINGS[name])
    return title, meaning, unit


def estimate_row(title: str, meaning: str, estimate: Estimate | None, unit: str) -> Row:
    """Return the row of a figure: its name with its meaning, value, interval and sample.

    Args:
        title: Name of the figure.
        meaning: Explanation in one sentence.
        estimate: The figure; none: it isn't defined.
        unit: Name of what the denominator counts, such as ``melanomas``.
    """
    return Cell(title, meaning), *value_cells(estimate, unit)
