"""The page of a sweep: its trials, what was stopped, and what mattered."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

from melanoma_ray.reports.svg import FIRST
from melanoma_ray.reports.sweep import SweepPage, SweepTrial, pareto_front, render_sweep
from melanoma_ray.reports.sweep_plots import plot_importance, plot_parallel_coordinates
from tests.unit.reports.report_samples import (
    TRIALS,
    Reader,
    rows_of,
    trial,
)


def render(*trials: SweepTrial, **fields: object) -> str:
    return render_sweep(SweepPage(trials=trials, is_synthetic=False, metric="figure", facts={}, **fields))  # type: ignore[arg-type]


def test_the_sweep_puts_the_best_trial_first_and_those_without_a_figure_last() -> None:
    order = ["high", "low", "none", "not-finite"]
    html = render(*TRIALS)
    assert rows_of(html, *order) == order
    assert html.count('<tr class="best">') == 1
    assert "not finite" in html


def test_settings_of_all_trials_share_their_columns() -> None:
    words = Reader(
        render(trial("a", 0.9, rate=0.00031234, frozen=True), trial("b", 0.8, rate=1e-5, decay=None))
    ).words()
    assert "Trial figure Interval Status Epochs Seconds rate frozen decay" in words
    assert "a best 0.9000 – finished 3 0 0.000312 yes" in words
    assert "b 0.8000 – finished 3 0 1e-05 none" in words


def test_no_trial_is_called_the_best_when_none_has_a_figure() -> None:
    assert '<tr class="best">' not in render(trial("a", None))


def test_what_was_stopped_is_told_with_its_reason() -> None:
    stopped = SweepTrial(
        trial_id="02", settings={}, value=0.3, num_epochs=1, status="stopped early", why="asha: 0.300 was worse"
    )
    words = Reader(render(trial("01", 0.9), stopped)).words()
    assert "What was stopped, and why Trial Epochs Why 02 1 asha: 0.300 was worse" in words
    assert "What was stopped" not in Reader(render(trial("01", 0.9))).words()


def test_too_few_trials_don_t_tell_what_mattered() -> None:
    assert "Too few trials were finished" in render(trial("a", 0.9))
    html = render(trial("a", 0.9), importance={"optimizer.learning_rate": 0.75, "model.dropout": 0.25})
    assert "Too few trials were finished" not in html
    assert "optimizer.learning_rate 75%, model.dropout 25%" in html


def test_nobody_on_the_front_is_beaten_in_both() -> None:
    points = [(0.9, 10.0), (0.8, 5.0), (0.8, 6.0), (0.7, 5.0), (0.95, 20.0)]
    trials = [
        SweepTrial(trial_id=str(place), settings={}, value=value, num_epochs=1, status="finished", latency_ms=latency)
        for place, (value, latency) in enumerate(points)
    ]
    assert pareto_front(trials) == [True, True, False, False, True]
    html = render(*trials)
    assert "Quality and time" in html
    assert html.count("on the line</span>") == 3


def test_the_best_trial_is_the_line_in_the_first_colour() -> None:
    settings: list[dict[str, object]] = [
        {"rate": 1e-3, "weighting": "none"},
        {"rate": 1e-2, "weighting": "sqrt"},
        {"rate": 1e-4},
    ]
    figure = plot_parallel_coordinates(settings, [0.9, 0.8, None], "figure", ["rate", "weighting"])
    lines = [line for line in figure.axes[0].lines if np.size(line.get_xdata()) == 3]
    assert [line.get_color() for line in lines][-1] == FIRST
    assert len(lines) == 2
    np.testing.assert_array_equal(lines[-1].get_ydata(), [0.0, 0.0, 1.0])


def test_of_many_settings_those_are_drawn_that_mattered_most() -> None:
    settings = {f"augmentation.setting_{number:02}": number / 24 for number in range(24)}
    importance = {name: (number + 1) / 300 for number, name in enumerate(settings)}
    trials = [replace(trial(str(number), 0.9 - number / 10), settings=settings) for number in range(3)]
    html = render(*trials, importance=importance)
    assert "Of the settings, 16 that mattered less are only in the table." in html
    assert [f"setting {number:02}" in html for number in range(24)] == [False] * 16 + [True] * 8
    assert "over 3 finished trials and 24 settings, which are too few trials for more than a hint" in html


def test_importance_is_written_beside_its_bars() -> None:
    texts = [text.get_text() for text in plot_importance({"a": 0.75, "b": 0.25}).axes[0].texts]
    assert sorted(texts) == ["25%", "75%"]


@pytest.mark.parametrize(
    ("number", "colours"),
    [
        (1, ["The trial is blue"]),
        (2, ["The best trial is blue, the next one is orange"] * 2),
        (4, ["The best trial is blue, the next two are orange"] * 2),
    ],
)
def test_as_many_trials_are_said_to_be_in_colour_as_are(number: int, colours: list[str]) -> None:
    drawn = [replace(trial(str(n), 0.9 - n / 10, rate=n), curve={1: 0.1}) for n in range(number)]
    words = Reader(render(*drawn, trial("failed", None))).words()
    assert re.findall(r"The (?:best )?trial is blue[^.;]*", words) == colours


def test_a_page_s_plots_share_no_ids() -> None:
    html = render(
        *(SweepTrial(trial_id=str(n), settings={"rate": n}, value=n / 9, num_epochs=2, status="finished",
                     curve={1: 0.1, 2: n / 9}) for n in range(3)),
        importance={"rate": 1.0},
    )  # fmt: skip
    ids = re.findall(r' id="([^"]*)"', html)
    assert len(ids) == len(set(ids))
    assert html.count("<svg") == 3
