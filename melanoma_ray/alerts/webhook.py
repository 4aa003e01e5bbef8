"""A webhook: signed JSON by POST, after the Standard Webhooks specification (standardwebhooks.com, version 1.0.0).

The receiver recomputes the signature over ``webhook-id.webhook-timestamp.body``, refuses timestamps more than
``REPLAY_WINDOW_S`` away from its clock, and takes each ``webhook-id`` once: it is the idempotency key.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import time
from collections.abc import Sequence
from typing import Any

from melanoma_ray.alerts.credentials import read_secret
from melanoma_ray.alerts.outbox import Message
from melanoma_ray.alerts.settings import WebhookSink
from melanoma_ray.alerts.transport import HttpSender, name_server
from melanoma_ray.errors import ConfigError

REPLAY_WINDOW_S = 300
"""Age of a timestamp beyond which a receiver should refuse a message, seconds; the specification's libraries use it."""
_PREFIX = "whsec_"
_MIN_KEY_BYTES, _MAX_KEY_BYTES = 24, 64


class Webhook:
    """Posts messages to one address."""

    def __init__(self, settings: WebhookSink) -> None:
        """Read the secret once, so that a missing one is found before anything is sent.

        Raises:
            ConfigError: The secret or the certificates can't be read.
        """
        self._settings = settings
        self._keys()
        self._http = HttpSender(
            settings.name, ca_file=settings.ca_file, proxy=settings.proxy, timeout_s=settings.timeout_s
        )

    def send(self, message: Message) -> str:
        """Post a message; 2xx confirms it."""
        body = json.dumps(build_payload(message), ensure_ascii=False, allow_nan=False).encode()
        headers = sign(self._keys(), message.key, int(time.time()), body)
        status, _ = self._http.post(self._settings.url, body, {"content-type": "application/json", **headers})
        return f"{name_server(self._settings.url)}: answered {status}"

    def close(self) -> None:
        """Close the connection."""
        self._http.close()

    def _keys(self) -> list[bytes]:
        settings = self._settings
        text = read_secret(settings.name, "secret", settings.secret_file, settings.secret_env) or ""
        return [_parse_key(settings.name, one) for one in text.split()]


def build_payload(message: Message) -> dict[str, Any]:
    """Return a message as JSON's values: what webhooks and files get."""
    newest = max(str(alert["created_at"]) for alert in message.alerts)
    return {
        "type": "melanoma.alerts",
        "timestamp": newest,
        "data": {"idempotency_key": message.key, "alerts": list(message.alerts)},
    }


def sign(keys: Sequence[bytes], key: str, timestamp: int, body: bytes) -> dict[str, str]:
    """Return the three headers by which a receiver knows that a message is ours and new.

    Args:
        keys: Signing keys; the receiver accepts a signature by any of them.
        key: Idempotency key of the message.
        timestamp: Time of this attempt, seconds since 1970.
        body: The message.
    """
    signed = f"{key}.{timestamp}.".encode() + body
    signatures = [base64.b64encode(hmac.digest(one, signed, hashlib.sha256)).decode() for one in keys]
    return {
        "webhook-id": key,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(f"v1,{one}" for one in signatures),
    }


def _parse_key(sink: str, secret: str) -> bytes:
    try:
        key = base64.b64decode(secret.removeprefix(_PREFIX), validate=True) if secret.startswith(_PREFIX) else b""
    except (binascii.Error, ValueError):
        key = b""
    if not _MIN_KEY_BYTES <= len(key) <= _MAX_KEY_BYTES:  # the secret itself stays out of the message
        msg = f"sink {sink!r}: its secret isn't {_PREFIX} and the Base64 of {_MIN_KEY_BYTES} to {_MAX_KEY_BYTES} bytes"
        raise ConfigError(msg)
    return key
