"""Keys, tokens and sessions that were guessed, forged, stolen from another service, or have ended."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from melanoma_ray.access.keys import SCOPES, KeyFile, create_key, read_key_file, revoke_key
from melanoma_ray.access.sessions import start_session
from tests.hostile.attack import OPERATIONS, Attack, Credentials, Headers, Maker
from tests.hostile.images import encoded
from tests.unit.access.test_tokens import Issuer

COOKIE = b"melanoma_ray_session"


def make_credentials(keys: str, issuer: Issuer) -> Credentials:
    """Write a file of keys, and return what is worth something there and at an issuer, and what isn't.

    Args:
        keys: Path of the file.
        issuer: The hospital's login.
    """
    text, key = create_key(keys, "all", SCOPES, None)
    narrow, _ = create_key(keys, "narrow", ("predict",), None)
    revoked, gone = create_key(keys, "revoked", SCOPES, None)
    content = read_key_file(keys)
    ended = {"of a revoked key": start_session(content, gone).encode()}
    revoke_key(keys, gone.key_id)
    elsewhere, foreign = create_key(str(Path(keys).parent / "elsewhere.json"), "all", SCOPES, None)
    return Credentials(
        key=text,
        predict_key=narrow,
        token=issuer.sign(exp=int(time.time()) + 7200, scope="predict explain"),
        session=start_session(content, key),
        worthless={name: b"Bearer " + one.encode() for name, one in _forged_tokens(issuer).items()}
        | {name: b"Bearer " + one.encode() for name, one in _forged_keys(text, revoked, elsewhere).items()}
        | {
            "basic": b"Basic " + base64.b64encode(f":{text}".encode()),
            "no word": text.encode(),
            "two": b"Bearer a, Bearer b",
        },
        worthless_sessions=ended | _forged_sessions(content, key.key_id, foreign.key_id),
    )


def _forged_keys(text: str, revoked: str, elsewhere: str) -> dict[str, str]:
    prefix, key_id, secret = text.split("_", 2)
    return {
        "revoked key": revoked,
        "key of another service": elsewhere,
        "right id, wrong secret": f"{prefix}_{key_id}_{'A' * len(secret)}",
        "last character": text[:-1] + ("A" if text[-1] != "A" else "B"),
        "cut": text[:-1],
        "one more": text + "A",
        "upper case": text.upper(),
        "another id": f"{prefix}_{'0' * 12}_{secret}",
        "long": f"{prefix}_{key_id}_{'A' * 14_000}",
        "no secret": f"{prefix}_{key_id}_",
        "nothing": "",
        "spaces": " ".join(text),
        "null": text + "%00",
    }


def _forged_tokens(issuer: Issuer) -> dict[str, str]:
    now = int(time.time())
    own = rsa.generate_private_key(65537, 2048)
    good = issuer.sign()
    head, claims, signature = good.split(".")
    public = issuer.keys["one"].public_key()
    pem = public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    chief = _encode(json.dumps(issuer.claims(sub="chief")).encode())
    own_jwk: dict[str, Any] = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(own.public_key()))
    headers: dict[str, dict[str, Any]] = {
        "another's signature": {},
        "own key in the header": {"jwk": own_jwk},
        "own address of keys": {"jku": "http://127.0.0.1:1/jwks"},
        "unknown key": {"kid": "three"},
        "key as a path": {"kid": "../../../../dev/null"},
        "key as SQL": {"kid": "one' or '1'='1"},
        "critical": {"crit": ["x"], "x": 1},
    }
    forged = {
        name: jwt.encode(issuer.claims(), own, "RS256", headers={"kid": "one"} | more) for name, more in headers.items()
    }
    return forged | {
        "expired": issuer.sign(exp=now - 100),
        "not yet": issuer.sign(nbf=now + 9000),
        "other audience": issuer.sign(aud="billing"),
        "other issuer": issuer.sign(iss="http://evil.example"),
        "no end": issuer.sign(exp=None),
        "no audience": issuer.sign(aud=None),
        "no subject": issuer.sign(sub=None),
        "subject that is no text": issuer.sign(sub=["nurse"]),
        "end that is no time": issuer.sign(exp="soon"),
        "end that is infinite": _sign(issuer, '{"iss":%s,"aud":"melanoma-triage","sub":"a","exp":1e999}'),
        "end that is no number": _sign(issuer, '{"iss":%s,"aud":"melanoma-triage","sub":"a","exp":NaN}'),
        "start that is infinite": _sign(
            issuer, '{"iss":%s,"aud":"melanoma-triage","sub":"a","exp":9999999999,"nbf":1e999}'
        ),
        "issued at infinity": _sign(
            issuer, '{"iss":%s,"aud":"melanoma-triage","sub":"a","exp":9999999999,"iat":1e999}'
        ),
        "claims that are a list": _sign(issuer, "[%s]"),
        "deep claims": _sign(issuer, "[" * 2900 + "%s"),
        "subject without a scope": issuer.sign(scope=None),
        "alg none": _encode(b'{"alg":"none","kid":"one"}') + f".{claims}.",
        "alg None": _encode(b'{"alg":"None","kid":"one"}') + f".{claims}.{signature}",
        "alg HS256 with the public key": _sign_with_secret(claims, pem),
        "alg that is no text": _encode(b'{"alg":["RS256"],"kid":"one"}') + f".{claims}.{signature}",
        "other claims": f"{head}.{chief}.{signature}",
        "no signature": f"{head}.{claims}.",
        "two parts": f"{head}.{claims}",
        "five parts": f"{head}.{claims}.{signature}.a.b",
        "a deep header": _encode(b'{"kid":' + b"[" * 4000) + f".{claims}.{signature}",
        "a deep list": _encode(b"[" * 5000) + f".{claims}.{signature}",
        "a number": _encode(b"9" * 4900) + f".{claims}.{signature}",
        "surrogates": _encode(b'{"alg":"RS256","kid":"\\ud800"}') + f".{claims}.{signature}",
        "no base64": "ä.b.c",
        "long": good + "A" * 9000,
        "dots": "." * 3000,
    }


def _sign(issuer: Issuer, claims: str) -> str:
    """Return a token that the issuer has signed, whose claims JSON allows and no one expects."""
    payload = (claims % json.dumps(issuer.url)).encode()
    return jwt.PyJWS().encode(payload, issuer.keys["one"], "RS256", headers={"kid": "one"})


def _sign_with_secret(claims: str, secret: bytes) -> str:
    head = _encode(b'{"alg":"HS256","kid":"one"}')
    return f"{head}.{claims}.{_encode(hmac.new(secret, f'{head}.{claims}'.encode(), hashlib.sha256).digest())}"


def _encode(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def _forged_sessions(content: KeyFile, key_id: str, foreign_id: str) -> dict[str, bytes]:
    def sign(key: str, ends_at: int, secret: bytes) -> bytes:
        text = hmac.new(secret, f"session {key} {ends_at}".encode(), hashlib.sha256).hexdigest()
        return f"{key}.{ends_at}.{text}".encode()

    own, later = bytes.fromhex(content.session_secret), int(time.time()) + 9999
    return {
        "ended": sign(key_id, int(time.time()) - 1, own),
        "another secret": sign(key_id, later, bytes(32)),
        "a later end": sign(key_id, 1, own).replace(b".1.", b".999999999999."),
        "another's id": sign(foreign_id, later, own),
        "no signature": f"{key_id}.{later}.".encode(),
        "nothing": b"",
        "long": b"a" * 14_000,
        "bytes": b"\xff\xfe\x00",
        "quoted": b'"' + sign(key_id, later, bytes(32)) + b'"',
        "Arabic digits": f"{key_id}.{'٩' * 12}.{'0' * 64}".encode(),
    }


def draw_credential_attack(maker: Maker) -> Attack:
    """Return a good request by somebody who may not ask, or may not ask for this."""
    rng, known = maker.rng, maker.credentials
    target = rng.choice((*OPERATIONS, b"/v1/model", b"/login"))
    method, body = (b"GET", b"") if target == b"/v1/model" else (b"POST", encoded("PNG"))
    headers: Headers = []
    shown, name, may_answer = b"", "nothing", False
    how = rng.choices(("worthless", "session", "guess", "narrow", "token", "good session"), (5, 2, 2, 0.5, 0.5, 0.5))[0]
    if how == "worthless":
        name, shown = rng.choice(list(known.worthless.items()))
    elif how == "session":
        name, value = rng.choice(list(known.worthless_sessions.items()))
        headers = [(b"Cookie", rng.choice((b"", b"a=b; ", b";;=; ")) + COOKIE + b"=" + value)]
    elif how == "guess":
        name, shown = "guessed key", f"Bearer mray_{rng.randbytes(6).hex()}_{rng.randbytes(32).hex()[:43]}".encode()
    else:
        name, may_answer = how, True
        shown = {"narrow": f"Bearer {known.predict_key}", "token": f"Bearer {known.token}"}.get(how, "").encode()
        headers = [(b"Cookie", COOKIE + b"=" + known.session.encode())] if how == "good session" else []
        may_answer = not (how == "narrow" and target == b"/v1/explain")
    content = maker.request(method, target, headers, body, authorization=shown)
    return maker.attack("credential", name, content, may_answer=may_answer)
