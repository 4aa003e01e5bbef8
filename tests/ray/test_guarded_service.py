"""The service as others can reach it: keys and HTTPS, through Serve's own proxy."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from jobs import query
from melanoma_ray.access.keys import SCOPES, create_key, revoke_key
from melanoma_ray.client import Client
from melanoma_ray.cluster.front import Address
from melanoma_ray.errors import ServiceError
from melanoma_ray.inference.predictor import Predictor
from melanoma_ray.serving.exposure import read_tls
from melanoma_ray.serving.lifecycle import start_service, stop_service
from tests.checkpoints import build_checkpoint
from tests.ray.test_service import IMAGE, free_port
from tests.unit.serving.test_exposure import make_certificate


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("guarded")


@pytest.fixture(scope="module")
def keys(folder: Path) -> str:
    path = str(folder / "keys.json")
    create_key(path, "first", SCOPES, None)
    return path


@pytest.fixture(scope="module")
def url(local_ray: None, folder: Path, keys: str) -> Iterator[str]:
    checkpoint, port = build_checkpoint(str(folder / "checkpoint")), free_port()
    address = Address(port=port, tls=read_tls(*make_certificate(folder)))
    start_service(checkpoint, address=address, keys=keys)
    yield f"https://127.0.0.1:{port}"
    stop_service()


def test_who_has_a_key_is_answered_until_it_is_revoked(url: str, folder: Path, keys: str) -> None:
    text, key = create_key(keys, "clinic", ("predict",), None)
    time.sleep(1)  # the service looks at the file twice a second
    (folder / "lesion.png").write_bytes(IMAGE)
    expected = Predictor.load(str(folder / "checkpoint"), "cpu").predict_file(folder / "lesion.png")
    with Client(url, key=text, ca_file=folder / "service.crt") as client:
        answer = client.predict(IMAGE)
        assert (answer.decision, answer.diagnosis) == (expected.decision, expected.diagnosis)
        with pytest.raises(ServiceError, match="this needs explain"):
            client.explain(IMAGE)
        revoke_key(keys, key.key_id)
        time.sleep(1)
        with pytest.raises(ServiceError, match="was revoked"):
            client.predict(IMAGE)


def test_who_has_none_isn_t_and_health_is_open(url: str, folder: Path) -> None:
    with Client(url, ca_file=folder / "service.crt") as client:
        client.wait_until_ready(10)
        with pytest.raises(ServiceError, match="A key is needed"):
            client.predict(IMAGE)


def test_a_certificate_that_isn_t_trusted_gets_nothing(url: str) -> None:
    with Client(url, key="mray_secret") as client, pytest.raises(ServiceError, match="isn't trusted"):
        client.predict(IMAGE)


def test_there_is_no_way_around_https(url: str) -> None:
    with pytest.raises(httpx.TransportError):
        httpx.get(url.replace("https", "http") + "/healthz", trust_env=False)


def test_the_command_line_asks_with_a_key_of_a_file_or_of_the_environment(
    url: str, folder: Path, keys: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    text, _ = create_key(keys, "console", SCOPES, None)
    time.sleep(1)
    image, key_file = folder / "lesion.png", folder / "key.txt"
    image.write_bytes(IMAGE)
    key_file.write_text(text + "\n")
    monkeypatch.delenv("MELANOMA_KEY", raising=False)
    with pytest.raises(ServiceError, match="A key is needed"):
        query.main(query.QueryArguments(images=(image,), url=url, ca_file=folder / "service.crt"))
    query.main(query.QueryArguments(images=(image,), url=url, ca_file=folder / "service.crt", key_file=key_file))
    monkeypatch.setenv("MELANOMA_KEY", text)
    query.main(query.QueryArguments(images=(image,), url=url, ca_file=folder / "service.crt"))
    shown = capsys.readouterr().out.splitlines()
    assert len(shown) == 2
    assert shown[0] == shown[1]
    assert "lesion.png: " in shown[0]
