"""The log: a line of JSON a record, which names the request and nothing of the image."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient

from melanoma_ray.api import Prediction
from melanoma_ray.serving import logs
from melanoma_ray.serving.assessor import current_assessor
from melanoma_ray.serving.logs import JsonFormatter, write_json
from melanoma_ray.serving.routes import build_http
from melanoma_ray.serving.upload import Patient, Upload
from tests.unit.serving.test_routes import EchoAssessor


@pytest.fixture
def ours() -> Iterator[logging.Logger]:
    """The service's logger, as it was before afterwards."""
    logger, requests = logging.getLogger("melanoma_ray"), logging.getLogger(logs.REQUESTS)
    before = (list(logger.handlers), logger.propagate, requests.level)
    yield logger
    logger.handlers[:], logger.propagate, _ = before
    requests.setLevel(before[2])


class FaultyAssessor(EchoAssessor):
    """A model with a fault."""

    async def assess(self, upload: Upload, patient: Patient) -> Prediction:
        raise ZeroDivisionError(upload, patient)


def ask(path: str, *, log_requests: bool) -> None:
    write_json(log_requests=log_requests)
    write_json(log_requests=log_requests)  # a second replica's start in the same process writes no line twice
    app = build_http()
    app.dependency_overrides[current_assessor] = lambda: FaultyAssessor(["melanoma"], ["melanoma"])
    files = {"image": ("Mrs-Doe.jpg", b"a")}
    TestClient(app).post(path, files=files, headers={"x-request-id": "night-7"})


def read_lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    printed = capsys.readouterr().err
    assert "Doe" not in printed
    return [json.loads(line) for line in printed.splitlines() if line.startswith("{")]


def test_an_unexpected_error_is_one_line_with_its_request_and_its_traceback(
    ours: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    ask("/v1/predict", log_requests=False)
    (line,) = read_lines(capsys)
    assert (line["level"], line["request_id"], line["caller_id"]) == ("ERROR", "night-7", None)
    assert "ZeroDivisionError" in str(line["exception"])


def test_a_line_for_each_request_is_written_where_it_is_asked_for(
    ours: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    ask("/v1/explain", log_requests=True)
    ask("/nowhere/Mrs-Doe", log_requests=True)
    explained, lost = read_lines(capsys)
    assert (explained["operation"], explained["status"], explained["request_id"]) == ("/v1/explain", 200, "night-7")
    assert (lost["operation"], lost["status"]) == ("other", 404)
    ask("/v1/explain", log_requests=False)
    assert read_lines(capsys) == []


def test_a_record_outside_of_any_request_has_no_id() -> None:
    record = logging.LogRecord("melanoma_ray.serving", logging.WARNING, "", 1, "a %s", ("line",), None)
    line = json.loads(JsonFormatter().format(record))
    assert (line["message"], line["request_id"], line["level"]) == ("a line", None, "WARNING")


def test_half_a_surrogate_pair_costs_no_line() -> None:
    record = logging.LogRecord("melanoma_ray", logging.ERROR, "", 0, "a form's field: \ud800 and ü", None, None)
    line = JsonFormatter().format(record)
    assert line.encode()
    assert json.loads(line)["message"] == "a form's field: \ud800 and ü"
