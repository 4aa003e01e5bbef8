"""Traces of requests for OpenTelemetry: a span for each request, and below it one for each of its stages.

They are made where the environment has the address of a collector, by OpenTelemetry's own variables, and the extra
``traces`` is installed. Nothing of an image or of a patient is in a span.
"""

from __future__ import annotations

import functools
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Final, TypedDict

from starlette.types import Scope

if TYPE_CHECKING:
    from opentelemetry.trace import Span, Tracer

_ADDRESSES = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
"""Variables of which one has the collector's address."""
_NAME_VARIABLE = "OTEL_SERVICE_NAME"
_HAS_SPAN: ContextVar[bool] = ContextVar("has_span", default=False)
"""Whether this task or thread works for a request that has a span."""
logger = logging.getLogger(__name__)


class _OnError(TypedDict):
    """What a span tells of an exception that passes through it."""

    record_exception: bool
    set_status_on_exception: bool


_SILENT: Final[_OnError] = {"record_exception": False, "set_status_on_exception": False}
"""What an exception says may be out of an image's header, or out of a form."""


@contextmanager
def trace_request(scope: Scope) -> Iterator[Span | None]:
    """Make the span of a request, below the caller's own by its header ``traceparent``; none: nobody collects spans."""
    tracer = _find_tracer()
    if tracer is None:
        yield None
        return
    from opentelemetry.trace import SpanKind  # noqa: PLC0415 - only where spans are collected
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator  # noqa: PLC0415

    carrier = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
    above = TraceContextTextMapPropagator().extract(carrier)
    with tracer.start_as_current_span(scope["method"], context=above, kind=SpanKind.SERVER, **_SILENT) as span:
        _HAS_SPAN.set(True)
        yield span


def describe_request(span: Span, scope: Scope, *, operation: str, status: int, request_id: str, caller: str) -> None:
    """Write down what a request was and how it ended.

    Args:
        span: Its span.
        scope: The request.
        operation: Path of its route.
        status: Its HTTP status; 499: the client went away.
        request_id: Its id.
        caller: Id of who asked.
    """
    from opentelemetry.trace import StatusCode  # noqa: PLC0415 - only where spans are collected

    span.update_name(f"{scope['method']} {operation}")
    span.set_attributes(
        {
            "http.request.method": scope["method"],
            "http.route": operation,
            "http.response.status_code": status,
            "melanoma.request_id": request_id,
            "melanoma.caller": caller,
        }
    )
    if status >= 500:
        span.set_status(StatusCode.ERROR)


@contextmanager
def trace_stage(stage: str) -> Iterator[None]:
    """Make the span of a stage, below that of its request, if it has one."""
    if not _HAS_SPAN.get() or (tracer := _find_tracer()) is None:
        yield
        return
    with tracer.start_as_current_span(stage, **_SILENT):
        yield


@functools.cache
def _find_tracer() -> Tracer | None:
    """Return what makes spans and sends them to the collector; none: none has been set."""
    address = next((os.environ[name] for name in _ADDRESSES if os.environ.get(name)), None)
    if address is None:
        return None
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
    except ImportError:
        logger.warning("no traces are sent to %s: pip install 'melanoma-ray[traces]'", address)
        return None
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415

    named = Resource.create({"service.name": os.environ.get(_NAME_VARIABLE) or "melanoma_ray"})
    provider = TracerProvider(resource=named)  # our own, because Ray may have set one for its own spans
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return provider.get_tracer("melanoma_ray")
