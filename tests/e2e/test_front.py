"""``jobs.deploy`` with TLS: HAProxy has the address, asks for certificates, and is alone there."""

from __future__ import annotations

import io
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np
import psutil
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from PIL import Image

from melanoma_ray.access.keys import SCOPES, create_key
from melanoma_ray.client import Client
from melanoma_ray.cluster.front import CERTIFICATE_HEADER
from melanoma_ray.errors import ServiceError
from melanoma_ray.retries import NO_RETRIES
from tests.checkpoints import build_checkpoint
from tests.cluster import free_ports
from tests.e2e.test_quick_service import find_listeners
from tests.unit.alerts.certificates import Authority

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="HAProxy comes with Ray on Linux")
HOST = "127.0.0.2"
"""Another address than the usual one, as an interface of a hospital's network is, but one that stays here."""
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("front")


@pytest.fixture(scope="module")
def authority(folder: Path) -> Authority:
    return Authority(folder)


@pytest.fixture(scope="module")
def caller(authority: Authority) -> str:
    """File of a caller's certificate and its key."""
    return authority.write_server_certificate("night-job")


@pytest.fixture(scope="module")
def key(folder: Path) -> str:
    return create_key(str(folder / "keys.json"), "ward 3", SCOPES, None)[0]


@pytest.fixture(scope="module")
def service(folder: Path, authority: Authority, caller: str, key: str) -> Iterator[tuple[int, psutil.Process]]:
    """The port of a service with keys, TLS and callers' certificates, and its process."""
    (port,) = free_ports(1)
    own = authority.write_server_certificate(HOST)
    command = [sys.executable, "-m", "jobs.deploy", "--checkpoint", build_checkpoint(str(folder / "checkpoint"))]
    command += ["--host", HOST, "--port", str(port), "--keys", str(folder / "keys.json")]
    command += ["--tls-certificate", own, "--tls-key", own, "--tls-client-ca", authority.file]
    process = subprocess.Popen(command, cwd=ROOT, start_new_session=True)
    try:
        with Client(f"https://{HOST}:{port}", key=key, ca_file=authority.file, certificate=(caller, caller)) as client:
            client.wait_until_ready(timeout_s=180)
        yield port, psutil.Process(process.pid)
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(120)


def draw() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (80, 90, 3), np.uint8)).save(buffer, format="PNG")
    return buffer.getvalue()


def test_a_caller_with_certificate_and_key_gets_answers(
    service: tuple[int, psutil.Process], authority: Authority, caller: str, key: str, folder: Path
) -> None:
    url = f"https://{HOST}:{service[0]}"
    with Client(url, key=key, ca_file=authority.file, certificate=(caller, caller)) as client:
        assert client.predict(draw()).decision in {"refer", "routine", "unassessable"}
    (folder / "image.png").write_bytes(draw())
    command = [sys.executable, "-m", "jobs.query", str(folder / "image.png"), "--url", url]
    command += ["--ca-file", authority.file, "--certificate", caller]
    environment = os.environ | {"MELANOMA_KEY": key}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_caller_without_a_certificate_of_the_authority_or_without_a_key_gets_none(
    service: tuple[int, psutil.Process], authority: Authority, caller: str, key: str, tmp_path: Path
) -> None:
    url = f"https://{HOST}:{service[0]}"
    stranger = Authority(tmp_path).write_server_certificate("night-job")
    for certificate in (None, (stranger, stranger)):
        shown = Client(url, key=key, ca_file=authority.file, certificate=certificate, retries=NO_RETRIES)
        with shown as client, pytest.raises(ServiceError):
            client.predict(draw())
    nobody = Client(url, ca_file=authority.file, certificate=(caller, caller))
    with nobody as client, pytest.raises(ServiceError, match="A key is needed"):
        client.predict(draw())


def test_without_keys_the_audit_log_names_a_caller_by_its_certificate(
    folder: Path, authority: Authority, caller: str, tmp_path: Path
) -> None:
    """And what the caller itself says about its certificate isn't heeded."""
    (port,) = free_ports(1)
    own = authority.write_server_certificate(HOST)
    command = [sys.executable, "-m", "jobs.deploy", "--checkpoint", build_checkpoint(str(tmp_path / "checkpoint"))]
    command += ["--host", HOST, "--port", str(port), "--audit-log", str(tmp_path / "log")]
    command += ["--tls-certificate", own, "--tls-key", own, "--tls-client-ca", authority.file]
    process = subprocess.Popen(command, cwd=ROOT, start_new_session=True)
    url, context = f"https://{HOST}:{port}", ssl.create_default_context(cafile=authority.file)
    context.load_cert_chain(caller)
    try:
        with Client(url, ca_file=authority.file, certificate=(caller, caller)) as client:
            client.wait_until_ready(timeout_s=180)
        headers = {CERTIFICATE_HEADER: "0" * 64}
        answer = httpx.post(f"{url}/v1/predict", content=draw(), headers=headers, verify=context, trust_env=False)
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(120)
    assert answer.status_code == 200, answer.text
    (certificate,) = x509.load_pem_x509_certificates(Path(caller).read_bytes())
    expected = f"certificate-{certificate.fingerprint(hashes.SHA256()).hex()[:12]}"
    assert answer.headers["x-melanoma-key"] == expected
    written = [json.loads(line) for path in (tmp_path / "log").rglob("*.jsonl") for line in path.open()]
    assert [record["caller_id"] for record in written if record.get("event") == "predict"] == [expected]


def test_nothing_but_tls_of_today_is_spoken(
    service: tuple[int, psutil.Process], authority: Authority, caller: str
) -> None:
    port, root = service
    with pytest.raises(httpx.TransportError):
        httpx.get(f"http://{HOST}:{port}/healthz", trust_env=False).raise_for_status()
    context = ssl.create_default_context(cafile=authority.file)
    context.load_cert_chain(caller)
    context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    with pytest.warns(DeprecationWarning, match="TLSv1_1 is deprecated"):
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("DEFAULT@SECLEVEL=0")
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"https://{HOST}:{port}/healthz", verify=context, trust_env=False)
    listeners = find_listeners(root)
    assert [place for name, *place in listeners if place[0] == HOST and name == "replica"] == []
    assert {address for _, address, _ in listeners} == {HOST, "127.0.0.1"}
    assert [address for _, address, number in listeners if number == port] == [HOST]


SMUGGLED = b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Request-Id: smuggled\r\n\r\n"


def test_what_a_refused_body_holds_is_no_request_of_anybody(
    service: tuple[int, psutil.Process], authority: Authority, caller: str, key: str
) -> None:
    """HAProxy mixes up callers who speak HTTP/2, so nobody may: not as TLS agrees on, and not unasked."""
    context = ssl.create_default_context(cafile=authority.file)
    context.load_cert_chain(caller)
    context.set_alpn_protocols(["h2", "http/1.1"])
    body = SMUGGLED * (2_000_000 // len(SMUGGLED))
    head = f"POST /v1/predict HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer bad\r\nContent-Length: {len(body)}\r\n\r\n"
    url = f"https://{HOST}:{service[0]}"
    with Client(url, key=key, ca_file=authority.file, certificate=(caller, caller)) as client:
        for _ in range(10):
            with exchange(context, service[0], head.encode() + body) as received:
                assert received.count(b"HTTP/1.1 ") == received.count(b"HTTP/1.1 401 ") == 1
                assert b"smuggled" not in received
            assert client.predict(draw()).request_id not in {None, "smuggled"}
    with exchange(context, service[0], b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(9)) as received:
        assert received.startswith((b"HTTP/1.1 4", b"HTTP/1.0 4")) or not received


@contextmanager
def exchange(context: ssl.SSLContext, port: int, sent: bytes) -> Iterator[bytes]:
    """Send bytes over TLS, and give what comes back until the connection ends, or is silent for a second."""
    received = bytearray()
    with (
        socket.create_connection((HOST, port)) as plain,
        context.wrap_socket(plain, server_hostname=HOST) as connection,
    ):
        assert connection.selected_alpn_protocol() == "http/1.1"
        connection.settimeout(60)
        with suppress(OSError):  # it may be closed before all was sent
            connection.sendall(sent)
        with suppress(OSError):
            while data := connection.recv(65536):
                received += data
                connection.settimeout(1)
        yield bytes(received)


@dataclass(frozen=True, slots=True)
class OpenService:
    """A service on the loopback, with keys."""

    url: str
    key: str
    key_file: Path
    seen: set[tuple[int, str]]
    """Status and content type of each answer of /readyz, from the first that came."""


@pytest.fixture(scope="module")
def open_service(folder: Path) -> Iterator[OpenService]:
    (port,), file = free_ports(1), folder / "other-keys.json"
    key, _ = create_key(str(file), "ward 4", SCOPES, None)
    command = [sys.executable, "-m", "jobs.deploy", "--checkpoint", build_checkpoint(str(folder / "other"))]
    process = subprocess.Popen([*command, "--port", str(port), "--keys", str(file)], cwd=ROOT, start_new_session=True)
    service = OpenService(f"http://127.0.0.1:{port}", key, file, set())
    deadline = time.monotonic() + 180
    try:
        while 200 not in {status for status, _ in service.seen}:
            assert time.monotonic() < deadline, service.seen
            with suppress(httpx.TransportError):
                answer = httpx.get(f"{service.url}/readyz", trust_env=False)
                service.seen.add((answer.status_code, answer.headers["content-type"]))
            time.sleep(0.05)
        yield service
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(120)


def test_a_service_that_starts_says_so(open_service: OpenService) -> None:
    assert open_service.seen <= {(503, "application/problem+json"), (200, "application/json")}
    assert httpx.head(f"{open_service.url}/readyz", trust_env=False).status_code == 200


def test_a_service_that_can_t_read_its_keys_asks_to_come_back(open_service: OpenService) -> None:
    good = open_service.key_file.read_bytes()
    with Client(open_service.url, key=open_service.key, retries=NO_RETRIES) as client:
        assert client.predict(draw()).decision
        open_service.key_file.write_text('{"gar')
        time.sleep(1.5)  # it looks twice a second
        with pytest.raises(ServiceError, match="the service can't read its keys now"):
            client.predict(draw())
        open_service.key_file.write_bytes(good)
        time.sleep(1.5)
        assert client.predict(draw()).decision


@pytest.mark.parametrize(
    ("query", "detail"),
    [
        ("agee=5", "'agee' is no parameter of /v1/predict: expected age, sex, site"),
        ("age=71&age=72", "age is given 2 times: give it once"),
        ("age=nan", "query.age='nan': Input should be less than or equal to 130"),
        ("sex=MALE", "query.sex='MALE': Input should be"),
    ],
)
def test_a_parameter_that_would_be_left_out_is_refused(open_service: OpenService, query: str, detail: str) -> None:
    headers = {"Authorization": f"Bearer {open_service.key}"}
    answer = httpx.post(f"{open_service.url}/v1/predict?{query}", content=draw(), headers=headers, trust_env=False)
    assert (answer.status_code, answer.json()["detail"][: len(detail)]) == (422, detail)


def test_two_keys_in_one_request_are_refused(open_service: OpenService) -> None:
    headers = [("Authorization", f"Bearer {open_service.key}"), ("Authorization", "Bearer other")]
    answer = httpx.post(f"{open_service.url}/v1/predict", content=draw(), headers=headers, trust_env=False)
    assert (answer.status_code, answer.json()["detail"]) == (401, "2 headers Authorization: send one")


def test_the_page_s_session_is_for_https_alone(
    service: tuple[int, psutil.Process], authority: Authority, caller: str, key: str
) -> None:
    context = ssl.create_default_context(cafile=authority.file)
    context.load_cert_chain(caller)
    answer = httpx.post(
        f"https://{HOST}:{service[0]}/login",
        headers={"Authorization": f"Bearer {key}"},
        verify=context,
        trust_env=False,
    )
    assert answer.status_code == 204
    cookie = answer.headers["set-cookie"].lower()
    assert "; secure" in cookie
    assert "; httponly" in cookie
    docs = httpx.get(f"https://{HOST}:{service[0]}/docs", verify=context, trust_env=False).text
    assert f"https://{HOST}:{service[0]}/v1" in docs
    assert "http://" not in docs
