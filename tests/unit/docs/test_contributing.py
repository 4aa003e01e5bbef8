"""CONTRIBUTING.md's recipes name files that exist, and what two of them promise is true."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Annotated

import numpy as np
import pytest
import tyro
from pydantic import TypeAdapter

from melanoma_ray import settings
from melanoma_ray.config import Experiment, LossConfig
from melanoma_ray.documents.sections import rows
from melanoma_ray.errors import ConfigError
from melanoma_ray.evaluation.figures import measure
from melanoma_ray.evaluation.scored import Scored
from melanoma_ray.inference.predictor import Predictions
from melanoma_ray.ranges import Range, range_of
from tests.unit.docs.documents import ROOT, is_path, list_quoted, occurs_in_package, read_document

RECIPES = dict(re.findall(r"^### To (.+)\n((?:.+\n)+)", read_document("CONTRIBUTING.md"), re.MULTILINE))


@dataclass(frozen=True, kw_only=True, slots=True)
class LossWithOneFieldMore(LossConfig):
    """As if somebody had followed the recipe for a setting."""

    poly_epsilon: Annotated[float, Range(0, 5)] = 0.0
    """Of PolyLoss (arXiv:2204.12511); 0: cross-entropy."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ExperimentWithOneFieldMore(Experiment):
    loss: LossWithOneFieldMore = field(default_factory=LossWithOneFieldMore)


def test_there_is_a_recipe_for_each_common_change() -> None:
    assert list(RECIPES) == [
        "add a layout",
        "add a network",
        "add a metric",
        "add a setting",
        "add an endpoint",
        "add a report figure",
        "change a decision's words",
    ]


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_has_at_most_eight_lines_and_ends_with_tests(recipe: str) -> None:
    lines = RECIPES[recipe].splitlines()
    assert len(lines) <= 8
    assert "`tests/" in lines[-1]


@pytest.mark.parametrize("recipe", RECIPES)
def test_what_a_recipe_names_is_there(recipe: str) -> None:
    for name in list_quoted(RECIPES[recipe]):
        if is_path(name):
            assert (ROOT / name).exists(), name
        elif name.replace(".", "").isidentifier():
            sources = occurs_in_package(name.rpartition(".")[2]) or name in read_document("jobs/formatting.py")
            assert sources or name in read_document("tests/unit/reports/report_samples.py"), name


def test_a_new_field_is_a_flag_has_its_range_checked_and_survives_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "Experiment", ExperimentWithOneFieldMore)
    monkeypatch.setattr(settings, "_reader", lambda: TypeAdapter(ExperimentWithOneFieldMore))
    given = tyro.cli(ExperimentWithOneFieldMore, args=["--loss.poly-epsilon", "2"])
    assert given.loss.poly_epsilon == 2
    assert settings.experiment_from_dict(settings.to_dict(given)) == given
    assert range_of(settings.field_annotation("loss.poly_epsilon")) == Range(0, 5)
    with pytest.raises(ConfigError, match=r"loss\.poly_epsilon=6.0: expected \[0, 5\]"):
        settings.with_setting(given, "loss.poly_epsilon", 6.0)


def test_a_run_begun_before_a_field_existed_goes_on_with_its_default(monkeypatch: pytest.MonkeyPatch) -> None:
    earlier = settings.to_dict(Experiment())
    monkeypatch.setattr(settings, "Experiment", ExperimentWithOneFieldMore)
    monkeypatch.setattr(settings, "_reader", lambda: TypeAdapter(ExperimentWithOneFieldMore))
    assert settings.experiment_from_dict(earlier) == ExperimentWithOneFieldMore()


def test_each_metric_has_a_title_a_meaning_and_a_unit_and_is_in_the_report() -> None:
    truth = np.array(["melanoma", "melanoma", "nevus", "nevus"])
    probability = np.array([[0.9, 0.1], [0.4, 0.6], [0.2, 0.8], [0.5, 0.5]], np.float32)
    predictions = Predictions(
        probability=probability,
        melanoma_probability=probability[:, 0],
        diagnosis=probability.argmax(axis=1),
        decision=("refer", "routine", "routine", "refer"),
    )
    figures = measure(Scored(predictions=predictions, truth=truth, group=np.arange(4), diagnoses=("melanoma", "nevus")))
    names = {*figures.estimates, *figures.calibration}
    assert not figures.undefined
    assert names == set(rows.MEANINGS)
    assert names <= set(figures.to_dict())
