"""Who may ask: with keys, nothing under /v1 is answered without one, and nothing of a refused body is read."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from fastapi.testclient import TestClient

from melanoma_ray.access import keys
from melanoma_ray.access.keys import KeyStore, Scope, create_key, revoke_key
from melanoma_ray.access.limits import Limits
from melanoma_ray.access.tokens import TokenSettings, TokenVerifier
from melanoma_ray.client import Client
from melanoma_ray.cluster.front import CERTIFICATE_HEADER
from melanoma_ray.serving.assessor import current_assessor
from melanoma_ray.serving.gate import COOKIE, KEY_HEADER
from melanoma_ray.serving.routes import build_http
from tests.unit.access.test_tokens import AUDIENCE, Issuer
from tests.unit.serving.test_limiting import Office
from tests.unit.serving.test_routes import EchoAssessor

OPEN = ("/", "/docs", "/openapi.json", "/assets/page.js", "/healthz", "/readyz")
GUARDED = {"/v1/model": "GET", "/v1/predict": "POST", "/v1/predict/batch": "POST", "/v1/explain": "POST"}


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(keys, "_CHECK_EVERY_S", 0.0)
    return str(tmp_path / "keys.json")


def new_key(path: str, *scopes: Scope) -> str:
    return create_key(path, "somebody", scopes, None)[0]


def open_client(store: KeyStore | None, base_url: str = "http://test") -> TestClient:
    app, replica = build_http(), EchoAssessor(["melanoma"], ["melanoma"], store)
    app.dependency_overrides[current_assessor] = lambda: replica
    return TestClient(app, base_url=base_url)


@pytest.fixture
def client(path: str) -> Iterator[TestClient]:
    new_key(path, "predict")
    with open_client(KeyStore(path)) as client:
        yield client


def test_where_certificates_are_asked_for_a_caller_is_known_by_its_own() -> None:
    app, replica = build_http(), EchoAssessor(["melanoma"], ["melanoma"])
    app.dependency_overrides[current_assessor] = lambda: replica
    shown = {CERTIFICATE_HEADER: "0123456789ABCDEF" * 4}
    with TestClient(app, base_url="http://test") as client:
        assert KEY_HEADER not in client.get("/v1/model", headers=shown).headers  # nobody vouches for the header
        replica.takes_certificates = True
        assert client.get("/v1/model", headers=shown).headers[KEY_HEADER] == "certificate-0123456789ab"
        assert client.get("/v1/model").status_code == 401


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


@pytest.mark.parametrize(("path_", "method"), GUARDED.items())
@pytest.mark.parametrize(
    "shown", [{}, {"Authorization": "Bearer mray_1_2"}, {"Authorization": "Basic bWU6bWU="}, {"Cookie": f"{COOKIE}=x"}]
)
def test_without_a_key_nothing_is_answered(client: TestClient, path_: str, method: str, shown: dict[str, str]) -> None:
    answer = client.request(method, path_, headers=shown, content=b"x" if method == "POST" else None)
    assert answer.status_code == 401
    assert answer.json()["type"].endswith(":no-key")
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert KEY_HEADER not in answer.headers


@pytest.mark.parametrize("path_", OPEN)
def test_the_page_and_health_are_open_and_say_nothing_of_the_model(client: TestClient, path_: str) -> None:
    answer = client.get(path_)
    assert answer.status_code == 200
    assert "checkpoint_id" not in answer.text or path_ in {"/openapi.json", "/docs", "/assets/page.js"}


def test_every_operation_that_reaches_the_model_asks_for_a_key(client: TestClient) -> None:
    described = client.get("/openapi.json").json()["paths"]
    for path_, methods in described.items():
        for method in methods:
            status = client.request(method, path_).status_code
            assert (status == 401) == (path_ not in OPEN), path_


def test_a_key_is_for_its_scopes(path: str, client: TestClient) -> None:
    predicts, explains = new_key(path, "predict"), new_key(path, "explain")
    assert client.get("/v1/model", headers=bearer(predicts)).headers[KEY_HEADER] == predicts.split("_")[1]
    assert client.post("/v1/explain", content=b"x", headers=bearer(explains)).status_code == 200
    for key, path_, method in (
        (explains, "/v1/model", "GET"),
        (explains, "/v1/predict", "POST"),
        (predicts, "/v1/explain", "POST"),
    ):
        refused = client.request(method, path_, headers=bearer(key))
        assert refused.status_code == 403
        assert key.split("_")[1] in refused.json()["detail"]
        assert key not in refused.text


def test_a_revoked_key_is_refused_at_its_next_request(path: str, client: TestClient) -> None:
    key = new_key(path, "predict")
    assert client.get("/v1/model", headers=bearer(key)).status_code == 200
    revoke_key(path, key.split("_")[1])
    assert client.get("/v1/model", headers=bearer(key)).status_code == 401


def test_a_login_gives_a_session_that_scripts_and_other_sites_can_t_use(path: str, client: TestClient) -> None:
    key = new_key(path, "predict")
    answer = client.post("/login", headers=bearer(key))
    assert answer.status_code == 204
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert "Secure" not in cookie
    assert key not in cookie
    assert client.get("/v1/model").status_code == 200
    assert client.get("/v1/model", headers=bearer("mray_0_0")).status_code == 401  # a wrong key isn't passed over
    client.post("/logout")
    assert client.get("/v1/model").status_code == 401


def test_over_https_the_session_stays_on_https(path: str) -> None:
    key = new_key(path, "predict")
    with open_client(KeyStore(path), "https://test") as client:
        assert "Secure" in client.post("/login", headers=bearer(key)).headers["set-cookie"]


def test_a_wrong_key_logs_nobody_in(client: TestClient) -> None:
    answer = client.post("/login", headers=bearer("mray_000000000000_" + "A" * 43))
    assert answer.status_code == 401
    assert "set-cookie" not in answer.headers


def test_the_session_of_a_revoked_key_has_ended(path: str, client: TestClient) -> None:
    key = new_key(path, "predict")
    client.post("/login", headers=bearer(key))
    revoke_key(path, key.split("_")[1])
    refused = client.get("/v1/model")
    assert refused.status_code == 401
    assert "log in again" in refused.json()["detail"]


def test_a_service_without_keys_asks_nobody(path: str) -> None:
    with open_client(None) as client:
        answer = client.get("/v1/model")
        assert answer.status_code == 200
        assert KEY_HEADER not in answer.headers
        assert client.post("/login").status_code == 204


def test_a_refused_body_isn_t_read(path: str) -> None:
    """By its stream: a client that is refused needn't have sent anything."""
    new_key(path, "predict")
    app, replica = build_http(), EchoAssessor(["melanoma"], ["melanoma"], KeyStore(path))
    app.dependency_overrides[current_assessor] = lambda: replica
    sent = []

    async def receive() -> dict[str, object]:
        pytest.fail("the body was read")

    async def send(message: dict[str, object]) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": "/v1/predict",
        "raw_path": b"/v1/predict",
        "query_string": b"",
        "root_path": "",
        "headers": [(b"content-length", b"1000")],
        "server": ("test", 80),
        "client": ("test", 1),
    }
    asyncio.run(app(scope, receive, send))  # type: ignore[arg-type]
    assert sent[0]["status"] == 401


def test_the_client_sends_its_key_to_its_own_address_only() -> None:
    with Client("http://127.0.0.1:1", key="mray_0_0") as client:
        assert isinstance(client._http, httpx.Client)
        assert client._http.headers["authorization"] == "Bearer mray_0_0"
        assert not client._http.follow_redirects


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    opened = Issuer()
    yield opened
    opened.close()


@pytest.mark.parametrize("has_keys", ["keys too", "tokens alone"])
def test_a_token_of_the_hospital_s_login_is_as_good_as_a_key(path: str, issuer: Issuer, has_keys: str) -> None:
    key = new_key(path, "predict")
    app, replica = (
        build_http(),
        EchoAssessor(["melanoma"], ["melanoma"], KeyStore(path) if has_keys == "keys too" else None),
    )
    replica.tokens = TokenVerifier(TokenSettings(issuer=issuer.url, audience=AUDIENCE))
    app.dependency_overrides[current_assessor] = lambda: replica
    with TestClient(app) as client:
        answer = client.get("/v1/model", headers=bearer(issuer.sign()))
        assert answer.status_code == 200
        assert answer.headers[KEY_HEADER].startswith("oidc-")
        assert client.post("/v1/explain", content=b"a", headers=bearer(issuer.sign())).status_code == 403
        refused = client.get("/v1/model", headers=bearer(issuer.sign(aud="billing")))
        assert refused.status_code == 401
        assert "isn't one for this service" in refused.json()["detail"]
        assert client.get("/v1/model").status_code == 401
        assert client.get("/v1/model", headers=bearer(key)).status_code == (200 if has_keys == "keys too" else 401)
        for shown in (issuer.sign(), "anything"):  # the page logs in with keys only
            assert client.post("/login", headers=bearer(shown)).status_code == 401
        assert client.post("/login", headers=bearer(key)).status_code == (204 if has_keys == "keys too" else 401)


def test_a_key_at_its_limit_gets_429_with_the_time_to_wait_and_others_go_on(path: str) -> None:
    limits = Limits(requests_per_minute=6)  # one at once
    limited, free = create_key(path, "a", ("predict",), None, limits)[0], new_key(path, "predict")
    app, replica = build_http(), EchoAssessor(["melanoma"], ["melanoma"], KeyStore(path))
    replica.limiter = Office().limiter("a")
    app.dependency_overrides[current_assessor] = lambda: replica
    with TestClient(app) as client:
        assert client.get("/v1/model", headers=bearer(limited)).status_code == 200
        refused = client.get("/v1/model", headers=bearer(limited))
        assert refused.status_code == 429
        assert refused.headers["content-type"] == "application/problem+json"
        assert 9 <= int(refused.headers["retry-after"]) <= 10
        assert refused.json()["type"].endswith(":too-many-requests")
        assert "at most 6 requests a minute" in refused.json()["detail"]
        assert client.get("/v1/model", headers=bearer(free)).status_code == 200
