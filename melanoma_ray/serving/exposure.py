"""Where the service listens, and what must be there before others can reach it: keys, and TLS."""

from __future__ import annotations

import ipaddress
import ssl
from dataclasses import dataclass

from melanoma_ray.errors import ConfigError
from melanoma_ray.storage import absolute


@dataclass(frozen=True, kw_only=True, slots=True)
class Tls:
    """A certificate for HTTPS."""

    certificate: str
    """File of the certificate chain, PEM."""
    key: str
    """File of its private key, PEM, without a password."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Address:
    """Where the service listens."""

    host: str = "127.0.0.1"
    """Address to listen on; 0.0.0.0 for every interface."""
    port: int = 8000
    """Port to listen on, in [1, 65535]."""
    tls: Tls | None = None
    """Certificate for HTTPS; none: HTTP."""


def read_tls(certificate: str | None, key: str | None) -> Tls | None:
    """Return the files of a certificate once they were read and found to belong together; none: there are none.

    Raises:
        ConfigError: One of them is missing, can't be read, or they don't belong together.
    """
    if certificate is None and key is None:
        return None
    if certificate is None or key is None:
        msg = f"tls_certificate={certificate!r}, tls_key={key!r}: give both files, or neither"
        raise ConfigError(msg)
    try:
        # With a password given, a file that needs one is an error; without, OpenSSL would ask for it at the terminal.
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(certificate, key, password="")
    except (OSError, ValueError) as error:
        msg = (
            f"TLS with {certificate} and {key}: can't be used ({error}); expected a PEM chain and its key, no password"
        )
        raise ConfigError(msg) from error
    return Tls(certificate=absolute(certificate), key=absolute(key))


def check_exposure(address: Address, *, has_keys: bool, is_open: bool) -> None:
    """Refuse to listen where others can reach the service while anybody could use it, or read what is sent.

    Args:
        address: Where it is to listen.
        has_keys: Whether callers must have a key.
        is_open: Whether whoever starts it says that what stands in front of it has both.

    Raises:
        ConfigError: The address isn't loopback, and keys or TLS are missing.
    """
    needed = {"--keys": has_keys, "--tls-certificate": address.tls is not None}
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
