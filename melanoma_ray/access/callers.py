"""Who asks, whatever they showed: a key, the page's session, or a token of the hospital's own login."""

from __future__ import annotations

from dataclasses import dataclass

from melanoma_ray.access.keys import Key, Scope
from melanoma_ray.access.limits import Limits


@dataclass(frozen=True, kw_only=True, slots=True)
class Caller:
    """One caller, as the service knows it."""

    caller_id: str
    """Id that may be shown and logged: a key's own, or ``oidc-`` and a hash of the token's issuer and subject."""
    scopes: tuple[Scope, ...]
    """What it may ask for."""
    limits: Limits
    """How much it may ask; where one is none, the service's own limit holds."""


def caller_of(key: Key) -> Caller:
    """Return the caller that a key stands for."""
    limits = Limits(requests_per_minute=key.requests_per_minute, max_concurrent=key.max_concurrent)
    return Caller(caller_id=key.key_id, scopes=key.scopes, limits=limits)
