"""Trials of a sweep: names that tell them apart, and one line when each ends."""

from __future__ import annotations

import logging
from pathlib import Path
from types import SimpleNamespace

import pytest

from melanoma_ray.recipes import lite0
from melanoma_ray.tuning.reporting import TrialLines, directory_of, name_in_directory, name_trial, trial_namer
from melanoma_ray.tuning.space import own_values


class Trial(SimpleNamespace):
    """What the names and lines need of Ray Tune's."""

    def __str__(self) -> str:
        return str(self.custom_name)


def trial(identity: str, **config: object) -> Trial:
    return Trial(trial_id=identity, config=config, custom_name="")


def test_a_name_has_the_number_and_the_settings_that_decide_most() -> None:
    assert name_trial(1, own_values(lite0())) == "01-lr-0.001-weighting-none"


def test_trials_are_numbered_as_they_are_proposed_and_keep_their_names() -> None:
    name = trial_namer()
    first, second = trial("2bc2bc97", **{"optimizer.learning_rate": 6.4664e-4}), trial("c0f50adf")
    assert [name(first), name(second), name(first)] == ["01-lr-0.00065", "02", "01-lr-0.00065"]


def test_a_directory_gives_the_name_back_and_never_is_an_earlier_attempt_s() -> None:
    one = trial("2bc2bc97")
    one.custom_name = "01-lr-0.001-weighting-none"
    directory = directory_of(one)
    assert directory.endswith("2bc2bc97")
    assert name_in_directory(f"s3://bucket/sweep/{directory}/") == one.custom_name


def test_a_trial_that_ends_is_one_line(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    lines = TrialLines(num_trials=3, num_epochs=2)
    good, stopped, failed = (trial(identity) for identity in "abc")
    for one, name, epoch, value in ((good, "01-lr-0.001", 2, 0.457), (stopped, "02-lr-0.003", 1, 0.281)):
        one.custom_name, one.last_result = name, {"epoch": epoch}
        one.metric_analysis = {"val_balanced_accuracy": {"max": value}}
    failed.custom_name, failed.error_file = "03-lr-0.01", str(tmp_path / "error.txt")
    (tmp_path / "error.txt").write_text("Traceback (most recent call last):\nValueError: no loss\n")
    with caplog.at_level(logging.INFO):
        lines.on_trial_complete(1, [], good)
        lines.on_trial_complete(2, [], stopped)
        lines.on_trial_error(3, [], failed)
    told = [message.rsplit(",", 1)[0] for message in caplog.messages]
    assert told == [
        "trial 01-lr-0.001: balanced accuracy 0.457 after 2 epochs (1 of 3, best 0.457",
        "trial 02-lr-0.003: balanced accuracy 0.281 after 1 epoch, stopped early (2 of 3, best 0.457",
        "trial 03-lr-0.01: failed: ValueError: no loss (3 of 3, best 0.457",
    ]
