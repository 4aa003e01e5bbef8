"""What the deployment's file says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from ray.serve.schema import ServeDeploySchema

from jobs.deploy import DeployArguments
from melanoma_ray.errors import ConfigError
from melanoma_ray.serving.arguments import ServiceArguments
from melanoma_ray.serving.second import is_of_canary

REPOSITORY = Path(__file__).parents[3]


def test_serve_yaml_is_one_that_serve_and_the_application_take() -> None:
    config = ServeDeploySchema(**yaml.safe_load((REPOSITORY / "deploy/serve.yaml").read_text()))
    (application,) = config.applications
    assert application.import_path == "melanoma_ray.serving.app:build_app"
    assert ServiceArguments.model_validate(application.args).checkpoint


def test_the_canary_answers_its_share_and_always_the_same_images() -> None:
    images = [b"image %d" % number for number in range(2000)]
    chosen = [is_of_canary(image, 0.1) for image in images]
    assert 150 < sum(chosen) < 250
    assert chosen == [is_of_canary(image, 0.1) for image in images]
    assert all(is_of_canary(image, 0.3) for image, is_chosen in zip(images, chosen, strict=True) if is_chosen)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"canary": "b", "shadow": "c"}, "canary='b', shadow='c': a service has one second model; give one of them"),
        ({"num_replicas": 3, "max_replicas": 2}, "max_replicas=2: expected num_replicas=3 or more"),
        ({"canary": "b", "canary_fraction": 1.0}, "canary_fraction"),
        ({"canary_fraction": 0.5}, "--canary-fraction 0.5 is a share of the images of --canary: give that, too"),
        ({"max_changed_fraction": 0.2}, "--max-changed-fraction 0.2 is a share of the images of --check-images"),
        ({"check_images": "d"}, "--check-images d compares with what is served, and a new service replaces nothing"),
        ({"shadow": "a"}, "--checkpoint a is also --canary or --shadow"),
    ],
)
def test_settings_that_contradict_each_other_are_one_line(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as raised:
        DeployArguments(checkpoint="a", **settings)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)
