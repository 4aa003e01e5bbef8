"""Spans are made only where somebody collects them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

import pytest
from starlette.types import Scope

from melanoma_ray.serving import tracing
from melanoma_ray.serving.tracing import describe_request, trace_request, trace_stage
from tests.collector import attributes, running_collector

SCOPE: Scope = {"type": "http", "method": "POST", "path": "/v1/predict", "headers": []}


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nothing set at first; what a test sets holds for it alone."""
    for name in ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_SERVICE_NAME"):
        monkeypatch.delenv(name, raising=False)
    tracing._find_tracer.cache_clear()
    yield
    tracing._find_tracer.cache_clear()


def test_without_an_address_there_are_none() -> None:
    with trace_request(SCOPE) as span, trace_stage("decode"):
        assert span is None


def test_a_failed_request_is_an_error_under_the_service_s_own_name(monkeypatch: pytest.MonkeyPatch) -> None:
    with running_collector() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", collector.url)
        monkeypatch.setenv("OTEL_SERVICE_NAME", "ward-3")
        with trace_stage("decode"):  # of no request
            pass
        with trace_request(SCOPE) as span:
            assert span is not None
            with suppress(ValueError), trace_stage("decode"):
                raise ValueError("Mustermann^Erika")
            describe_request(span, SCOPE, operation="/v1/predict", status=503, request_id="a", caller="b")
        tracer = tracing._find_tracer()
        assert tracer is not None
        tracer.span_processor.force_flush()  # type: ignore[attr-defined]  # of the SDK's tracer
        stage, found = collector.spans
    assert (stage.name, list(stage.events)) == ("decode", [])  # what an error says may be a patient's name
    assert found.name == "POST /v1/predict"
    assert found.status.code == found.status.STATUS_CODE_ERROR
    assert attributes(found)["http.response.status_code"] == 503
    assert collector.services == {"ward-3"}
