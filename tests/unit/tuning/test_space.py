"""The search space: it begins with the experiment itself, and offers nothing that the experiment would refuse."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from ray.tune.search.sample import Categorical, Float

from melanoma_ray.config import Experiment
from melanoma_ray.errors import ConfigError
from melanoma_ray.ranges import range_of
from melanoma_ray.recipes import RECIPES, baseline
from melanoma_ray.settings import field_annotation, with_setting
from melanoma_ray.tuning.space import Dimension, build_space, own_values
from melanoma_ray.tuning.trial import apply_settings

each_recipe = pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)


@each_recipe
def test_the_first_trial_is_exactly_the_experiment(recipe: Callable[[], Experiment]) -> None:
    experiment = recipe()
    space, own = build_space(experiment), own_values(experiment)
    assert apply_settings(experiment, own) == experiment
    assert own.keys() == space.keys()
    assert [name for name, value in own.items() if not space[name].is_valid(value)] == []


def test_an_experiment_far_from_the_space_stretches_it() -> None:
    far = baseline()
    for name, value in {"model.dropout": 0.9, "loss.label_smoothing": 0.5, "optimizer.weight_decay": 0.3}.items():
        far = with_setting(far, name, value)
    space = build_space(far)
    assert all(space[name].is_valid(value) for name, value in own_values(far).items())


def test_every_way_to_weigh_the_diagnoses_is_tried() -> None:
    weighting = build_space(baseline())["loss.class_weighting"]
    assert isinstance(weighting, Categorical)
    assert weighting.categories == ["none", "sqrt", "balanced", "effective"]


@each_recipe
def test_every_end_of_the_space_is_allowed(recipe: Callable[[], Experiment]) -> None:
    experiment = recipe()
    for name, domain in build_space(experiment).items():
        allowed = range_of(field_annotation(name))
        if isinstance(domain, Categorical):
            assert all(with_setting(experiment, name, value) for value in domain.categories)
        else:
            assert isinstance(domain, Float)
            assert allowed is not None
            assert domain.lower in allowed
            assert domain.upper in allowed


@each_recipe
def test_every_sample_is_an_experiment(recipe: Callable[[], Experiment]) -> None:
    experiment, random = recipe(), np.random.default_rng(0)
    space = build_space(experiment)
    drawn = [{name: domain.sample(random_state=random) for name, domain in space.items()} for _ in range(200)]
    experiments = {apply_settings(experiment, settings) for settings in drawn}
    assert len(experiments) == 200


def test_a_dimension_beyond_its_setting_s_range_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"search space: model\.dropout=1\.0: expected \[0, 1\)"):
        Dimension(name="model.dropout", uniform=(0.0, 1.0)).domain(baseline())
