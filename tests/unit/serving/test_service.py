"""What the deployment's file says."""

from __future__ import annotations

from pathlib import Path

import yaml
from ray.serve.schema import ServeDeploySchema

from melanoma_ray.serving.service import ServiceArguments

REPOSITORY = Path(__file__).parents[3]


def test_serve_yaml_is_one_that_serve_and_the_application_take() -> None:
    config = ServeDeploySchema(**yaml.safe_load((REPOSITORY / "deploy/serve.yaml").read_text()))
    (application,) = config.applications
    assert application.import_path == "melanoma_ray.serving.app:build_app"
    assert ServiceArguments.model_validate(application.args).checkpoint
