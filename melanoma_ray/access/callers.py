"""Who asks, whatever they showed: a key, the page's session, a token of the hospital's own login, or a certificate."""

from __future__ import annotations

from dataclasses import dataclass

from melanoma_ray.access.keys import SCOPES, Key, Scope
from melanoma_ray.access.limits import UNLIMITED, Limits

_NUM_DIGITS = 12


@dataclass(frozen=True, kw_only=True, slots=True)
class Caller:
    """One caller, as the service knows it."""

    caller_id: str
    """Id that may be shown and logged: a key's own; ``oidc-`` and a hash of the token's issuer and subject; or
    ``certificate-`` and the first digits of a certificate's SHA-256."""
    scopes: tuple[Scope, ...]
    """What it may ask for."""
    limits: Limits
    """How much it may ask; where one is none, the service's own limit holds."""


def caller_of(key: Key) -> Caller:
    """Return the caller that a key stands for."""
    limits = Limits(requests_per_minute=key.requests_per_minute, max_concurrent=key.max_concurrent)
    return Caller(caller_id=key.key_id, scopes=key.scopes, limits=limits)


def caller_with_certificate(sha256: str) -> Caller:
    """Return the caller whose certificate has this SHA-256, hexadecimal; it may ask for everything."""
    return Caller(caller_id=f"certificate-{sha256[:_NUM_DIGITS].lower()}", scopes=SCOPES, limits=UNLIMITED)
