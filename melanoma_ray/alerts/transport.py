"""TLS and HTTP for sinks: a certificate is always verified, a redirect is never followed, each failure is one line."""

from __future__ import annotations

import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from http import HTTPStatus
from urllib.parse import urlsplit

import httpx

from melanoma_ray.errors import ConfigError, SinkError
from melanoma_ray.retries import read_retry_after
from melanoma_ray.storage import absolute

_WORTH_ANOTHER_TRY = {
    HTTPStatus.REQUEST_TIMEOUT,
    HTTPStatus.CONFLICT,
    HTTPStatus.TOO_EARLY,
    HTTPStatus.TOO_MANY_REQUESTS,
}
"""Answers 4xx that say nothing against the message itself."""
MAX_ANSWER_BYTES = 4 * 2**20
_LONGEST_WAIT_S = 3600.0
"""Longest wait that a server may ask for, seconds."""


def build_tls(sink: str, ca_file: str | None) -> ssl.SSLContext:
    """Return TLS settings that verify certificate and name.

    Args:
        sink: Name of the sink, for messages.
        ca_file: PEM file with the only authority that is trusted; none: those of the system.

    Raises:
        ConfigError: The file can't be read, or has no certificate.
    """
    try:
        context = ssl.create_default_context(cafile=None if ca_file is None else absolute(ca_file))
    except (OSError, ssl.SSLError) as error:
        msg = f"sink {sink!r}: ca_file={ca_file!r}: no PEM file of certificates ({error})"
        raise ConfigError(msg) from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def explain_tls(where: str, error: ssl.SSLError) -> SinkError:
    """Return a failure of TLS: a certificate that isn't accepted is a refusal, since a person must look at it."""
    if isinstance(error, ssl.SSLCertVerificationError):
        msg = f"{where}: its certificate isn't accepted: {error.verify_message}; nothing was sent"
        return SinkError(msg, is_refusal=True)
    return SinkError(f"{where}: TLS failed: {error.reason or error}")


def find_tls_error(error: BaseException | None) -> ssl.SSLError | None:
    """Return the failure of TLS behind an error; none: there is none."""
    while error is not None and not isinstance(error, ssl.SSLError):
        error = error.__cause__ or error.__context__
    return error


def name_server(url: str) -> str:
    """Return the server of an address, for messages: a path may hold a secret, as that of some webhooks does.

    >>> name_server("https://hooks.example:8443/services/T0/s3cret?token=1")
    'https://hooks.example:8443'
    """
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


class HttpSender:
    """Posts to one address; one connection is kept."""

    def __init__(self, sink: str, *, ca_file: str | None, proxy: str | None, timeout_s: float) -> None:
        """Read the certificates; nothing is sent.

        Raises:
            ConfigError: They can't be read.
        """
        tls = build_tls(sink, ca_file)
        try:
            # Proxies of the environment aren't used: alerts go nowhere that the settings don't name.
            self._http = httpx.Client(verify=tls, proxy=proxy, timeout=timeout_s, trust_env=False)
        except ValueError as error:
            msg = f"sink {sink!r}: proxy={proxy!r}: expected an address such as http://proxy:3128"
            raise ConfigError(msg) from error

    def close(self) -> None:
        """Close the connection."""
        self._http.close()

    def post(self, url: str, content: bytes, headers: Mapping[str, str]) -> tuple[int, bytes]:
        """Post and return status and body of a success, 2xx.

        Raises:
            SinkError: There was no answer, or another one.
        """
        return self._exchange("POST", url, content, headers)

    def get(self, url: str, headers: Mapping[str, str]) -> tuple[int, bytes]:
        """Get and return status and body of a success, 2xx.

        Raises:
            SinkError: There was no answer, or another one.
        """
        return self._exchange("GET", url, None, headers)

    def _exchange(self, method: str, url: str, content: bytes | None, headers: Mapping[str, str]) -> tuple[int, bytes]:
        with self._explained(url):
            request = self._http.build_request(method, url, content=content, headers=dict(headers))
            response = self._http.send(request, stream=True)
            try:
                _refuse_failure(url, response)
                return response.status_code, _read_some(response)
            finally:
                response.close()

    @contextmanager
    def _explained(self, url: str) -> Iterator[None]:
        try:
            yield
        except httpx.TimeoutException as error:
            msg = f"{name_server(url)}: no answer in time ({type(error).__name__})"
            raise SinkError(msg) from error
        except (httpx.TransportError, httpx.InvalidURL) as error:
            if (tls := find_tls_error(error)) is not None:
                raise explain_tls(name_server(url), tls) from error
            msg = f"{name_server(url)}: can't be reached ({error or type(error).__name__})"
            raise SinkError(msg) from error


def _refuse_failure(url: str, response: httpx.Response) -> None:
    if response.is_success:
        return
    status = response.status_code
    is_refusal = status < HTTPStatus.INTERNAL_SERVER_ERROR and status not in _WORTH_ANOTHER_TRY
    hint = "; give its final address" if response.has_redirect_location else ""
    msg = f"{name_server(url)}: answered {status} {response.reason_phrase}{hint}"
    raise SinkError(msg, is_refusal=is_refusal, retry_after_s=_retry_after_s(response))


def _retry_after_s(response: httpx.Response) -> float | None:
    asked = read_retry_after(response.headers.get("retry-after", ""), datetime.now(UTC))
    return None if asked is None else min(asked, _LONGEST_WAIT_S)


def _read_some(response: httpx.Response) -> bytes:
    found = bytearray()
    for part in response.iter_bytes():
        found += part
        if len(found) > MAX_ANSWER_BYTES:
            break
    return bytes(found)
