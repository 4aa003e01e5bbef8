"""The table of a sweep's trials."""

from __future__ import annotations

from typing import Literal

import pytest

from melanoma_ray.reports.sweep import render_sweep
from tests.unit.reports.report_samples import (
    TRIALS,
    Reader,
    rows_of,
    trial,
)


@pytest.mark.parametrize(
    ("mode", "order"),
    [("max", ["high", "low", "none", "not-finite"]), ("min", ["low", "high", "none", "not-finite"])],
)
def test_the_sweep_puts_the_best_trial_first_and_those_without_a_figure_last(
    mode: Literal["max", "min"], order: list[str]
) -> None:
    html = render_sweep(TRIALS, title="Sweep", is_synthetic=False, metric="figure", mode=mode, facts={})
    assert rows_of(html, *order) == order
    assert html.count('<tr class="best">') == 1
    assert "not finite" in html


def test_settings_of_all_trials_share_their_columns() -> None:
    trials = [trial("a", 0.9, rate=0.00031234, frozen=True), trial("b", 0.8, rate=1e-5, decay=None)]
    html = render_sweep(trials, title="Sweep", is_synthetic=False, metric="figure", mode="max", facts={})
    words = Reader(html).words()
    assert "Trial figure rate frozen decay Epochs Status" in words
    assert "a best 0.9000 0.000312 yes 3 finished" in words
    assert "b 0.8000 1e-05 none 3 finished" in words


def test_no_trial_is_called_the_best_when_none_has_a_figure() -> None:
    html = render_sweep([trial("a", None)], title="Sweep", is_synthetic=False, metric="figure", mode="max", facts={})
    assert '<tr class="best">' not in html
