"""Keys of a service's callers: python -m jobs.keys create NAME|list|revoke ID --keys FILE."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Literal

import tyro

from melanoma_ray.access.keys import SCOPES, Key, Scope, create_key, read_key_file, revoke_key
from melanoma_ray.access.limits import Limits
from melanoma_ray.errors import ConfigError
from melanoma_ray.ranges import Range, check_ranges

from . import console

Action = Literal["create", "list", "revoke"]
MAX_DAYS = 36500
"""A hundred years: more is a slip of the hand, and a calendar ends in the year 9999."""


@dataclass(frozen=True, kw_only=True)
class KeyArguments:
    """Make, list and revoke the keys that a service asks for.

    create NAME: make a key for a person or a program, and print it, once; list: all keys, without their secrets;
    revoke ID: a running service takes the key no more within a second. To change a key, create a new one, give it to
    whoever has the old one, and revoke the old one.
    """

    action: tyro.conf.Positional[Action]
    """What to do."""
    who: tyro.conf.Positional[str | None] = None
    """create: name of who gets the key; revoke: id of the key, or the beginning of it."""
    keys: str
    """File of the keys; create makes it if it isn't there, readable for its owner only."""
    scopes: tuple[Scope, ...] = SCOPES
    """create: what the key is for; predict: predictions and the model's description, explain: explanations."""
    days: Annotated[float | None, Range(above=0, greatest=MAX_DAYS)] = 365.0
    """create: time after which the key expires, days, in (0, 36500]; none: never."""
    requests_per_minute: Annotated[float | None, Range(above=0)] = None
    """create: most requests a minute, more than 0; none: the limit of jobs.deploy."""
    max_concurrent: Annotated[int | None, Range(1)] = None
    """create: most requests at a time, 1 or more; none: the limit of jobs.deploy."""

    def __post_init__(self) -> None:
        """Check ranges, and that a name or an id is given exactly where one is used.

        Raises:
            ConfigError: They aren't.
        """
        check_ranges(self)
        if (self.who is None) != (self.action == "list"):
            needs = "takes nothing more" if self.action == "list" else f"needs {_NEEDS[self.action]}"
            msg = f"{self.action} {needs}: python -m jobs.keys create NAME|list|revoke ID --keys FILE"
            raise ConfigError(msg)
        if not self.scopes:
            msg = f"scopes=(): expected one or more of {', '.join(SCOPES)}"
            raise ConfigError(msg)


_NEEDS = {"create": "the name of who gets the key", "revoke": "the id of a key"}


def main(arguments: KeyArguments) -> None:
    """Do what is asked, and print its outcome; a key is printed here and never again."""
    who = arguments.who or ""
    if arguments.action == "create":
        limits = Limits(requests_per_minute=arguments.requests_per_minute, max_concurrent=arguments.max_concurrent)
        text, key = create_key(arguments.keys, who, arguments.scopes, arguments.days, limits)
        print(_describe(key))
        print(f"the key, which can't be shown again:\n{text}")
    elif arguments.action == "revoke":
        print(_describe(revoke_key(arguments.keys, who)))
    else:
        found = read_key_file(arguments.keys).keys
        print("\n".join(map(_describe, found)) or "no keys")


def _describe(key: Key) -> str:
    ends = "never expires" if key.expires_at is None else f"expires {_day(key.expires_at)}"
    told = f"revoked {_day(key.revoked_at)}" if key.revoked_at is not None else ends
    most = "" if key.requests_per_minute is None else f"; {key.requests_per_minute:g} requests a minute"
    most += "" if key.max_concurrent is None else f"; {key.max_concurrent} at a time"
    return f"{key.key_id}  {key.state(time.time()):8} {key.name}: {', '.join(key.scopes)}{most}; {told}"


def _day(seconds: float) -> str:
    try:
        return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d}"
    except (OverflowError, ValueError, OSError):  # as each of Python's platforms has it
        return "after the year 9999"


if __name__ == "__main__":
    console.run_job(main, KeyArguments)
