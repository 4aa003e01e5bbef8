"""What the service does with a request before any model is asked, and what serve.yaml says; no cluster."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

import pytest
import yaml
from fastapi.testclient import TestClient
from ray.serve.schema import ServeDeploySchema
from starlette.requests import Request

from melanoma_ray.serving.problems import ProblemError
from melanoma_ray.serving.routes import build_http
from melanoma_ray.serving.service import ServiceArguments
from melanoma_ray.serving.upload import read_upload

PROBLEM_JSON = "application/problem+json"
REPOSITORY = Path(__file__).parents[3]


def test_a_fault_of_ours_is_a_problem_without_internals() -> None:
    """Outside a replica there is no model: as unexpected an error as any."""
    response = TestClient(build_http()).get("/v1/model")
    assert response.status_code == 500
    assert response.headers["content-type"] == PROBLEM_JSON
    assert response.headers["x-content-type-options"] == "nosniff"
    assert "replica" not in response.text.lower()


def form_request(field: str, content: bytes) -> Request:
    head = f'--b\r\nContent-Disposition: form-data; name="{field}"; filename="x.png"\r\n\r\n'.encode()
    messages = iter([{"type": "http.request", "body": head + content + b"\r\n--b--\r\n", "more_body": False}])

    async def receive() -> dict[str, object]:
        return next(messages)

    headers = [(b"content-type", b"multipart/form-data; boundary=b")]
    return Request({"type": "http", "method": "POST", "path": "/v1/predict", "headers": headers}, receive)


def test_a_large_upload_is_never_written_to_a_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/nowhere")
    content = bytes(3_000_000)
    upload = asyncio.run(read_upload(form_request("image", content), max_bytes=3_000_000))
    assert upload.encoded == content


def test_a_form_may_be_larger_than_its_image_but_not_the_image_than_allowed() -> None:
    assert asyncio.run(read_upload(form_request("image", bytes(100)), max_bytes=100)).encoded == bytes(100)
    with pytest.raises(ProblemError, match="101 bytes or more: at most 100"):
        asyncio.run(read_upload(form_request("image", bytes(101)), max_bytes=100))


def test_serve_yaml_is_one_that_serve_and_the_application_take() -> None:
    config = ServeDeploySchema(**yaml.safe_load((REPOSITORY / "deploy/serve.yaml").read_text()))
    (application,) = config.applications
    assert application.import_path == "melanoma_ray.serving.app:build_app"
    assert ServiceArguments.model_validate(application.args).checkpoint
