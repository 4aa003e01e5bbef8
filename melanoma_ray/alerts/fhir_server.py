"""A FHIR R4 server: one transaction a message, confirmed only when the server has answered for each of its entries."""

from __future__ import annotations

import json
from typing import Any

from melanoma_ray.alerts.credentials import read_secret
from melanoma_ray.alerts.fhir import build_bundle
from melanoma_ray.alerts.outbox import Message
from melanoma_ray.alerts.settings import FhirSink
from melanoma_ray.alerts.transport import HttpSender, name_server
from melanoma_ray.errors import SinkError

_FHIR_JSON = "application/fhir+json"


class FhirServer:
    """Posts messages to one server, as transactions."""

    def __init__(self, settings: FhirSink) -> None:
        """Read the token once, so that a missing one is found before anything is sent.

        Raises:
            ConfigError: Token or certificates can't be read.
        """
        self._settings = settings
        self._token()
        self._http = HttpSender(
            settings.name, ca_file=settings.ca_file, proxy=settings.proxy, timeout_s=settings.timeout_s
        )

    def send(self, message: Message) -> str:
        """Post a transaction; it is confirmed when each entry was created, or was there."""
        url = self._settings.url.rstrip("/")
        bundle = build_bundle(message.alerts, self._settings.patient_system)
        headers = self._headers() | {"content-type": f"{_FHIR_JSON}; fhirVersion=4.0"}
        status, body = self._http.post(url, json.dumps(bundle, ensure_ascii=False, allow_nan=False).encode(), headers)
        statuses = _read_statuses(url, body)
        if len(statuses) != len(bundle["entry"]) or not all(one.startswith("2") for one in statuses):
            msg = f"{name_server(url)}: answered {status}, but {statuses} for {len(bundle['entry'])} entries"
            raise SinkError(msg, is_refusal=True)
        return f"{name_server(url)}: answered {status}, {len(statuses)} of {len(statuses)} resources are there"

    def probe(self) -> str:
        """Ask what the server can do, which makes nothing in it; return what it answered.

        Raises:
            SinkError: It doesn't answer with FHIR R4.
        """
        url = f"{self._settings.url.rstrip('/')}/metadata"
        status, body = self._http.get(url, self._headers())
        try:
            version = str(json.loads(body)["fhirVersion"])
        except (ValueError, TypeError, KeyError):
            version = "nothing that FHIR servers say"
        if not version.startswith("4.0"):
            msg = f"{name_server(url)}: answered {status} and says {version}; expected FHIR 4.0"
            raise SinkError(msg, is_refusal=True)
        return f"{name_server(url)}: answered {status}, FHIR {version}; nothing was made in it"

    def close(self) -> None:
        """Close the connection."""
        self._http.close()

    def _headers(self) -> dict[str, str]:
        token = self._token()
        return {"accept": _FHIR_JSON} | ({} if token is None else {"authorization": f"Bearer {token}"})

    def _token(self) -> str | None:
        return read_secret(self._settings.name, "token", self._settings.token_file, self._settings.token_env)


def _read_statuses(url: str, body: bytes) -> list[str]:
    """Return the status of each entry of a transaction's answer."""
    try:
        answer: Any = json.loads(body)
        kind, statuses = answer["type"], [str(entry["response"]["status"]) for entry in answer.get("entry", [])]
    except (ValueError, TypeError, KeyError, AttributeError):
        kind, statuses = None, []
    if kind != "transaction-response":
        msg = f"{name_server(url)}: isn't a FHIR server's answer to a transaction; nothing is known of what it did"
        raise SinkError(msg, is_refusal=True)
    return statuses
