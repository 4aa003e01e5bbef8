"""The client against a real HTTP server in a thread of this process."""

from __future__ import annotations

import asyncio
import io
import json
import math
import socket
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from melanoma_ray.api import Prediction
from melanoma_ray.client import AsyncClient, Client, Encoded
from melanoma_ray.errors import ServiceError
from melanoma_ray.retries import NO_RETRIES, Retries

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
FAST = Retries(first_wait_s=0.01)


class QuietServer(ThreadingHTTPServer):
    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hangs up is what some tests are about."""


class Server:
    """Answers every request with ``answer``, and remembers what was asked."""

    def __init__(self) -> None:
        self.answer: Callable[[], Answer] = lambda: as_json(200, {})
        self.asked: list[tuple[str, str, bytes]] = []
        self.keys: set[str] = set()
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                server.asked.append((self.command, self.path, body))
                server.keys.add(self.headers.get("Authorization", ""))
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
    """It doesn't ask again: what it says of one answer is what most tests are about."""
    with Client(server.url, retries=NO_RETRIES) as found:
        yield found


@pytest.fixture(params=["sync", "async"])
def predict(request: pytest.FixtureRequest) -> Callable[[str, Retries], Prediction]:
    """Asks a service at an address, by either client."""

    def wait(url: str, retries: Retries) -> Prediction:
        with Client(url, key="mray_1", retries=retries) as client:
            return client.predict(b"image", age=54, site="torso")

    async def await_it(url: str, retries: Retries) -> Prediction:
        async with AsyncClient(url, key="mray_1", retries=retries) as client:
            return await client.predict(b"image", age=54, site="torso")

    return wait if request.param == "sync" else lambda url, retries: asyncio.run(await_it(url, retries))


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


@pytest.mark.parametrize("key", ["", "mray_1 secret", "mray_1\nsecret", "schlüssel", "\ufeffmray_1", "a=b"])
def test_what_can_t_be_a_key_is_refused_before_it_is_sent_and_never_shown(key: str) -> None:
    for kind in (Client, AsyncClient):
        with pytest.raises(ServiceError) as raised:
            kind("http://127.0.0.1:9", key=key)
        assert "secret" not in str(raised.value)
        assert "schl" not in str(raised.value)
        assert "\n" not in str(raised.value)


@pytest.mark.parametrize("key", ["mray_012345678901_" + "A-_" * 14 + "z", "eyJh.eyJp-_.sig+/~==", "a"])
def test_a_key_or_a_token_is_sent_as_it_is(server: Server, key: str) -> None:
    server.will(200, PREDICTION)
    with Client(server.url, key=key) as client:
        client.predict(b"image")
    assert server.keys == {f"Bearer {key}"}


def test_no_service_says_what_to_start() -> None:
    with Client(f"http://127.0.0.1:{free_port()}", retries=FAST) as client:
        assert "python -m jobs.deploy" in error_of(lambda: client.predict(b"image"))


def test_another_server_at_the_address_is_told_apart(server: Server, client: Client) -> None:
    server.will(200, b"<html>", "text/html")
    assert "is the address right?" in error_of(client.model)
    server.will(502, b"<html>", "text/html")
    assert "HTTP 502" in error_of(client.model)


def test_an_explanation_that_is_no_problem_document_is_told_apart(server: Server, client: Client) -> None:
    server.will(422, b"{}", "application/problem+json")
    assert "malformed explanation" in error_of(client.model)


@pytest.mark.parametrize(
    "url",
    [
        *("127.0.0.1:8000", "ftp://127.0.0.1", "http://[::", "http://[::1", "", "http:", "http://", "http://a b"),
        *("http://127.0.0.1:99999", "http://127.0.0.1:0", "http://127.0.0.1:-1", "http://127.0.0.1:http"),
        *("http://127.0.0.1:8000/?age=5", "http://127.0.0.1:8000#page"),
    ],
)
@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_what_is_no_address_is_refused_before_anything_is_sent(kind: type[Client | AsyncClient], url: str) -> None:
    assert "not an HTTP address" in error_of(lambda: kind(url))


@pytest.mark.parametrize("where", ["127.0.0.1:8000", "127.0.0.1:http", ":99999"])
def test_a_password_in_an_address_is_refused_and_not_shown(where: str) -> None:
    told = error_of(lambda: Client(f"http://nurse:secret@{where}"))
    assert "a key is given as key" in told
    assert "secret" not in told


@pytest.mark.parametrize("timeout_s", [0, -1, math.nan, math.inf, 1e300])
def test_a_time_in_which_nothing_could_be_answered_is_refused(timeout_s: float) -> None:
    assert "expected seconds in (0, 86400]" in error_of(lambda: Client(timeout_s=timeout_s))


@pytest.mark.parametrize("hold", [bytearray, memoryview])
def test_an_image_may_be_held_by_whatever_has_bytes(
    server: Server, client: Client, hold: Callable[[bytes], Encoded]
) -> None:
    server.will(200, PREDICTION)
    client.predict(hold(b"image"))
    assert server.asked == [("POST", "/v1/predict", b"image")]


@pytest.mark.parametrize("image", ["image.jpg", None, 5, Path("image.jpg"), io.BytesIO(b"image"), [1, 2]])
def test_what_is_no_bytes_is_refused_unsent(server: Server, client: Client, image: object) -> None:
    for ask in (client.predict, client.explain):
        assert f"the image is of the type {type(image).__name__}: give its bytes" in error_of(partial(ask, image))  # type: ignore[arg-type]
    assert server.asked == []


def test_a_closed_client_says_so(server: Server) -> None:
    client = Client(server.url)
    client.close()
    assert "is closed" in error_of(client.model)

    async def ask_closed() -> None:
        closed = AsyncClient(server.url)
        await closed.aclose()
        await closed.model()

    assert "is closed" in error_of(lambda: asyncio.run(ask_closed()))


def test_https_at_a_port_without_it_is_told_at_once(server: Server) -> None:
    with Client(server.url.replace("http", "https")) as client:  # with its usual retries
        assert "give http://, if it has no TLS" in error_of(client.model)


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
        with Client(f"http://127.0.0.1:{listener.getsockname()[1]}", retries=NO_RETRIES) as client:
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


Predict = Callable[[str, Retries], Prediction]


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_what_was_busy_is_asked_again_until_it_answers(server: Server, predict: Predict, status: int) -> None:
    answers = iter([as_json(status, b"", "text/plain")] * 3)
    server.answer = lambda: next(answers, as_json(200, PREDICTION))
    assert predict(server.url, FAST).decision == "refer"
    assert server.asked == [("POST", "/v1/predict?age=54&site=torso", b"image")] * 4
    assert server.keys == {"Bearer mray_1"}


def test_retry_after_is_never_undercut(server: Server, predict: Predict) -> None:
    answers = iter([as_json(429, b"", "text/plain", **{"Retry-After": "1"})])
    server.answer = lambda: next(answers, as_json(200, PREDICTION))
    start = time.monotonic()
    predict(server.url, FAST)
    assert time.monotonic() - start >= 1


def test_a_service_that_asks_for_a_longer_wait_than_allowed_is_given_up_at_once(
    server: Server, predict: Predict
) -> None:
    server.will(503, b"", "text/plain", **{"Retry-After": "31"})
    start = time.monotonic()
    assert "try again in 31 s" in error_of(lambda: predict(server.url, FAST))
    assert len(server.asked) == 1
    assert time.monotonic() - start < 5


def test_what_stays_busy_is_given_up_after_the_last_try(server: Server, predict: Predict) -> None:
    server.will(429, b"", "text/plain")
    assert "overloaded" in error_of(lambda: predict(server.url, Retries(max_tries=3, first_wait_s=0.01)))
    assert len(server.asked) == 3


@pytest.mark.parametrize("status", [400, 401, 415, 500])
def test_what_would_be_refused_again_is_asked_once(server: Server, predict: Predict, status: int) -> None:
    server.will(status, PROBLEM | {"status": status}, "application/problem+json")
    assert "This is not an image" in error_of(lambda: predict(server.url, FAST))
    assert len(server.asked) == 1


def test_a_connection_that_is_lost_twice_costs_no_answer(predict: Predict) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        body = json.dumps(PREDICTION).encode()

        def hang_up_twice_then_answer() -> None:
            for lost in (True, True, False):
                connection, _ = listener.accept()
                with connection:
                    received = b""
                    while not received.endswith(b"image"):
                        received += connection.recv(65536)
                    if not lost:
                        head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n"
                        connection.sendall(head.encode() + body)

        thread = threading.Thread(target=hang_up_twice_then_answer)
        thread.start()
        assert predict(f"http://127.0.0.1:{listener.getsockname()[1]}", FAST).decision == "refer"
        thread.join()


def test_a_service_that_comes_back_while_it_is_asked_costs_no_answer(predict: Predict) -> None:
    found = Server()
    found.will(200, PREDICTION)
    port = found.http.server_port
    found.http.server_close()

    def come_back() -> None:
        time.sleep(0.3)
        found.http = QuietServer(("127.0.0.1", port), found.http.RequestHandlerClass)
        found.http.serve_forever(poll_interval=0.01)

    thread = threading.Thread(target=come_back)
    thread.start()
    assert predict(found.url, Retries(max_tries=8, first_wait_s=0.05)).decision == "refer"
    found.http.shutdown()
    found.http.server_close()
    thread.join()


def test_both_clients_answer_alike(server: Server) -> None:
    async def ask() -> tuple[bytes, str]:
        async with AsyncClient(server.url) as client:
            server.will(200, b"\x89PNG", "image/png")
            explained = await client.explain(b"image", "nevus")
            server.will(415, PROBLEM, "application/problem+json")
            with pytest.raises(ServiceError) as caught:
                await client.predict(b"text")
            return explained, str(caught.value)

    assert asyncio.run(ask()) == (b"\x89PNG", "This is not an image: the bytes are of no known image format")
    assert server.asked[0] == ("POST", "/v1/explain?diagnosis=nevus", b"image")


def test_many_requests_may_be_under_way_at_a_time(server: Server) -> None:
    together = threading.Barrier(8, timeout=30)

    def answer() -> Answer:
        together.wait()
        return as_json(200, PREDICTION)

    async def ask() -> list[Prediction]:
        async with AsyncClient(server.url) as client:
            return await asyncio.gather(*(client.predict(b"image") for _ in range(8)))

    server.answer = answer
    assert len(asyncio.run(ask())) == 8
