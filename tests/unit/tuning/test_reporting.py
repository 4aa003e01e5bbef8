"""The lines of a running sweep: one for each trial that ends."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from optuna.trial import TrialState

from melanoma_ray.tuning.options import SearchOptions
from melanoma_ray.tuning.reporting import TrialLines
from tests.unit.tuning.test_study import coordinate, result


def test_a_trial_that_ends_is_one_line(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    coordinator = coordinate(tmp_path, num_trials=3)
    study, lines = coordinator.study, TrialLines(SearchOptions(), 3)
    names = []
    with caplog.at_level(logging.INFO, "melanoma_ray"):
        for number, values in enumerate(([0.3, 0.4, 0.457, 0.45], [0.281], [])):
            proposal = coordinator.next()
            assert proposal is not None
            names.append(proposal.name)
            for epoch, value in enumerate(values, start=1):
                coordinator.hear(number, result(epoch, value))
            if number == 2:
                coordinator.fail(number, "the disk is full")
            lines.tell(study.trial(number), study.trials)
    assert study.trial(1).state is TrialState.PRUNED
    told = [message.rsplit(",", 1)[0] for message in caplog.messages]
    assert told == [
        f"trial {names[0]}: balanced accuracy 0.457 after 4 epochs (1 of 3, best 0.457",
        f"trial {names[1]}: balanced accuracy 0.281 after 1 epoch, stopped early (2 of 3, best 0.457",
        f"trial {names[2]}: failed: the disk is full (3 of 3, best 0.457",
    ]
