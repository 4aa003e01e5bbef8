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
