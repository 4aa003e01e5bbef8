"""The client against a real HTTP server in a thread of this process."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from melanoma_ray.api import Prediction
from melanoma_ray.client import Client
from melanoma_ray.errors import ServiceError

PREDICTION = {
    "image_id": None,
    "probabilities": {"melanoma": 0.25, "nevus": 0.75},
    "melanoma_probability": 0.25,
    "decision": "refer",
    "decision_threshold": 0.1,
    "checkpoint_id": "0123456789ab",
    "is_synthetic": True,
    "notice": "Research and triage tool, not a medical device.",
}
PROBLEM = {
    "type": "urn:melanoma-ray:problem:not-an-image",
    "title": "This is not an image",
    "status": 415,
    "detail": "the bytes are of no known image format",
    "instance": "/v1/predict",
}

Answer = tuple[int, dict[str, str], bytes]


class QuietServer(ThreadingHTTPServer):
    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hangs up is what some tests are about."""


class Server:
    """Answers every request with ``answer``, and remembers what was asked."""

    def __init__(self) -> None:
        self.answer: Callable[[], Answer] = lambda: as_json(200, {})
        self.asked: list[tuple[str, str, bytes]] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                server.asked.append((self.command, self.path, body))
                status, headers, content = server.answer()
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST  # noqa: N815

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                """Keep the tests' output quiet."""

        self.http = QuietServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}"
        self.thread = threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.01})

    def will(self, status: int, content: object, kind: str = "application/json", **headers: str) -> None:
        self.answer = lambda: as_json(status, content, kind, **headers)


def as_json(status: int, content: object, kind: str = "application/json", **headers: str) -> Answer:
    encoded = content if isinstance(content, bytes) else json.dumps(content).encode()
    return status, {"Content-Type": kind, **headers}, encoded


@pytest.fixture
def server() -> Iterator[Server]:
    found = Server()
    found.thread.start()
    yield found
    found.http.shutdown()
    found.http.server_close()
    found.thread.join()


@pytest.fixture
def client(server: Server) -> Iterator[Client]:
    with Client(server.url) as found:
        yield found


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def error_of(call: Callable[[], object]) -> str:
    with pytest.raises(ServiceError) as caught:
        call()
    text = str(caught.value)
    assert "\n" not in text
    return text


def test_an_image_is_sent_as_it_is_and_the_answer_is_typed(server: Server, client: Client) -> None:
    server.will(200, PREDICTION)
    assert client.predict(b"image") == Prediction.model_validate(PREDICTION)
    assert server.asked == [("POST", "/v1/predict", b"image")]


def test_a_field_that_a_newer_service_adds_is_no_error(server: Server, client: Client) -> None:
    server.will(200, PREDICTION | {"added_later": 1})
    assert client.predict(b"image").decision == "refer"


def test_an_explanation_is_asked_for_a_diagnosis_and_returned_as_bytes(server: Server, client: Client) -> None:
    server.will(200, b"\x89PNG", "image/png")
    assert client.explain(b"image", "basal cell carcinoma") == b"\x89PNG"
    assert server.asked[0][1] == "/v1/explain?diagnosis=basal+cell+carcinoma"


def test_an_explanation_without_a_diagnosis_leaves_the_choice_to_the_service(server: Server, client: Client) -> None:
    server.will(200, b"\x89PNG", "image/png")
    client.explain(b"image")
    assert server.asked[0][1] == "/v1/explain"


def test_a_problem_becomes_its_title_and_detail(server: Server, client: Client) -> None:
    server.will(415, PROBLEM, "application/problem+json")
    text = error_of(lambda: client.predict(b"text"))
    assert text == "This is not an image: the bytes are of no known image format"


def test_overload_says_when_to_try_again(server: Server, client: Client) -> None:
    server.will(429, b"Request dropped", "text/plain", **{"Retry-After": "7"})
    assert "try again in 7 s" in error_of(lambda: client.predict(b"image"))


def test_no_service_says_what_to_start() -> None:
    with Client(f"http://127.0.0.1:{free_port()}") as client:
        assert "python -m jobs.deploy" in error_of(lambda: client.predict(b"image"))


def test_another_server_at_the_address_is_told_apart(server: Server, client: Client) -> None:
    server.will(200, b"<html>", "text/html")
    assert "is the address right?" in error_of(client.model)
    server.will(502, b"<html>", "text/html")
    assert "HTTP 502" in error_of(client.model)


def test_an_explanation_that_is_no_problem_document_is_told_apart(server: Server, client: Client) -> None:
    server.will(422, b"{}", "application/problem+json")
    assert "malformed explanation" in error_of(client.model)


@pytest.mark.parametrize("url", ["127.0.0.1:8000", "ftp://127.0.0.1", "http://[::"])
def test_what_is_no_address_is_refused(url: str) -> None:
    with Client(url) as client:
        assert "not an HTTP address" in error_of(client.model)


def test_silence_ends_after_the_timeout(server: Server) -> None:
    release = threading.Event()

    def answer() -> Answer:
        release.wait(10)
        return as_json(200, PREDICTION)

    server.answer = answer
    with Client(server.url, timeout_s=0.2) as client:
        assert "did not answer within 0.2 s" in error_of(lambda: client.predict(b"image"))
    release.set()


def test_a_connection_that_breaks_is_one_clear_line() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()

        def hang_up() -> None:
            connection, _ = listener.accept()
            connection.recv(100)
            connection.close()

        thread = threading.Thread(target=hang_up)
        thread.start()
        with Client(f"http://127.0.0.1:{listener.getsockname()[1]}") as client:
            assert "the connection broke" in error_of(client.model)
        thread.join()


def test_waiting_ends_when_the_model_is_loaded(server: Server, client: Client) -> None:
    answers = iter([as_json(404, b"no route", "text/plain"), as_json(503, b"", "text/plain")])
    server.answer = lambda: next(answers, as_json(200, {"status": "ready"}))
    client.wait_until_ready(timeout_s=10)
    assert [path for _, path, _ in server.asked] == ["/readyz"] * 3


def test_waiting_in_vain_ends_with_the_last_reason(server: Server, client: Client) -> None:
    server.will(503, b"", "text/plain")
    start = time.monotonic()
    text = error_of(lambda: client.wait_until_ready(timeout_s=0.6))
    assert "not ready within 0.6 s" in text
    assert "HTTP 503" in text
    assert time.monotonic() - start < 5


def test_images_never_go_through_a_proxy_that_the_environment_names(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    server.will(200, PREDICTION)
    with Client(server.url) as client:
        assert client.predict(b"image").decision == "refer"
