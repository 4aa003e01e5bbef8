"""Hostile requests by number: the same seed and number make the same request."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from tests.hostile.attack import ID_PREFIX, Attack, Credentials, Maker
from tests.hostile.forgeries import draw_credential_attack
from tests.hostile.forms import draw_form_attack
from tests.hostile.images import draw_image_attack
from tests.hostile.messages import (
    draw_framing_attack,
    draw_header_attack,
    draw_path_attack,
    draw_query_attack,
    draw_slow_attack,
)

SLOW_EVERY = 100
"""One of so many requests is sent slowly: each takes ten seconds or more, beside the others."""
_MAKERS: dict[Callable[[Maker], Attack], float] = {
    draw_image_attack: 30,
    draw_form_attack: 18,
    draw_framing_attack: 14,
    draw_path_attack: 12,
    draw_header_attack: 12,
    draw_credential_attack: 10,
    draw_query_attack: 6,
}


def draw_attack(seed: int, number: int, credentials: Credentials) -> Attack:
    """Return one hostile request.

    Args:
        seed: Seed of all.
        number: Number of this one.
        credentials: What it may show.
    """
    rng = Random(f"{seed}/{number}")
    maker = Maker(rng=rng, credentials=credentials, request_id=f"{ID_PREFIX}{seed}-{number}")
    if number % SLOW_EVERY == 0:
        return draw_slow_attack(maker)
    (draw,) = rng.choices(list(_MAKERS), list(_MAKERS.values()))
    return draw(maker)
