"""Bearer tokens of a hospital's own login (OpenID Connect): JSON Web Tokens that one issuer has signed for us.

A token is taken if it is signed by a key that the issuer publishes (JWKS), by an asymmetric algorithm, names this
service as its audience and that issuer, and has not expired. What it may ask for stands in its scopes.

References:
    RFC 7519 (JWT), RFC 7517 (JWKS), RFC 8725 (best current practices), OpenID Connect Discovery 1.0.
"""

from __future__ import annotations

import hashlib
import json
import logging
import threading
import time
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import httpx
import jwt
from pydantic import AfterValidator, Field, TypeAdapter, ValidationError

from melanoma_ray.access.callers import Caller
from melanoma_ray.access.keys import SCOPES, Scope
from melanoma_ray.access.limits import Limits
from melanoma_ray.errors import ConfigError
from melanoma_ray.storage import absolute, explain

logger = logging.getLogger(__name__)

_ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
"""Asymmetric ones alone: with a shared secret, or none, whoever knows what is public could sign."""
_LEEWAY_S = 30.0
"""How far the issuer's clock may be off, seconds."""
_KEEP_KEYS_S = 600.0
"""Time after which the issuer's keys are read again, seconds: a key that it withdrew is taken no longer than that, or,
while the issuer doesn't answer, than twice as long."""
_ASK_AGAIN_S = 10.0
"""Least time between two questions for the issuer's keys, seconds: made-up key ids must not have it asked each time."""
_ANSWER_S = 5.0
_MAX_TOKEN = 8192
"""Longest token, characters."""


_NO_KEYS = (httpx.HTTPError, httpx.InvalidURL, ValueError, KeyError, TypeError, AttributeError)
"""What comes of an issuer that isn't there, or that answers with something else than keys."""


def _check_url(url: str) -> str:
    """Refuse an address that httpx would refuse."""
    try:
        httpx.URL(url)
    except httpx.InvalidURL as error:
        msg = f"{url!r} is no address: {error}"
        raise ValueError(msg) from error
    return url


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenSettings:
    """Whose tokens are taken; a TOML file has these fields."""

    issuer: Annotated[str, Field(pattern="^https?://")]
    """The claim ``iss`` that a token must have, to the letter; its discovery document names the keys."""
    audience: Annotated[str, Field(min_length=1)]
    """The claim ``aud`` that a token must have: this service, as the issuer calls it."""
    jwks_url: Annotated[str, Field(pattern="^https?://"), AfterValidator(_check_url)] | None = None
    """Where the issuer's public keys are; none: where its discovery document says."""
    scope_claim: str = "scope"
    """Claim with the scopes, a list or a text with spaces; ``roles`` or ``scp`` at some issuers."""
    scopes: dict[Scope, str] = field(default_factory=lambda: {scope: scope for scope in SCOPES})
    """The issuer's word for each of this service's scopes; what isn't named here nobody has by a token."""
    requests_per_minute: Annotated[float | None, Field(gt=0)] = None
    """Limit of each person or program with a token; none: the service's own."""
    max_concurrent: Annotated[int | None, Field(ge=1)] = None
    """Most requests at a time of each person or program with a token; none: the service's own."""


_SETTINGS = TypeAdapter(TokenSettings)


def read_token_settings(path: str) -> TokenSettings:
    """Return the settings in a TOML file.

    Raises:
        ConfigError: It can't be read, or says something that can't be.
    """
    try:
        found = tomllib.loads(Path(absolute(path)).read_text(encoding="utf-8"))
        unknown = found.keys() - TokenSettings.__dataclass_fields__.keys()
        if unknown:
            msg = f"{path}: {', '.join(sorted(unknown))}: expected {', '.join(TokenSettings.__dataclass_fields__)}"
            raise ConfigError(msg)
        return _SETTINGS.validate_python(found)
    except OSError as error:
        raise ConfigError(explain(error, path)) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        msg = f"{path}: isn't TOML ({error})"
        raise ConfigError(msg) from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        msg = f"{path}: {where}: {first['msg']}; docs/service.md has an example"
        raise ConfigError(msg) from error


class TokenVerifier:
    """Tells whose a token is; for several threads."""

    def __init__(self, settings: TokenSettings) -> None:
        """Keep the settings; the issuer is asked with the first token, so that it may be down until then."""
        self._settings = settings
        self._keys: dict[str, jwt.PyJWK] = {}
        self._read_at = self._asked_at = -_KEEP_KEYS_S
        self._lock = threading.Lock()

    def needs_issuer(self, token: str) -> bool:
        """Return whether ``find`` would have to ask the issuer, so that it must not be called by an event loop."""
        now = time.monotonic()
        try:
            is_old = now - self._read_at >= _KEEP_KEYS_S or _key_id(token) not in self._keys
        except jwt.PyJWTError:
            return False
        return is_old and (now - self._asked_at >= _ASK_AGAIN_S or self._lock.locked())  # who asks may bring its key

    def find(self, token: str) -> Caller | None:
        """Return the caller that a token stands for; none: it isn't valid here and now, and the log says why."""
        try:
            if self.needs_issuer(token):
                self._read_keys()
            key = self._keys.get(_key_id(token))
            if key is None:
                msg = "its key isn't one of the issuer's"
                raise jwt.InvalidKeyError(msg)
            claims = jwt.decode(
                token,
                key,
                algorithms=_ALGORITHMS,
                audience=self._settings.audience,
                issuer=self._settings.issuer,
                leeway=_LEEWAY_S,
                options={"require": ["exp", "iss", "aud", "sub"]},
            )
        except jwt.PyJWTError as error:
            logger.warning("a token was refused: %s", error)
            return None
        return self._caller(claims)

    def _caller(self, claims: dict[str, Any]) -> Caller:
        given = claims.get(self._settings.scope_claim, [])
        words = set(given.split() if isinstance(given, str) else map(str, given if isinstance(given, list) else []))
        subject = f"{claims['iss']} {claims['sub']}".encode()
        return Caller(
            caller_id="oidc-" + hashlib.sha256(subject).hexdigest()[:12],
            scopes=tuple(scope for scope, word in self._settings.scopes.items() if word in words),
            limits=Limits(
                requests_per_minute=self._settings.requests_per_minute, max_concurrent=self._settings.max_concurrent
            ),
        )

    def _read_keys(self) -> None:
        """Ask the issuer for its keys; if it doesn't answer, those of the last time hold until they are too old."""
        with self._lock:
            if time.monotonic() - self._asked_at < _ASK_AGAIN_S:
                return
            self._asked_at = time.monotonic()
            try:
                with httpx.Client(timeout=_ANSWER_S, trust_env=False) as client:
                    url = self._settings.jwks_url or _discover(client, self._settings.issuer)
                    found = jwt.PyJWKSet.from_dict(_get(client, url))
            except (*_NO_KEYS, jwt.PyJWTError) as error:
                logger.error("tokens: the keys of %s can't be read (%s)", self._settings.issuer, error)  # noqa: TRY400
                if time.monotonic() - self._read_at >= 2 * _KEEP_KEYS_S:
                    self._keys = {}
                return
            self._keys = {key.key_id: key for key in found.keys if key.key_id and key.public_key_use != "enc"}
            self._read_at = time.monotonic()


def _key_id(token: str) -> str:
    """Return the id of the key that a token says it is signed by; raises PyJWTError if it is no token."""
    if len(token) > _MAX_TOKEN:
        msg = f"it has more than {_MAX_TOKEN} characters"
        raise jwt.DecodeError(msg)
    found = jwt.get_unverified_header(token).get("kid")
    return found if isinstance(found, str) else ""


def _discover(client: httpx.Client, issuer: str) -> str:
    found = _get(client, issuer.rstrip("/") + "/.well-known/openid-configuration")
    return str(found["jwks_uri"])


def _get(client: httpx.Client, url: str) -> dict[str, Any]:
    content = json.loads(client.get(url).raise_for_status().content)
    if not isinstance(content, dict):
        msg = f"{url}: expected a JSON object"
        raise ValueError(msg)  # noqa: TRY004 - its content is wrong
    return content
