"""Where Serve already listens: an address is that one, or refused with what to give."""

from __future__ import annotations

import pytest
from ray.serve.config import HTTPOptions

from jobs.formatting import describe_service
from melanoma_ray.cluster.front import Address, Tls
from melanoma_ray.errors import ServiceError
from melanoma_ray.serving.lifecycle import check_same

TLS = Tls(certificate="/c.pem", key="/k.pem")
OPEN = HTTPOptions(host="0.0.0.0", port=8000)
SAFE = HTTPOptions(host="0.0.0.0", port=8000, ssl_certfile="/c.pem", ssl_keyfile="/k.pem")


@pytest.mark.parametrize(
    ("address", "own"),
    [
        (Address(), HTTPOptions(host="127.0.0.1", port=8000)),
        (Address(host="localhost"), HTTPOptions(host="127.0.0.1", port=8000)),
        (Address(), HTTPOptions(host="localhost", port=8000)),
        (Address(host="0.0.0.0"), OPEN),
        (Address(host="0.0.0.0", tls=TLS), SAFE),
    ],
)
def test_its_own_address_is_taken(address: Address, own: HTTPOptions) -> None:
    check_same(address, own)


@pytest.mark.parametrize(
    ("address", "own", "told"),
    [
        (Address(), OPEN, "stays at http://0.0.0.0:8000, not http://127.0.0.1:8000: give --host 0.0.0.0, or stop"),
        (Address(host="localhost"), OPEN, "give --host 0.0.0.0, or stop"),
        (Address(host="0.0.0.0", tls=TLS), OPEN, "not https://0.0.0.0:8000: give no --tls-certificate, or stop"),
        (Address(host="0.0.0.0"), SAFE, "give --tls-certificate /c.pem --tls-key /k.pem, or stop"),
        (Address(host="0.0.0.0", tls=Tls(certificate="/c.pem", key="/other")), SAFE, "give --tls-certificate /c.pem"),
        (Address(port=9000), OPEN, "give --port 8000, --host 0.0.0.0, or stop"),
        (Address(), HTTPOptions(host=None), "speaks no HTTP"),
    ],
)
def test_another_one_is_refused_in_one_line(address: Address, own: HTTPOptions, told: str) -> None:
    with pytest.raises(ServiceError) as raised:
        check_same(address, own)
    assert told in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        (Address(host="::1"), "http://[::1]:8000/"),
        (Address(host="::"), "http://[::1]:8000/"),
        (Address(host="0.0.0.0", tls=TLS), "https://127.0.0.1:8000/"),
        (Address(host="triage.example.org", port=443, tls=TLS), "https://triage.example.org:443/"),
    ],
)
def test_the_address_that_is_printed_is_one_that_a_browser_takes(address: Address, shown: str) -> None:
    assert f"page: {shown} " in describe_service(address)
