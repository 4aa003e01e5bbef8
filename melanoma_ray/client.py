"""Typed HTTP clients of the service, one that waits and one for asyncio; the messages are defined in ``api``.

Both send a request again that the service was too busy for, or whose connection was lost: an answer changes nothing at
the service, so asking twice does no harm.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import re
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import httpx
from pydantic import ValidationError

from melanoma_ray.api import PROBLEM_JSON, Message, ModelCard, Prediction, Problem, Status
from melanoma_ray.errors import NoAnswerError, ServiceError
from melanoma_ray.retries import DEFAULT_RETRIES, NO_RETRIES, Retries, read_retry_after
from melanoma_ray.schema import Sex, Site

DEFAULT_URL = "http://127.0.0.1:8000"
_POLL_S = 0.5
_START_IT = "start the service with: python -m jobs.deploy --checkpoint DIR"
_LONGEST_TIMEOUT_S = 86400.0
_FAILURES = (httpx.HTTPError, RuntimeError)
"""What httpx raises when there is no answer; RuntimeError: the client is closed, or of another event loop."""
_PASSING = frozenset({429, 502, 503, 504})
"""HTTP statuses of a service that is busy or starts, and of a proxy that has lost its connection to a replica."""
_TOO_LATE = 408
Encoded = bytes | bytearray | memoryview
"""What may hold the bytes of an image."""
MessageT = TypeVar("MessageT", bound=Message)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Trouble:
    """Why a request has no answer."""

    error: ServiceError
    cause: Exception | None = None
    is_passing: bool = False
    """Whether the same request may be answered soon."""
    retry_after_s: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class _Call:
    """One request."""

    method: str
    path: str
    content: bytes | None = None
    params: Mapping[str, str] | None = None


_BEARER = re.compile(r"[A-Za-z0-9._~+/-]+=*")


def is_key(text: str) -> bool:
    """Return whether a text can be a key or a token: one word, as RFC 6750 (2.1) has it."""
    return _BEARER.fullmatch(text) is not None


class _Connection:
    """What both clients share: the calls, and what becomes of an answer or an error."""

    def __init__(self, url: str, timeout_s: float, retries: Retries) -> None:
        self._url = _check_address(url)
        if not 0 < timeout_s <= _LONGEST_TIMEOUT_S:
            msg = f"timeout_s={timeout_s}: expected seconds in (0, {_LONGEST_TIMEOUT_S:g}]"
            raise ServiceError(msg)
        self._timeout_s = timeout_s
        self._retries = retries

    def _settings(
        self, key: str | None, ca_file: str | Path | None, certificate: tuple[str | Path, str | Path] | None
    ) -> dict[str, Any]:
        """Return how an httpx client is made."""
        if key is not None and not is_key(key):
            # Its value isn't told: a terminal, or the log of a night job, would have it.
            msg = f"key: {len(key)} characters, and no key; expected the word that jobs.keys create prints, or a token"
            raise ServiceError(msg)
        return {
            "timeout": self._timeout_s,
            "trust_env": False,
            "headers": {} if key is None else {"Authorization": f"Bearer {key}"},
            "verify": True if ca_file is None and certificate is None else _trust(ca_file, certificate),
        }

    def _request(self, call: _Call) -> dict[str, Any]:
        return {"method": call.method, "url": self._url + call.path, "content": call.content, "params": call.params}

    def _wait_s(self, num_tries: int, trouble: _Trouble, retries: Retries | None) -> float:
        """Return how long to wait before the next try, seconds, or raise the trouble."""
        allowed = self._retries if retries is None else retries
        chance = random.random()  # noqa: S311 - spreads callers, guards nothing
        wait_s = allowed.wait_s(num_tries, trouble.retry_after_s, chance) if trouble.is_passing else None
        if wait_s is None:
            raise trouble.error from trouble.cause
        return wait_s

    def _explain_error(self, error: Exception, call: _Call) -> _Trouble:
        """Return why a request got no answer."""
        url, told, is_passing = self._url + call.path, str(error), False
        kind: type[ServiceError] = ServiceError
        if isinstance(error, RuntimeError):
            msg = f"{self._url}: this client is closed, or was used in another event loop ({error}): make a new one"
        elif "CERTIFICATE_VERIFY_FAILED" in told:
            advice = "have it renewed" if "expired" in told else "give ca_file, or correct the address"
            msg = f"{self._url}: its certificate isn't trusted ({error}); {advice}"
        elif "[SSL:" in told and "EOF" not in told:  # an end of the connection in the middle is a lost one
            advice = "http://, if it has no TLS" if "WRONG_VERSION" in told else "a certificate, if it asks for one"
            msg = f"{self._url}: no TLS connection ({error}); give {advice}"
        elif isinstance(error, httpx.ConnectError):
            msg, kind, is_passing = f"{self._url} is not reachable ({error}): {_START_IT}", NoAnswerError, True
        elif isinstance(error, httpx.TimeoutException):
            kind = NoAnswerError
            msg = f"{url} did not answer within {self._timeout_s:g} s: try again, or raise timeout_s"
        else:
            is_cut = isinstance(error, httpx.RemoteProtocolError) and url.startswith("http://")
            advice = ", or give https://, if it has TLS" if is_cut else ""
            msg, kind, is_passing = f"{url}: the connection broke ({error}); try again{advice}", NoAnswerError, True
        return _Trouble(error=kind(msg), cause=error, is_passing=is_passing)

    def _parse(self, response: httpx.Response, kind: type[MessageT]) -> MessageT:
        try:
            return kind.model_validate_json(response.content)
        except ValidationError as error:
            msg = f"{response.url}: the answer isn't one of this service: is the address right?"
            raise ServiceError(msg) from error


class Client(_Connection):
    """A connection to one service; use it as a context manager, or call ``close``. Several threads may share it.

    Every failure is a ``ServiceError`` with one line that says where it happened, what failed and what to do.

    >>> with Client("http://127.0.0.1:8000", timeout_s=5) as client:  # it connects with the first call
    ...     print(type(client).__name__)
    Client
    """

    def __init__(
        self,
        url: str = DEFAULT_URL,
        *,
        key: str | None = None,
        ca_file: str | Path | None = None,
        certificate: tuple[str | Path, str | Path] | None = None,
        timeout_s: float = 60.0,
        retries: Retries = DEFAULT_RETRIES,
    ) -> None:
        """Remember the address; nothing is sent before the first call.

        Proxies that environment variables name are not used, because the images are a patient's and must not go
        anywhere that the caller didn't name.

        Args:
            url: Scheme, host and port of the service.
            key: Key or token for a service that asks for one; it is sent to this address and to no other.
            ca_file: File of certificates, PEM; one of them has signed an https:// service's own; none: the public ones.
            certificate: Files of the caller's own certificate chain and of its key, PEM, for a service that asks for
                one; none: there is none.
            timeout_s: Longest time to wait for the connection or for more of an answer, seconds, at most a day.
            retries: How often and when a request is sent again.

        Raises:
            ServiceError: The address, the time or the key can't be one, or a file can't be read as certificates.
        """
        super().__init__(url, timeout_s, retries)
        self._http = httpx.Client(**self._settings(key, ca_file, certificate))

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def predict(
        self, encoded: Encoded, *, age: float | None = None, sex: Sex | None = None, site: Site | None = None
    ) -> Prediction:
        """Return the service's answer for one encoded image.

        Args:
            encoded: The bytes of the image.
            age: Age of the patient, years; none: unknown. A model that doesn't use metadata ignores age, sex and site.
            sex: Sex of the patient; none: unknown.
            site: Site of the lesion on the body; none: unknown.

        Raises:
            NoAnswerError: The service can't be reached, stays too busy or doesn't answer in time.
            ServiceError: It refuses the image, or gives a malformed answer; or the image is no bytes.
        """
        return self._parse(self._send(_ask_prediction(encoded, age, sex, site)), Prediction)

    def explain(self, encoded: Encoded, diagnosis: str | None = None) -> bytes:
        """Return the image as PNG, overlaid with a map of the parts that are evidence for a diagnosis.

        Args:
            encoded: The bytes of the image.
            diagnosis: Diagnosis to explain: one of the model's, in any spelling; by default what it refers for.

        Raises:
            ServiceError: As for ``predict``, or the model doesn't have the diagnosis.
        """
        return self._send(_ask_explanation(encoded, diagnosis)).content

    def model(self) -> ModelCard:
        """Return the description of the model that is being served.

        Raises:
            ServiceError: The service can't be reached, or something else answers at this address.
        """
        return self._parse(self._send(_MODEL), ModelCard)

    def wait_until_ready(self, timeout_s: float = 120.0) -> None:
        """Wait until the model is loaded and the service is ready.

        Args:
            timeout_s: Longest time to wait, seconds.

        Raises:
            ServiceError: It isn't ready in this time; the message has the last reason.
        """
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                self._parse(self._send(_READY, NO_RETRIES), Status)
            except ServiceError as error:
                if time.monotonic() + _POLL_S > deadline:
                    raise _not_ready(timeout_s, error) from error
                time.sleep(_POLL_S)
            else:
                return

    def _send(self, call: _Call, retries: Retries | None = None) -> httpx.Response:
        for num_tries in itertools.count(1):
            try:
                response = self._http.request(**self._request(call))
                trouble = _explain_status(response)
            except _FAILURES as error:
                trouble = self._explain_error(error, call)
            if trouble is None:
                break
            time.sleep(self._wait_s(num_tries, trouble, retries))
        return response


class AsyncClient(_Connection):
    """The same for asyncio, where many requests may be under way at a time; use it as ``async with``, or ``aclose``.

    >>> async def refers(image: bytes) -> bool:
    ...     async with AsyncClient("http://127.0.0.1:8000") as client:
    ...         return (await client.predict(image)).decision == "refer"
    """

    def __init__(
        self,
        url: str = DEFAULT_URL,
        *,
        key: str | None = None,
        ca_file: str | Path | None = None,
        certificate: tuple[str | Path, str | Path] | None = None,
        timeout_s: float = 60.0,
        retries: Retries = DEFAULT_RETRIES,
    ) -> None:
        """Remember the address, as ``Client`` does."""
        super().__init__(url, timeout_s, retries)
        self._http = httpx.AsyncClient(**self._settings(key, ca_file, certificate))

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def predict(
        self, encoded: Encoded, *, age: float | None = None, sex: Sex | None = None, site: Site | None = None
    ) -> Prediction:
        """Return the service's answer for one encoded image, as ``Client.predict``."""
        return self._parse(await self._send(_ask_prediction(encoded, age, sex, site)), Prediction)

    async def explain(self, encoded: Encoded, diagnosis: str | None = None) -> bytes:
        """Return an explanation as PNG, as ``Client.explain``."""
        return (await self._send(_ask_explanation(encoded, diagnosis))).content

    async def model(self) -> ModelCard:
        """Return the description of the model, as ``Client.model``."""
        return self._parse(await self._send(_MODEL), ModelCard)

    async def _send(self, call: _Call) -> httpx.Response:
        for num_tries in itertools.count(1):
            try:
                response = await self._http.request(**self._request(call))
                trouble = _explain_status(response)
            except _FAILURES as error:
                trouble = self._explain_error(error, call)
            if trouble is None:
                break
            await asyncio.sleep(self._wait_s(num_tries, trouble, None))
        return response


_MODEL = _Call(method="GET", path="/v1/model")
_READY = _Call(method="GET", path="/readyz")


def _check_address(url: str) -> str:
    """Return an address without the slash at its end; one at which no service can be is refused before it is asked."""
    if "@" in url:  # without the address, since messages get into logs
        msg = "url: has a user or a password before its host; leave them out: a key is given as key"
        raise ServiceError(msg)
    try:
        why = _why_impossible(httpx.URL(url), url)
    except httpx.InvalidURL as error:
        why = str(error)
    if why:
        msg = f"{url}: not an HTTP address ({why}); expected one such as {DEFAULT_URL}"
        raise ServiceError(msg)
    return url.rstrip("/")


def _why_impossible(given: httpx.URL, url: str) -> str:
    """Return why no service can be at an address; empty: one can."""
    faults = {
        "no http:// or https:// at its beginning": given.scheme not in {"http", "https"},
        "no host": not given.host,
        "a space in it": any(one.isspace() for one in url),  # httpx would escape it and look for that name
        f"port {given.port}, expected 1 to 65535": given.port is not None and not 1 <= given.port <= 65535,
        "more than scheme, host, port and path": bool(given.query or given.fragment),
    }
    return next((why for why, is_so in faults.items() if is_so), "")


def _to_content(encoded: Encoded) -> bytes:
    """Return an image's bytes, whatever holds them."""
    if not isinstance(encoded, Encoded):
        msg = f"the image is of the type {type(encoded).__name__}: give its bytes, as Path(...).read_bytes() has them"
        raise ServiceError(msg)
    return bytes(encoded)


def _ask_prediction(encoded: Encoded, age: float | None, sex: Sex | None, site: Site | None) -> _Call:
    given = {"age": age, "sex": sex, "site": site}
    params = {name: str(value) for name, value in given.items() if value is not None}
    return _Call(method="POST", path="/v1/predict", content=_to_content(encoded), params=params)


def _ask_explanation(encoded: Encoded, diagnosis: str | None) -> _Call:
    params = {} if diagnosis is None else {"diagnosis": diagnosis}
    return _Call(method="POST", path="/v1/explain", content=_to_content(encoded), params=params)


def _not_ready(timeout_s: float, error: ServiceError) -> ServiceError:
    return ServiceError(f"not ready within {timeout_s:g} s: {error}")


def _trust(ca_file: str | Path | None, certificate: tuple[str | Path, str | Path] | None) -> ssl.SSLContext:
    """Return whom a connection trusts, and what it shows of its own."""
    try:
        context = ssl.create_default_context(cafile=None if ca_file is None else Path(ca_file).expanduser())
    except (OSError, RuntimeError) as error:  # RuntimeError: the home of nobody
        msg = f"{ca_file}: can't be read as certificates ({error}); give a PEM file"
        raise ServiceError(msg) from error
    if certificate is not None:
        try:
            chain, key = (Path(file).expanduser() for file in certificate)
            context.load_cert_chain(chain, key, password="")  # without one, OpenSSL would ask at the terminal
        except (OSError, ValueError, RuntimeError) as error:
            files = " and ".join(map(str, certificate))
            msg = f"{files}: can't be used ({error}); expected a PEM chain and its key, no password"
            raise ServiceError(msg) from error
    return context


def _explain_status(response: httpx.Response) -> _Trouble | None:
    """Return why an answer is none; none: it is one."""
    if response.is_success:
        return None
    is_passing = response.status_code in _PASSING or _is_of_a_proxy(response)
    is_late = response.status_code == _TOO_LATE
    return _Trouble(
        error=(NoAnswerError if is_passing or is_late else ServiceError)(_reason(response)),
        is_passing=is_passing,
        retry_after_s=read_retry_after(response.headers.get("Retry-After", ""), datetime.now(UTC)),
    )


def _is_of_a_proxy(response: httpx.Response) -> bool:
    """Tell a failure of what stands in front, such as Serve's proxy whose replica died; ours is a problem."""
    return response.status_code == 500 and not response.headers.get("Content-Type", "").startswith(PROBLEM_JSON)


def _reason(response: httpx.Response) -> str:
    """Return the reason of an answer that isn't a success, as one line."""
    is_passing = response.status_code in {429, 503}
    wait_s = response.headers.get("Retry-After", "a few")
    if response.headers.get("Content-Type", "").startswith(PROBLEM_JSON):
        try:
            problem = Problem.model_validate_json(response.content)
        except ValidationError:
            return f"{response.url}: HTTP {response.status_code} with a malformed explanation"
        after = f"; try again in {wait_s} s" if is_passing else ""
        return f"{problem.title}: {problem.detail}{after}"
    if response.status_code == _TOO_LATE:  # of Serve's proxy, which waits so long for a replica
        return f"{response.url}: no answer in the proxy's time (HTTP {_TOO_LATE}): has the service a replica that runs?"
    if is_passing:
        return f"{response.url} is overloaded or not ready (HTTP {response.status_code}): try again in {wait_s} s"
    return f"{response.url}: HTTP {response.status_code} without an explanation: is the address right?"
