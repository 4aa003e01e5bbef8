"""Settings by their dotted names, and their way to JSON and back."""

from __future__ import annotations

import json

import pytest

from melanoma_ray.errors import ConfigError
from melanoma_ray.recipes import lite0
from melanoma_ray.settings import experiment_from_dict, to_dict, with_setting


def test_an_experiment_survives_json_and_a_dotted_change() -> None:
    experiment = lite0()
    assert experiment_from_dict(json.loads(json.dumps(to_dict(experiment)))) == experiment
    changed = with_setting(experiment, "optimizer.learning_rate", 0.5)
    assert changed.optimizer.learning_rate == 0.5
    with pytest.raises(ConfigError, match=r"optimizer\.speed"):
        with_setting(experiment, "optimizer.speed", 1)
    with pytest.raises(ConfigError, match=r"loss\.label_smoothing=2\.0: expected \[0, 1\)"):
        with_setting(experiment, "loss.label_smoothing", 2.0)


@pytest.mark.parametrize("data", [5, None, [], "x"])
def test_what_is_no_experiment_is_one_line(data: object) -> None:
    with pytest.raises(ConfigError, match="expected fields and their values"):
        experiment_from_dict(data)


def test_yes_is_no_number() -> None:
    with pytest.raises(ConfigError, match="num_epochs=True: expected a number"):
        experiment_from_dict({"num_epochs": True})
