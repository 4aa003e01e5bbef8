"""A typed HTTP client of the service; its messages are defined in ``api``."""

from __future__ import annotations

import ssl
import time
from pathlib import Path
from types import TracebackType
from typing import TypeVar

import httpx
from pydantic import ValidationError

from melanoma_ray.api import PROBLEM_JSON, Message, ModelCard, Prediction, Problem, Status
from melanoma_ray.errors import ServiceError
from melanoma_ray.schema import Sex, Site

DEFAULT_URL = "http://127.0.0.1:8000"
_POLL_S = 0.5
_START_IT = "start the service with: python -m jobs.deploy --checkpoint DIR"
MessageT = TypeVar("MessageT", bound=Message)


class Client:
    """A connection to one service; use it as a context manager, or call ``close``.

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
        timeout_s: float = 60.0,
    ) -> None:
        """Remember the address; nothing is sent before the first call.

        Proxies that environment variables name are not used, because the images are a patient's and must not go
        anywhere that the caller didn't name.

        Args:
            url: Scheme, host and port of the service.
            key: Key for a service that asks for one; it is sent to this address and to no other.
            ca_file: File of certificates, PEM; one of them has signed an https:// service's own; none: the public ones.
            timeout_s: Longest time to wait for the connection or for more of an answer, seconds.

        Raises:
            ServiceError: The file of certificates can't be read.
        """
        self._url = url.rstrip("/")
        self._timeout_s = timeout_s
        self._http = httpx.Client(
            timeout=timeout_s,
            trust_env=False,
            headers={} if key is None else {"Authorization": f"Bearer {key}"},
            verify=True if ca_file is None else _trust(ca_file),
        )

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
        self, encoded: bytes, *, age: float | None = None, sex: Sex | None = None, site: Site | None = None
    ) -> Prediction:
        """Return the service's answer for one encoded image.

        Args:
            encoded: The image.
            age: Age of the patient, years; none: unknown. A model that doesn't use metadata ignores age, sex and site.
            sex: Sex of the patient; none: unknown.
            site: Site of the lesion on the body; none: unknown.

        Raises:
            ServiceError: The service can't be reached, is overloaded, refuses the image, or gives a malformed answer.
        """
        given = {"age": age, "sex": sex, "site": site}
        params = {name: str(value) for name, value in given.items() if value is not None}
        return self._parse(self._send("POST", "/v1/predict", content=encoded, params=params), Prediction)

    def explain(self, encoded: bytes, diagnosis: str | None = None) -> bytes:
        """Return the image as PNG, overlaid with a map of the parts that are evidence for a diagnosis.

        Args:
            encoded: The image.
            diagnosis: Diagnosis to explain: one of the model's, in any spelling; by default what it refers for.

        Raises:
            ServiceError: As for ``predict``, or the model doesn't have the diagnosis.
        """
        params = {} if diagnosis is None else {"diagnosis": diagnosis}
        return self._send("POST", "/v1/explain", content=encoded, params=params).content

    def model(self) -> ModelCard:
        """Return the description of the model that is being served.

        Raises:
            ServiceError: The service can't be reached, or something else answers at this address.
        """
        return self._parse(self._send("GET", "/v1/model"), ModelCard)

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
                self._parse(self._send("GET", "/readyz"), Status)
            except ServiceError as error:
                if time.monotonic() + _POLL_S > deadline:
                    msg = f"not ready within {timeout_s:g} s: {error}"
                    raise ServiceError(msg) from error
                time.sleep(_POLL_S)
            else:
                return

    def _send(
        self, method: str, path: str, *, content: bytes | None = None, params: dict[str, str] | None = None
    ) -> httpx.Response:
        url = self._url + path
        try:
            response = self._http.request(method, url, content=content, params=params)
        except (httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
            msg = f"{self._url}: not an HTTP address ({error}); expected one such as {DEFAULT_URL}"
            raise ServiceError(msg) from error
        except httpx.ConnectError as error:
            if "CERTIFICATE_VERIFY_FAILED" in str(error):
                msg = f"{self._url}: its certificate isn't trusted ({error}); give ca_file, or correct the address"
                raise ServiceError(msg) from error
            msg = f"{self._url} is not reachable ({error}): {_START_IT}"
            raise ServiceError(msg) from error
        except httpx.TimeoutException as error:
            msg = f"{url} did not answer within {self._timeout_s:g} s: try again, or raise timeout_s"
            raise ServiceError(msg) from error
        except httpx.TransportError as error:
            msg = f"{url}: the connection broke ({error}); try again"
            raise ServiceError(msg) from error
        if not response.is_success:
            raise ServiceError(_reason(response))
        return response

    def _parse(self, response: httpx.Response, kind: type[MessageT]) -> MessageT:
        try:
            return kind.model_validate_json(response.content)
        except ValidationError as error:
            msg = f"{response.url}: the answer isn't one of this service: is the address right?"
            raise ServiceError(msg) from error


def _trust(ca_file: str | Path) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca_file)
    except OSError as error:
        msg = f"{ca_file}: can't be read as certificates ({error}); give a PEM file"
        raise ServiceError(msg) from error


def _reason(response: httpx.Response) -> str:
    """Return the reason of an answer that isn't a success, as one line."""
    if response.status_code in {429, 503}:
        wait_s = response.headers.get("Retry-After", "a few")
        return f"{response.url} is overloaded or not ready (HTTP {response.status_code}): try again in {wait_s} s"
    if response.headers.get("Content-Type", "").startswith(PROBLEM_JSON):
        try:
            problem = Problem.model_validate_json(response.content)
        except ValidationError:
            return f"{response.url}: HTTP {response.status_code} with a malformed explanation"
        return f"{problem.title}: {problem.detail}"
    return f"{response.url}: HTTP {response.status_code} without an explanation: is the address right?"
