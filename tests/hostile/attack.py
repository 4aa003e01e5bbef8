"""One hostile request as bytes on a connection, and what those who make them know of the service."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random

Headers = list[tuple[bytes, bytes]]
ID_PREFIX = "hostile-"
"""Begin of each X-Request-Id that is sent."""
OPERATIONS = (b"/v1/predict", b"/v1/explain", b"/v1/predict/batch")


@dataclass(frozen=True, kw_only=True, slots=True)
class Credentials:
    """What callers show; all but ``key``, ``token`` and ``session`` are worth nothing."""

    key: str
    predict_key: str
    """Valid, for predictions alone."""
    token: str
    """Valid, of the hospital's login."""
    session: str
    """Valid, of the page."""
    worthless: dict[str, bytes]
    """Values of the Authorization header by what is wrong with them."""
    worthless_sessions: dict[str, bytes]
    """Values of the page's cookie by what is wrong with them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Attack:
    """Bytes to send on a connection of their own, and what their sender may get."""

    kind: str
    name: str
    pieces: tuple[bytes, ...] = field(repr=False)
    """Sent one after the other; what is answered meanwhile ends the sending."""
    pause_s: float = 0.0
    """Pause after each piece, seconds."""
    may_answer: bool = False
    """Whether a valid credential is shown: only then may there be a prediction, an explanation or the model card."""
    request_id: str | None = None
    """Sensible X-Request-Id that is sent, and must come back with an answer of the application."""
    hangs_up: bool = False
    """Whether the connection is closed without waiting for an answer."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Maker:
    """What a generator of attacks needs: chance, and what its request shows."""

    rng: Random
    credentials: Credentials
    request_id: str

    def request(
        self,
        method: bytes = b"POST",
        target: bytes = b"/v1/predict",
        headers: Headers | None = None,
        body: bytes = b"",
        *,
        authorization: bytes | None = None,
        length: bytes | None = None,
    ) -> bytes:
        """Return a request that is well-formed but for what is given.

        Args:
            method: Method.
            target: Path and query.
            headers: Further headers.
            body: Body.
            authorization: Value of the Authorization header; none: the valid key; empty: no such header.
            length: Value of Content-Length; none: the right one; empty: no such header.
        """
        shown = f"Bearer {self.credentials.key}".encode() if authorization is None else authorization
        size = str(len(body)).encode() if length is None else length
        lines = [
            (b"Host", b"triage.example"),
            (b"Connection", b"close"),
            (b"X-Request-Id", self.request_id.encode()),
            *([(b"Authorization", shown)] if shown else []),
            *([(b"Content-Length", size)] if size else []),
            *(headers or []),
        ]
        return assemble(method + b" " + target + b" HTTP/1.1", lines, body)

    def attack(self, kind: str, name: str, content: bytes, *, may_answer: bool = False) -> Attack:
        """Return an attack of one piece whose request has this maker's id."""
        return Attack(kind=kind, name=name, pieces=(content,), may_answer=may_answer, request_id=self.request_id)


def assemble(first_line: bytes, headers: Headers, body: bytes = b"") -> bytes:
    """Return a message of HTTP/1.1."""
    return first_line + b"\r\n" + b"".join(name + b": " + value + b"\r\n" for name, value in headers) + b"\r\n" + body
