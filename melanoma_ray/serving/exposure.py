"""Where the service listens, and what must be there before others can reach it: keys, and TLS."""

from __future__ import annotations

import ipaddress
import ssl
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509

from melanoma_ray.cluster.front import Address, Tls, has_own_haproxy, serve_quickly
from melanoma_ray.errors import ConfigError
from melanoma_ray.storage import absolute


def read_tls(certificate: str | None, key: str | None, client_authority: str | None = None) -> Tls | None:
    """Return the files of a certificate once they were read and found to belong together; none: there are none.

    Args:
        certificate: File of the certificate chain, PEM.
        key: File of its private key, PEM.
        client_authority: File of the authorities of which callers must have a certificate, PEM; none: they need none.

    Raises:
        ConfigError: One of them is missing, can't be read, they don't belong together, or the certificate isn't valid
            now.
    """
    if certificate is None and key is None:
        if client_authority is not None:
            msg = f"tls_client_ca={client_authority!r}: callers show certificates by TLS alone; give --tls-certificate"
            raise ConfigError(msg)
        return None
    if certificate is None or key is None:
        msg = f"tls_certificate={certificate!r}, tls_key={key!r}: give both files, or neither"
        raise ConfigError(msg)
    certificate, key = absolute(certificate), absolute(key)
    try:
        # With a password given, a file that needs one is an error; without, OpenSSL would ask for it at the terminal.
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(certificate, key, password="")
    except (OSError, ValueError) as error:
        msg = (
            f"TLS with {certificate} and {key}: can't be used ({error}); expected a PEM chain and its key, no password"
        )
        raise ConfigError(msg) from error
    _check_time(certificate)
    if client_authority is not None:
        client_authority = absolute(client_authority)
        try:
            ssl.create_default_context(cafile=client_authority)
        except OSError as error:
            msg = f"tls_client_ca={client_authority!r}: can't be read as certificates ({error}); give a PEM file"
            raise ConfigError(msg) from error
    return Tls(certificate=certificate, key=key, client_authority=client_authority)


def _check_time(certificate: str) -> None:
    """Refuse a certificate of the service that no caller would trust at this time."""
    shown, now = x509.load_pem_x509_certificates(Path(certificate).read_bytes())[0], datetime.now(UTC)
    begins, ends = shown.not_valid_before_utc, shown.not_valid_after_utc
    if not begins <= now <= ends:
        msg = f"{certificate}: valid from {begins:%Y-%m-%d %H:%M} to {ends:%Y-%m-%d %H:%M} UTC, and not now: renew it"
        raise ConfigError(msg)


def check_exposure(address: Address, *, has_keys: bool, is_open: bool) -> None:
    """Refuse to listen where others can reach the service while anybody could use it, or read what is sent.

    Args:
        address: Where it is to listen.
        has_keys: Whether callers must have a key; a certificate of their own will do, too.
        is_open: Whether whoever starts it says that what stands in front of it has both.

    Raises:
        ConfigError: The address isn't loopback, and keys or TLS are missing.
    """
    has_certificates = address.tls is not None and address.tls.client_authority is not None
    needed = {"--keys": has_keys or has_certificates, "--tls-certificate": address.tls is not None}
    missing = [flag for flag, is_there in needed.items() if not is_there]
    if missing and not is_open and not is_loopback(address.host):
        msg = (
            f"host={address.host!r}: others can reach it, so give {' and '.join(missing)}; or --open-to-network, if "
            "what stands in front of it asks for a login and speaks TLS; or 127.0.0.1"
        )
        raise ConfigError(msg)


def is_loopback(host: str) -> bool:
    """Return whether an address is reached from its own machine alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


_WHERE_REPLICAS_ARE = frozenset({"127.0.0.1", "localhost"})
"""Addresses at which Ray's HAProxy looks for the replicas of its own machine."""


def put_in_front(address: Address) -> Address:
    """Have HAProxy listen where the service is to be reached, and return where Serve listens behind it.

    Call this before ``ray.init`` on this machine. Where HAProxy isn't here, or the user has set up one, Serve itself
    listens, and nothing but the quicker switches is set, or not even those, since Ray's own HAProxy speaks no TLS.

    Args:
        address: Where the service is to be reached.
    """
    if address.tls is None and address.host in _WHERE_REPLICAS_ARE:
        serve_quickly()
        return address
    if not has_own_haproxy():
        return address
    serve_quickly(address)
    return Address(port=address.port)
