"""API keys: made once, kept as hashes in one file, and looked up in that file as it is now.

A key is ``mray_ID_SECRET``. The secret is 256 random bits, so one SHA-256 of it can't be guessed back; what slows down
the guessing of passwords isn't needed. The file is replaced as a whole, so a reader never sees half of it.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import re
import secrets
import shlex
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal, get_args

from pydantic import StringConstraints, TypeAdapter, ValidationError

from melanoma_ray import storage
from melanoma_ray.access.limits import UNLIMITED, Limits
from melanoma_ray.errors import ConfigError, StorageError
from melanoma_ray.storage import explain

logger = logging.getLogger(__name__)

Scope = Literal["predict", "explain"]
SCOPES: tuple[Scope, ...] = get_args(Scope)
"""What a key may be for: predictions and the model's description; explanations of single images."""
PREFIX = "mray_"
_KEY = re.compile(PREFIX + r"([0-9a-f]{12})_([A-Za-z0-9_-]{43})")
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
"""256 bits, hexadecimal."""
_CHECK_EVERY_S = 0.5
"""Time in which a change of the file is noticed, seconds; a look at a file on a network disk takes a millisecond."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Key:
    """What the file has of one key."""

    key_id: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{12}$")]
    """Part of the key that may be shown and logged, 12 hexadecimal digits."""
    name: str
    """Name of the person or the program that has it."""
    scopes: tuple[Scope, ...]
    """What it may be used for."""
    secret_sha256: Sha256
    """SHA-256 of the secret, hexadecimal."""
    created_at: float
    """Time at which it was made, seconds since 1970."""
    expires_at: float | None = None
    """Time from which it isn't taken any more, seconds since 1970; none: it doesn't expire."""
    revoked_at: float | None = None
    """Time at which it was revoked, seconds since 1970; none: it wasn't."""
    requests_per_minute: float | None = None
    """Most requests a minute; none: the service's own limit."""
    max_concurrent: int | None = None
    """Most requests at a time; none: the service's own limit."""

    def state(self, now: float) -> Literal["valid", "expired", "revoked"]:
        """Return whether it may be used.

        Args:
            now: Time, seconds since 1970.
        """
        if self.revoked_at is not None:
            return "revoked"
        return "expired" if self.expires_at is not None and now >= self.expires_at else "valid"


@dataclass(frozen=True, kw_only=True, slots=True)
class KeyFile:
    """Content of the file."""

    format_version: Literal[1] = 1
    session_secret: Sha256
    """Secret that signs the page's sessions: who reads the file can make a session, but no key."""
    keys: tuple[Key, ...] = ()

    def find(self, key_id: str) -> Key | None:
        """Return a key that may be used now, by its id."""
        found = next((key for key in self.keys if key.key_id == key_id), None)
        return found if found is not None and found.state(time.time()) == "valid" else None


_FILE = TypeAdapter(KeyFile)


def _empty_file() -> KeyFile:
    return KeyFile(session_secret=secrets.token_hex(32))


def read_key_file(path: str) -> KeyFile:
    """Return the file's content.

    Raises:
        ConfigError: There is no such file, or it isn't one of keys.
    """
    try:
        return _FILE.validate_json(Path(storage.absolute(path)).read_bytes(), strict=False)
    except FileNotFoundError as error:
        command = f"python -m jobs.keys create NAME --keys {shlex.quote(path)}"
        msg = f"{path}: there is no such file; {command} makes it, with a key"
        raise ConfigError(msg) from error
    except OSError as error:
        raise ConfigError(explain(error, path)) from error
    except ValidationError as error:
        first = error.errors()[0]
        what = ": ".join(filter(None, (".".join(map(str, first["loc"])), first["msg"])))
        msg = f"{path}: isn't a file of keys ({what}); jobs.keys writes it: put back what it wrote, or begin a new file"
        raise ConfigError(msg) from error


def create_key(
    path: str, name: str, scopes: tuple[Scope, ...], days: float | None, limits: Limits = UNLIMITED
) -> tuple[str, Key]:
    """Add a key to the file, which is made if it isn't there, and return the key as a text and what the file has of it.

    Args:
        path: File of keys.
        name: Name of the person or program that gets it; not empty.
        scopes: What it may be used for; one or more.
        days: Time after which it expires, days; none: never.
        limits: How much it may ask; where one is none, the service's own limit holds.

    Raises:
        ConfigError: The file isn't one of keys, or the name is empty or can't be printed.
        StorageError: The file can't be written.
    """
    if not name.strip() or not name.isprintable():
        msg = f"name={name!r}: expected the name of the person or program that gets the key, in a line"
        raise ConfigError(msg)
    secret, now = secrets.token_urlsafe(32), time.time()
    key = Key(
        key_id=secrets.token_hex(6),
        name=name.strip(),
        scopes=tuple(dict.fromkeys(scopes)),
        secret_sha256=_digest(secret),
        created_at=now,
        expires_at=None if days is None else now + 86400 * days,
        requests_per_minute=limits.requests_per_minute,
        max_concurrent=limits.max_concurrent,
    )
    _change(path, lambda found: replace(found, keys=(*found.keys, key)), may_create=True)
    return f"{PREFIX}{key.key_id}_{secret}", key


def revoke_key(path: str, key_id: str) -> Key:
    """Revoke a key for good, and return it; a running service takes it no more within a second.

    Args:
        path: File of keys.
        key_id: Its id, or the beginning of it.

    Raises:
        ConfigError: No key, or more than one, begins so; or the file isn't one of keys.
        StorageError: The file can't be written.
    """

    def revoke(found: KeyFile) -> KeyFile:
        matching = [key for key in found.keys if key_id and key.key_id.startswith(key_id)]
        if len(matching) != 1:
            what = "no key begins" if not matching else f"{len(matching)} keys begin"
            msg = f"id={key_id!r}: {what} so; `python -m jobs.keys list --keys {shlex.quote(path)}` shows their ids"
            raise ConfigError(msg)
        (one,) = matching
        revoked.append(one if one.revoked_at is not None else replace(one, revoked_at=time.time()))
        return replace(found, keys=tuple(revoked[0] if key is one else key for key in found.keys))

    revoked: list[Key] = []
    _change(path, revoke, may_create=False)
    return revoked[0]


class KeyStore:
    """The keys as the file has them now, for a service. Without a readable file nobody has a key."""

    def __init__(self, path: str) -> None:
        """Read the file.

        Raises:
            ConfigError: It can't be read, or isn't one of keys.
        """
        self._path = path
        self._content = read_key_file(path)
        self._is_readable = True
        self._version = _version(path)
        self._checked_at = time.monotonic()

    @property
    def content(self) -> KeyFile:
        """Return what the file has, read again if it has changed."""
        if time.monotonic() - self._checked_at >= _CHECK_EVERY_S:
            self._checked_at = time.monotonic()
            if (version := _version(self._path)) != self._version:
                self._read_again(version)
        return self._content

    @property
    def is_readable(self) -> bool:
        """Whether the file could be read since it changed last; if not, nobody has a key until it can."""
        return bool(self.content) and self._is_readable

    def find(self, text: str) -> Key | None:
        """Return the valid key that a text is; none: it is none.

        The time that this takes says nothing about the secret: hashes are compared in constant time.
        """
        match = _KEY.fullmatch(text)
        if match is None:
            return None
        key_id, secret = match.groups()
        found = self.content.find(key_id)
        # Also compared where there is no such key, so that the time doesn't tell which ids exist.
        is_right = hmac.compare_digest(_digest(secret), found.secret_sha256 if found else _digest(""))
        return found if is_right else None

    def _read_again(self, version: tuple[int, ...]) -> None:
        try:
            self._content, self._is_readable = read_key_file(self._path), True
        except ConfigError as error:
            logger.error("keys: %s; until then nobody has a key", error)  # noqa: TRY400 - one line, no traceback
            self._content, self._is_readable = _empty_file(), False
        self._version = version


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _version(path: str) -> tuple[int, ...]:
    """Return what differs whenever the file was replaced or is gone."""
    try:
        found = Path(storage.absolute(path)).stat()
    except OSError:
        return ()
    return (found.st_ino, found.st_mtime_ns, found.st_size)


def _change(path: str, change: Callable[[KeyFile], KeyFile], *, may_create: bool) -> None:
    """Replace the file by a changed one, while no other process of this machine does.

    Where the path is a link, the file that it leads to is replaced, so that it changes for whoever reads it by another
    name, too.
    """
    file = _follow_links(path)
    with storage.hold_alone(str(file.parent)):
        content = _empty_file() if may_create and not file.exists() else read_key_file(path)
        storage.write_bytes(str(file), _FILE.dump_json(change(content), indent=2), is_private=True)


def _follow_links(path: str) -> Path:
    file = Path(storage.absolute(path))
    try:
        return file.resolve()
    except (OSError, RuntimeError) as error:  # links that lead to each other
        msg = f"{path}: is a link that leads nowhere ({error}); give the path of the file itself"
        raise StorageError(msg) from error
