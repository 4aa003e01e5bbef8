"""Sessions of the page: a signed text that names a key and the time of its end. Nothing about them is stored."""

from __future__ import annotations

import hashlib
import hmac
import re
import time

from melanoma_ray.access.keys import Key, KeyFile

SESSION_S = 8 * 3600
"""Time after which the page asks for the key again, seconds: a working day."""
_SESSION = re.compile(r"([0-9a-f]{12})\.([0-9]{1,12})\.([0-9a-f]{64})")


def start_session(content: KeyFile, key: Key) -> str:
    """Return the text for a cookie; it is worth what the key is worth, until it ends or the key does.

    Args:
        content: The file's content.
        key: A valid key of it.
    """
    ends_at = int(time.time()) + SESSION_S
    return f"{key.key_id}.{ends_at}.{_sign(content, key.key_id, ends_at)}"


def find_session(content: KeyFile, text: str) -> Key | None:
    """Return the key that a cookie's text stands for; none: it is forged, has ended, or its key has.

    Args:
        content: The file's content now.
        text: Value of the cookie.
    """
    match = _SESSION.fullmatch(text)
    if match is None:
        return None
    key_id, ends_at, signature = match.group(1), int(match.group(2)), match.group(3)
    is_signed = hmac.compare_digest(_sign(content, key_id, ends_at), signature)
    return content.find(key_id) if is_signed and time.time() < ends_at else None


def _sign(content: KeyFile, key_id: str, ends_at: int) -> str:
    secret = bytes.fromhex(content.session_secret)
    return hmac.new(secret, f"session {key_id} {ends_at}".encode(), hashlib.sha256).hexdigest()
