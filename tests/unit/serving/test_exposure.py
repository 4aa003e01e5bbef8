"""Where the service may listen, and with what."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from cryptography.x509.oid import NameOID

from melanoma_ray.client import Client
from melanoma_ray.cluster.front import Address, Tls
from melanoma_ray.errors import ConfigError, ServiceError
from melanoma_ray.serving.exposure import check_exposure, read_tls

HERE = ("127.0.0.1", "127.0.0.2", "::1", "localhost")
ELSEWHERE = ("0.0.0.0", "::", "192.168.1.5", "triage.example.org", "")


def make_certificate(folder: Path, name: str = "service") -> tuple[str, str]:
    """Make a certificate for localhost with openssl, and return its file and its key's."""
    certificate, key = str(folder / f"{name}.crt"), str(folder / f"{name}.key")
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", certificate]
    command += ["-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    subprocess.run(command, check=True, capture_output=True)
    return certificate, key


@pytest.mark.parametrize("host", HERE)
def test_loopback_needs_neither_keys_nor_tls(host: str) -> None:
    check_exposure(Address(host=host), has_keys=False, is_open=False)


@pytest.mark.parametrize("host", ELSEWHERE)
def test_elsewhere_both_are_needed_or_the_word_of_who_starts_it(host: str) -> None:
    tls = Tls(certificate="c", key="k")
    for has_keys, certificate, missing in (
        (False, None, "--keys and --tls-certificate"),
        (True, None, "--tls-certificate"),
        (False, tls, "--keys"),
    ):
        address = Address(host=host, tls=certificate)
        with pytest.raises(ConfigError, match=f"so give {missing};"):
            check_exposure(address, has_keys=has_keys, is_open=False)
        check_exposure(address, has_keys=has_keys, is_open=True)
    check_exposure(Address(host=host, tls=tls), has_keys=True, is_open=False)


def test_a_certificate_and_its_key_are_taken(tmp_path: Path) -> None:
    certificate, key = make_certificate(tmp_path)
    assert read_tls(certificate, key) == Tls(certificate=certificate, key=key)
    assert read_tls(None, None) is None


@pytest.mark.parametrize("begins", [datetime(2025, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)])
def test_a_certificate_that_nobody_trusts_now_is_refused(tmp_path: Path, begins: datetime) -> None:
    _, key = make_certificate(tmp_path)
    signer = load_pem_private_key(Path(key).read_bytes(), None)
    assert isinstance(signer, RSAPrivateKey)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    builder = x509.CertificateBuilder(name, name, signer.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(begins).not_valid_after(begins + timedelta(days=30))
    other = tmp_path / "other.crt"
    other.write_bytes(builder.sign(signer, SHA256()).public_bytes(Encoding.PEM))
    with pytest.raises(ConfigError, match=f"valid from {begins:%Y-%m-%d} 00:00 to .*, and not now: renew it"):
        read_tls(str(other), key)


def test_files_of_the_home_are_found_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    certificate, key = make_certificate(tmp_path)
    assert read_tls("~/service.crt", "~/service.key", "~/service.crt") == Tls(
        certificate=certificate, key=key, client_authority=certificate
    )
    with Client("https://127.0.0.1", ca_file="~/service.crt", certificate=("~/service.crt", "~/service.key")):
        pass  # it reads them when it is made
    with pytest.raises(ServiceError, match="can't be read as certificates"):
        Client("https://127.0.0.1", ca_file="~no-such-user-here/service.crt")


def test_a_certificate_of_each_caller_s_own_is_as_good_as_a_key(tmp_path: Path) -> None:
    certificate, key = make_certificate(tmp_path)
    tls = read_tls(certificate, key, certificate)
    assert tls == Tls(certificate=certificate, key=key, client_authority=certificate)
    check_exposure(Address(host="0.0.0.0", tls=tls), has_keys=False, is_open=False)
    for files in ((None, None, certificate), (certificate, key, key), (certificate, key, str(tmp_path / "none"))):
        with pytest.raises(ConfigError, match="tls_client_ca") as raised:
            read_tls(*files)
        assert "\n" not in str(raised.value)


def test_files_that_don_t_make_a_certificate_are_one_line(tmp_path: Path) -> None:
    certificate, key = make_certificate(tmp_path)
    _, other = make_certificate(tmp_path, "other")
    locked = str(tmp_path / "locked.key")
    subprocess.run(
        ["openssl", "rsa", "-aes256", "-passout", "pass:secret", "-in", key, "-out", locked],
        check=True,
        capture_output=True,
    )
    for pair in (
        (certificate, None),
        (None, key),
        (certificate, other),
        (str(tmp_path / "none"), key),
        (key, certificate),
        (certificate, locked),
    ):
        with pytest.raises(ConfigError) as raised:
            read_tls(*pair)
        assert "\n" not in str(raised.value)
