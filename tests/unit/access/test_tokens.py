"""Tokens of a hospital's own login, from a real HTTP server that publishes its keys; forged ones of every kind."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from melanoma_ray.access import tokens
from melanoma_ray.access.limits import Limits
from melanoma_ray.access.tokens import TokenSettings, TokenVerifier, read_token_settings
from melanoma_ray.errors import ConfigError

AUDIENCE = "melanoma-triage"


class Issuer:
    """An issuer of tokens: its keys, and a server with its discovery document and its JWKS."""

    def __init__(self) -> None:
        self.keys: dict[str, Any] = {
            "one": rsa.generate_private_key(65537, 2048),
            "two": ec.generate_private_key(ec.SECP256R1()),
        }
        self.num_asked, self.is_up, self.delay_s = 0, True, 0.0
        issuer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                content = issuer.documents().get(self.path)
                if self.path == "/jwks":
                    issuer.num_asked += 1
                    time.sleep(issuer.delay_s)
                self.send_response(200 if content and issuer.is_up else 503)
                self.end_headers()
                self.wfile.write(json.dumps(content).encode())

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                """Keep the tests' output quiet."""

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}"
        self.thread = threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self.thread.start()

    def documents(self) -> dict[str, Any]:
        keys = [json.loads(algorithm_of(key).to_jwk(key.public_key())) | {"kid": kid} for kid, key in self.keys.items()]
        return {"/.well-known/openid-configuration": {"jwks_uri": f"{self.url}/jwks"}, "/jwks": {"keys": keys}}

    def claims(self, **changed: object) -> dict[str, object]:
        now = int(time.time())
        claims = {
            "iss": self.url,
            "aud": AUDIENCE,
            "sub": "nurse",
            "exp": now + 60,
            "iat": now,
            "scope": "openid predict",
        }
        return {name: value for name, value in (claims | changed).items() if value is not None}

    def sign(self, kid: str = "one", **changed: object) -> str:
        algorithm = "RS256" if kid == "one" else "ES256"
        return jwt.encode(self.claims(**changed), self.keys[kid], algorithm, headers={"kid": kid})

    def close(self) -> None:
        self.http.shutdown()
        self.http.server_close()
        self.thread.join()


def algorithm_of(key: object) -> Any:  # noqa: ANN401 - of PyJWT, one of two classes
    return jwt.algorithms.RSAAlgorithm if isinstance(key, rsa.RSAPrivateKey) else jwt.algorithms.ECAlgorithm


@pytest.fixture(scope="module")
def issuer() -> Iterator[Issuer]:
    opened = Issuer()
    yield opened
    opened.close()


@pytest.fixture
def verifier(issuer: Issuer) -> TokenVerifier:
    return TokenVerifier(TokenSettings(issuer=issuer.url, audience=AUDIENCE, requests_per_minute=30))


@pytest.mark.parametrize("kid", ["one", "two"])
def test_a_token_for_this_service_is_taken_with_its_scopes(issuer: Issuer, verifier: TokenVerifier, kid: str) -> None:
    caller = verifier.find(issuer.sign(kid))
    assert caller is not None
    assert caller.scopes == ("predict",)
    assert caller.limits == Limits(requests_per_minute=30)
    assert caller.caller_id.startswith("oidc-")
    assert "nurse" not in caller.caller_id
    other = verifier.find(issuer.sign(kid, sub="doctor", scope=["predict", "explain"], aud=["x", AUDIENCE]))
    assert other is not None
    assert other.caller_id != caller.caller_id
    assert other.scopes == ("predict", "explain")


def part(content: dict[str, object]) -> str:
    return base64.urlsafe_b64encode(json.dumps(content).encode()).rstrip(b"=").decode()


def unsigned(issuer: Issuer, algorithm: str) -> str:
    return f"{part({'alg': algorithm, 'kid': 'one', 'typ': 'JWT'})}.{part(issuer.claims())}."


def confused(issuer: Issuer) -> str:
    """Signed by HMAC with the public key as the secret, which everybody knows."""
    public = (
        issuer.keys["one"]
        .public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    signed = f"{part({'alg': 'HS256', 'kid': 'one'})}.{part(issuer.claims())}"
    digest = hmac.new(public, signed.encode(), hashlib.sha256).digest()
    return f"{signed}.{base64.urlsafe_b64encode(digest).rstrip(b'=').decode()}"


def by_a_stranger(issuer: Issuer, kid: str) -> str:
    stranger = rsa.generate_private_key(65537, 2048)
    return jwt.encode(issuer.claims(), stranger, "RS256", headers={"kid": kid})


def with_other_claims(issuer: Issuer) -> str:
    head, _, signature = issuer.sign().split(".")
    return f"{head}.{part(issuer.claims(scope='predict explain'))}.{signature}"


FORGED: dict[str, Callable[[Issuer], str]] = {
    "expired": lambda issuer: issuer.sign(exp=int(time.time()) - 60),
    "without an end": lambda issuer: issuer.sign(exp=None),
    "not valid yet": lambda issuer: issuer.sign(nbf=int(time.time()) + 600),
    "for another service": lambda issuer: issuer.sign(aud="billing"),
    "for no service": lambda issuer: issuer.sign(aud=None),
    "of another issuer": lambda issuer: issuer.sign(iss="https://elsewhere.example"),
    "of nobody": lambda issuer: issuer.sign(sub=None),
    "without a signature": lambda issuer: unsigned(issuer, "none"),
    "without a signature, in capitals": lambda issuer: unsigned(issuer, "NONE"),
    "with an empty signature": lambda issuer: unsigned(issuer, "RS256"),
    "signed with the public key as a secret": confused,
    "of an unknown key": lambda issuer: by_a_stranger(issuer, "three"),
    "of another key under a known id": lambda issuer: by_a_stranger(issuer, "one"),
    "with other claims": with_other_claims,
    "of another algorithm than its key": lambda issuer: jwt.encode(
        issuer.claims(), issuer.keys["one"], "PS256", headers={"kid": "two"}
    ),
    "endless": lambda issuer: issuer.sign(sub="x" * 10_000),
    "no token": lambda _: "hello",
    "three dots": lambda _: "...",
    "nothing": lambda _: "",
}


@pytest.mark.parametrize("name", FORGED)
def test_a_token_that_is_wrong_in_any_way_is_refused(issuer: Issuer, verifier: TokenVerifier, name: str) -> None:
    assert verifier.find(issuer.sign()) is not None
    forged = FORGED[name](issuer)
    verifier.needs_issuer(forged)
    assert verifier.find(forged) is None


def test_unknown_keys_don_t_have_the_issuer_asked_each_time_and_a_new_key_is_found(
    issuer: Issuer, verifier: TokenVerifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert verifier.find(issuer.sign()) is not None
    asked = issuer.num_asked
    for _ in range(20):
        assert verifier.find(by_a_stranger(issuer, "nobody's")) is None
    assert issuer.num_asked == asked
    monkeypatch.setattr(tokens, "_ASK_AGAIN_S", 0.0)
    issuer.keys["new"] = ec.generate_private_key(ec.SECP256R1())
    assert verifier.find(issuer.sign("new")) is not None
    del issuer.keys["new"]


def test_an_issuer_that_is_down_costs_nobody_a_token_whose_key_is_known(
    issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = TokenSettings(issuer=issuer.url, audience=AUDIENCE)
    verifier, token = TokenVerifier(settings), issuer.sign()
    monkeypatch.setattr(issuer, "is_up", False)
    assert TokenVerifier(settings).find(token) is None
    monkeypatch.setattr(issuer, "is_up", True)
    assert verifier.find(token) is not None
    monkeypatch.setattr(issuer, "is_up", False)
    monkeypatch.setattr(tokens, "_ASK_AGAIN_S", 0.0)
    monkeypatch.setattr(verifier, "_read_at", time.monotonic() - 700)
    assert verifier.find(token) is not None
    monkeypatch.setattr(verifier, "_read_at", time.monotonic() - 1300)
    assert verifier.find(token) is None


def test_an_issuer_s_own_words_for_scopes_are_understood(issuer: Issuer, tmp_path: Path) -> None:
    file = tmp_path / "oidc.toml"
    file.write_text(
        f'issuer = "{issuer.url}"\naudience = "{AUDIENCE}"\nscope_claim = "roles"\n'
        '[scopes]\npredict = "Triage.Read"\nexplain = "Triage.Explain"\n'
    )
    verifier = TokenVerifier(read_token_settings(str(file)))
    caller = verifier.find(issuer.sign(roles=["Triage.Explain", "predict"]))
    assert caller is not None
    assert caller.scopes == ("explain",)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "it is not there"),
        ("issuer = ", "isn't TOML"),
        ('issuer = "https://a"', "audience"),
        ('issuer = "hospital"\naudience = "a"', "issuer"),
        ('issuer = "https://a"\naudience = "a"\nsecret = "x"', "secret: expected issuer"),
        ('issuer = "https://a"\naudience = "a"\nmax_concurrent = 0', "max_concurrent"),
        ('issuer = "https://a"\naudience = "a"\n[scopes]\nadmin = "a"', "scopes"),
    ],
)
def test_what_is_no_file_of_settings_is_one_line(tmp_path: Path, content: str | None, told: str) -> None:
    file = tmp_path / "oidc.toml"
    if content is not None:
        file.write_text(content)
    with pytest.raises(ConfigError, match=told) as raised:
        read_token_settings(str(file))
    assert "\n" not in str(raised.value)


def test_who_comes_while_the_issuer_is_asked_waits_for_its_keys(issuer: Issuer) -> None:
    issuer.delay_s, num_before = 0.5, issuer.num_asked
    verifier, token = TokenVerifier(TokenSettings(issuer=issuer.url, audience=AUDIENCE)), issuer.sign()
    with ThreadPoolExecutor(4) as pool:
        first = pool.submit(verifier.find, token)
        time.sleep(0.2)
        assert verifier.needs_issuer(token)
        others = [pool.submit(verifier.find, token) for _ in range(3)]
        assert all(one.result() is not None for one in (first, *others))
    issuer.delay_s = 0.0
    assert issuer.num_asked == num_before + 1


@pytest.mark.parametrize("url", ["https://host:port/jwks", "ftp://host/jwks"])
def test_an_address_of_keys_that_is_none_is_refused_at_once(url: str, tmp_path: Path) -> None:
    (tmp_path / "oidc.toml").write_text(f'issuer = "https://login"\naudience = "a"\njwks_url = "{url}"\n')
    with pytest.raises(ConfigError, match="jwks_url"):
        read_token_settings(str(tmp_path / "oidc.toml"))


def test_settings_in_the_home_are_found_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "oidc.toml").write_text('issuer = "https://login"\naudience = "a"\n')
    assert read_token_settings("~/oidc.toml").audience == "a"
