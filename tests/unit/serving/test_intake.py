"""What Ray Serve would obey, or fail on, is off a request before Serve reads it."""

from __future__ import annotations

import asyncio

import pytest
from starlette.types import Message, Receive, Scope, Send

from melanoma_ray.api import PROBLEM_JSON, Problem
from melanoma_ray.serving.intake import Intake, middlewares

Headers = list[tuple[bytes, bytes]]


def pass_on(headers: Headers) -> Headers:
    """What the application behind gets."""
    found: list[Headers] = []

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        found.append(scope["headers"])

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        """Nothing is sent."""

    asyncio.run(Intake(application)({"type": "http", "path": "/", "headers": headers}, receive, send))
    return found[0]


@pytest.mark.parametrize(
    "name",
    [b"x-request-timeout-seconds", b"x-request-disconnect-disabled", b"serve_multiplexed_model_id", b"x_session_id"],
)
def test_a_header_by_which_a_caller_would_steer_serve_is_dropped(name: bytes) -> None:
    assert pass_on([(b"host", b"a"), (name, b"\xff"), (b"accept", b"\xff")]) == [(b"host", b"a"), (b"accept", b"\xff")]


@pytest.mark.parametrize("value", [b"", b"\xff\xfe", b"a b", b"x" * 12_000, "Zürich".encode(), b"a\r\nb"])
def test_an_id_that_can_t_stand_in_a_log_never_reaches_serve_which_would_send_it_back(value: bytes) -> None:
    assert pass_on([(b"x-request-id", value)]) == []


def test_a_caller_s_own_id_is_kept() -> None:
    assert pass_on([(b"x-request-id", b"ward-3.17")]) == [(b"x-request-id", b"ward-3.17")]


def test_serve_gets_it_by_the_name_that_a_deployment_sets() -> None:
    (wrapped,) = middlewares()
    assert "Intake" in repr(wrapped)


def answer(path: str, status: int, content_type: str, *parts: bytes) -> tuple[int, dict[str, str], bytes]:
    """What a caller gets of an answer of Serve's: status, headers and body."""
    sent: list[Message] = []

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(b"content-type", content_type.encode()), (b"retry-after", b"1"), (b"content-length", b"7")]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        for number, part in enumerate(parts):
            more = number + 1 < len(parts)
            await send({"type": "http.response.body", "body": part, "more_body": more})

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)

    asyncio.run(Intake(application)({"type": "http", "path": path, "headers": []}, receive, send))
    start, *bodies = sent
    headers = {name.decode(): value.decode() for name, value in start["headers"]}
    return start["status"], headers, b"".join(one["body"] for one in bodies)


@pytest.mark.parametrize(
    ("status", "told", "slug"),
    [
        (408, 408, "took-too-long"),
        (429, 429, "service-full"),
        (500, 503, "not-available"),  # a replica was killed: who sends the image again gets an answer
        (503, 503, "not-available"),
    ],
)
def test_a_refusal_of_serve_s_own_is_a_problem_and_keeps_its_other_headers(status: int, told: int, slug: str) -> None:
    found, headers, body = answer("/v1/predict", status, "text/plain; charset=utf-8", b"drop", b"ped")
    problem = Problem.model_validate_json(body)
    assert (found, problem.status, problem.type) == (told, told, f"urn:melanoma-ray:problem:{slug}")
    assert problem.instance == "/v1/predict"
    assert headers == {"content-type": PROBLEM_JSON, "retry-after": "1", "content-length": str(len(body))}


@pytest.mark.parametrize(
    ("path", "status", "content_type"),
    [
        ("/v1/predict", 200, "application/json"),
        ("/v1/predict", 429, PROBLEM_JSON),
        ("/v1/predict", 404, "text/plain"),
        ("/-/healthz", 503, "text/plain"),  # a load balancer asks, and may read the text
    ],
)
def test_every_other_answer_is_passed_on_as_it_is(path: str, status: int, content_type: str) -> None:
    headers = {"content-type": content_type, "retry-after": "1", "content-length": "7"}
    assert answer(path, status, content_type, b"an ", b"answer") == (status, headers, b"an answer")
