"""The service as it is deployed: a real Serve, a real replica, a real checkpoint with random weights."""

from __future__ import annotations

import asyncio
import base64
import http.client
import io
import os
import re
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pandas as pd
import pytest
import ray
from PIL import Image
from ray import serve
from ray.util.state import list_actors

from melanoma_ray.api import Prediction
from melanoma_ray.client import AsyncClient, Client
from melanoma_ray.cluster.front import Address, Tls
from melanoma_ray.errors import CheckpointError, ServiceError
from melanoma_ray.inference.predictor import Predictor
from melanoma_ray.patients import encode_metadata
from melanoma_ray.retries import NO_RETRIES
from melanoma_ray.serving.lifecycle import roll_back, start_service, stop_service
from tests.checkpoints import break_weights, build_checkpoint
from tests.unit.imaging.dicom_files import NAME, wrap_jpeg, write_header_only

SIDE = 64
ROOT = Path(__file__).parents[2]
PROBLEM_JSON = "application/problem+json"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def encode_image(kind: str = "PNG", width: int = 90, height: int = 70) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format=kind)
    return buffer.getvalue()


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size and has no pixels."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    return b"\x89PNG\r\n\x1a\n" + chunks + bytes(4) + b"IDAT" + struct.pack(">I", zlib.crc32(b"IDAT"))


IMAGE = encode_image()


@pytest.fixture(scope="module")
def cluster(local_ray: None) -> Iterator[None]:
    yield
    stop_service()


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> str:
    return build_checkpoint(str(tmp_path_factory.mktemp("checkpoint")), side=SIDE, uses_metadata=True)


def test_a_missing_checkpoint_is_told_before_anything_starts(cluster: None, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="not found"):
        start_service(str(tmp_path / "none"), address=Address(port=free_port()))
    assert not serve.status().proxies


def test_damaged_weights_are_told_before_anything_starts(cluster: None, tmp_path: Path) -> None:
    damaged = build_checkpoint(str(tmp_path / "damaged"), side=SIDE)
    weights = tmp_path / "damaged" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    with pytest.raises(CheckpointError):
        start_service(damaged, address=Address(port=free_port()))
    assert not serve.status().proxies


def test_a_port_in_use_is_told_before_anything_starts(cluster: None, checkpoint: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ServiceError, match=f"^port {port} on 127.0.0.1 is in use: choose another with --port$"):
            start_service(checkpoint, address=Address(port=port))
    assert not serve.status().proxies


@pytest.mark.parametrize(("host", "port"), [("127.0.0.1", 0), ("127.0.0.1", 65536), ("203.0.113.1", 8000)])
def test_a_port_that_nobody_could_have_is_refused(cluster: None, checkpoint: str, host: str, port: int) -> None:
    with pytest.raises(ServiceError, match=f"port {port}"):
        start_service(checkpoint, address=Address(host=host, port=port))


@pytest.fixture(scope="module")
def url(cluster: None, checkpoint: str) -> str:
    port = free_port()
    start_service(checkpoint, address=Address(port=port))
    return f"http://127.0.0.1:{port}"


@pytest.fixture
def client(url: str) -> Iterator[Client]:
    with Client(url) as found:
        yield found


@pytest.fixture
def raw(url: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=url, trust_env=False, timeout=60) as found:
        yield found


def test_the_answer_is_the_predictors(client: Client, checkpoint: str) -> None:
    predictor = Predictor.load(checkpoint)
    expected = predictor.predict(predictor.decode(IMAGE)[None])
    answer = client.predict(IMAGE)
    assert list(answer.probabilities) == list(predictor.manifest.diagnoses)
    np.testing.assert_allclose(list(answer.probabilities.values()), expected.probability[0], atol=1e-6)
    assert answer.melanoma_probability == answer.probabilities["melanoma"]
    assert answer.decision == expected.decision[0]
    assert answer.decision_threshold == predictor.manifest.calibration.decision_threshold
    assert answer.checkpoint_id == predictor.checkpoint_id
    assert answer.is_synthetic
    assert "not a medical device" in answer.notice


def test_age_sex_and_site_have_a_say_where_they_are_given(client: Client, raw: httpx.Client, checkpoint: str) -> None:
    predictor = Predictor.load(checkpoint)
    patient = encode_metadata(pd.DataFrame([{"age": 71.0, "sex": "male", "site": "torso"}]))
    expected = predictor.predict(predictor.decode(IMAGE)[None], patient)
    answer = client.predict(IMAGE, age=71, sex="male", site="torso")
    np.testing.assert_allclose(list(answer.probabilities.values()), expected.probability[0], atol=1e-6)
    assert answer.melanoma_probability != client.predict(IMAGE).melanoma_probability
    assert client.model().uses_metadata
    refused = raw.post("/v1/predict", content=IMAGE, params={"site": "elbow"})
    assert refused.status_code == 422
    assert refused.headers["content-type"] == PROBLEM_JSON
    assert "site" in refused.json()["detail"]


def test_a_dicom_body_has_the_answer_of_its_jpeg_and_a_warning_where_text_is_burnt_in(client: Client) -> None:
    encoded = encode_image("JPEG")
    expected = client.predict(encoded)
    for flag, further in (("NO", []), ("YES", ["burnt-in text"])):
        answer = client.predict(wrap_jpeg(encoded, BurnedInAnnotation=flag))
        np.testing.assert_allclose(
            list(answer.probabilities.values()), list(expected.probabilities.values()), atol=1e-6
        )
        assert answer.warnings == [*expected.warnings, *further]


def test_a_dicom_body_without_an_image_is_a_problem_that_names_nobody(raw: httpx.Client) -> None:
    refused = raw.post("/v1/predict", content=write_header_only())
    assert refused.status_code == raw.post("/v1/predict", content=b"text").status_code
    assert refused.json()["type"].endswith(":not-an-image")
    assert NAME.split("^")[0] not in refused.text


def test_many_at_once_each_get_their_own_answer(client: Client) -> None:
    images = [encode_image("JPEG", 80 + 5 * i, 80) for i in range(12)]
    alone = [client.predict(image).melanoma_probability for image in images]
    with ThreadPoolExecutor(len(images)) as pool:
        together = [answer.melanoma_probability for answer in pool.map(client.predict, images)]
    assert len(set(alone)) == len(images)
    np.testing.assert_allclose(np.array(together, float), np.array(alone, float), atol=1e-5)


def find_replica() -> int:
    own = ray.get_runtime_context().gcs_address  # another Ray on this machine has replicas, too
    alive = list_actors(own, filters=[("state", "=", "ALIVE")])
    (pid,) = [actor.pid for actor in alive if "Replica" in actor.class_name]
    return int(pid)


def test_a_replica_that_is_killed_costs_our_clients_no_answer(url: str, client: Client) -> None:
    expected, pid = client.predict(IMAGE), find_replica()

    async def ask() -> list[Prediction]:
        async with AsyncClient(url) as asking:
            first = await asyncio.gather(*(asking.predict(IMAGE) for _ in range(8)))
            running = [asyncio.create_task(asking.predict(IMAGE)) for _ in range(8)]
            await asyncio.sleep(0)  # they are sent
            os.kill(pid, signal.SIGKILL)
            return first + list(await asyncio.gather(*running))

    answers = asyncio.run(ask())
    assert len(answers) == 16
    assert {answer.decision for answer in answers} == {expected.decision}
    assert client.predict(IMAGE).probabilities.keys() == expected.probabilities.keys()


def test_a_form_gets_the_same_answer_and_its_files_name(raw: httpx.Client) -> None:
    from_body = raw.post("/v1/predict", content=IMAGE).json()
    from_form = raw.post("/v1/predict", files={"image": ("C:\\scans\\ISIC_1.a.png", IMAGE)}).json()
    assert from_body["image_id"] is None
    assert from_form.pop("image_id") == "ISIC_1.a"
    assert from_form.pop("request_id") != from_body.pop("request_id")
    assert from_form == {name: value for name, value in from_body.items() if name != "image_id"}


def test_an_answer_names_its_request_its_operating_point_and_how_unlike_the_image_is(
    raw: httpx.Client, checkpoint: str
) -> None:
    predictor = Predictor.load(checkpoint)
    response = raw.post("/v1/predict", content=IMAGE, headers={"X-Request-Id": "ward-3.17"})
    answer = response.json()
    assert answer["request_id"] == response.headers["x-request-id"] == "ward-3.17"
    assert answer["target_sensitivity"] == predictor.manifest.experiment.decision.target_sensitivity
    (expected,) = predictor.predict(predictor.decode(IMAGE)[None]).assess(predictor.manifest.diagnoses)
    assert answer["out_of_distribution_score"] == pytest.approx(expected.out_of_distribution_score, abs=1e-5)


def test_a_batch_has_the_answers_of_its_images_one_by_one(raw: httpx.Client, client: Client) -> None:
    images = [encode_image("JPEG", 80 + 5 * i, 80) for i in range(6)]
    files = [("image", (f"{number}.jpg", image)) for number, image in enumerate([*images, b"hello"])]
    response = raw.post("/v1/predict/batch", files=files)
    assert response.status_code == 200
    *good, bad = response.json()["items"]
    alone = [client.predict(image).melanoma_probability for image in images]
    together = [item["prediction"]["melanoma_probability"] for item in good]
    np.testing.assert_allclose(np.array(together, float), np.array(alone, float), atol=1e-5)
    assert [item["image_id"] for item in good] == [str(number) for number in range(6)]
    assert bad["prediction"] is None
    assert bad["problem"]["type"] == "urn:melanoma-ray:problem:not-an-image"


def test_an_explanation_as_json_has_pictures_that_make_the_same_picture(raw: httpx.Client, client: Client) -> None:
    answer = raw.post("/v1/explain", content=IMAGE, headers={"Accept": "application/json"}).json()
    pictures = {name: open_base64(answer[name]) for name in ("crop", "overlay", "heat_map")}
    assert {name: picture.mode for name, picture in pictures.items()} == {
        "crop": "RGB",
        "overlay": "RGBA",
        "heat_map": "L",
    }
    assert {picture.size for picture in pictures.values()} == {(SIDE, SIDE)}
    assert np.ptp(np.asarray(pictures["heat_map"], int)) > 100
    laid_over = Image.alpha_composite(pictures["crop"].convert("RGBA"), pictures["overlay"]).convert("RGB")
    with Image.open(io.BytesIO(client.explain(IMAGE))) as whole:
        difference = np.abs(np.asarray(whole, int) - np.asarray(laid_over, int))
    assert difference.max() <= 2
    assert answer["prediction"]["melanoma_probability"] == pytest.approx(client.predict(IMAGE).melanoma_probability)


def open_base64(text: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(text)))


BAD_REQUESTS: dict[str, tuple[dict[str, Any], str, int]] = {
    "no image": ({"content": b""}, "empty", 400),
    "text": ({"content": b"hello"}, "not-an-image", 415),
    "a cut image": ({"content": encode_image("JPEG", 400, 400)[:3000]}, "truncated", 422),
    "a tiny image": ({"content": encode_image(width=3, height=3)}, "too-few-pixels", 422),
    "a huge image": ({"content": png_header(20_000, 20_000)}, "too-many-pixels", 413),
    "a bomb": ({"content": png_header(2**30, 2**30)}, "too-many-pixels", 413),
    "another field": ({"files": {"photo": IMAGE}}, "wrong-field", 422),
    "text in the field": ({"files": {"image": (None, "hello")}}, "wrong-field", 422),
    "two files": ({"files": [("image", IMAGE), ("image", IMAGE)]}, "unreadable-form", 400),
    "no form": ({"content": b"x", "headers": {"Content-Type": "multipart/form-data"}}, "unreadable-form", 400),
    "too large": ({"content": bytes(34_000_000)}, "too-many-bytes", 413),
    "too large a form": ({"files": {"image": bytes(34_000_000)}}, "too-many-bytes", 413),
}


@pytest.mark.parametrize("path", ["/v1/predict", "/v1/explain"])
@pytest.mark.parametrize("name", BAD_REQUESTS)
def test_a_bad_request_is_a_problem_and_no_error_of_ours(raw: httpx.Client, path: str, name: str) -> None:
    request, slug, status = BAD_REQUESTS[name]
    response = raw.post(path, **request)
    assert response.status_code == status
    assert response.headers["content-type"] == PROBLEM_JSON
    problem = response.json()
    assert problem["type"] == f"urn:melanoma-ray:problem:{slug}"
    assert problem["status"] == status
    assert problem["title"]
    assert problem["detail"]
    assert problem["instance"] == path


def test_a_body_that_says_it_is_too_large_is_refused_unread(url: str) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", int(url.rsplit(":", 1)[1]), timeout=30)
    connection.putrequest("POST", "/v1/predict")
    connection.putheader("Content-Length", str(10**12))
    connection.endheaders()
    assert connection.getresponse().status == 413
    connection.close()


def test_a_body_that_does_not_say_its_size_is_refused_when_it_is_too_large(raw: httpx.Client) -> None:
    response = raw.post("/v1/predict", content=(bytes(1_000_000) for _ in range(34)))
    assert response.status_code == 413
    assert response.json()["type"].endswith(":too-many-bytes")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/v1/predict", 405), ("DELETE", "/v1/model", 405), ("GET", "/v2", 404), ("GET", "/../etc/passwd", 404)],
)
def test_an_unknown_path_or_method_is_a_problem(raw: httpx.Client, method: str, path: str, status: int) -> None:
    response = raw.request(method, path)
    assert response.status_code == status
    assert response.headers["content-type"] == PROBLEM_JSON
    assert ("allow" in response.headers) == (status == 405)


@pytest.mark.parametrize("diagnosis", [None, "melanoma", "BCC"])
def test_an_explanation_is_a_picture_of_the_stored_crop(client: Client, diagnosis: str | None) -> None:
    with Image.open(io.BytesIO(client.explain(IMAGE, diagnosis))) as picture:
        assert picture.format == "PNG"
        assert picture.size == (SIDE, SIDE)


def test_an_unknown_diagnosis_is_refused_with_the_known_ones(client: Client) -> None:
    with pytest.raises(ServiceError, match=r"plague.*melanoma"):
        client.explain(IMAGE, "plague")


def test_the_model_card_is_the_manifest(client: Client, checkpoint: str) -> None:
    predictor = Predictor.load(checkpoint)
    card = client.model()
    assert card.checkpoint_id == predictor.checkpoint_id
    assert tuple(card.diagnoses) == predictor.manifest.diagnoses
    assert card.temperature == predictor.manifest.calibration.temperature
    assert card.image_side_px == SIDE
    assert card.versions["ray"] == ray.__version__


def test_health_and_readiness_answer(raw: httpx.Client, client: Client) -> None:
    assert raw.get("/healthz").json() == {"status": "ok"}
    client.wait_until_ready(timeout_s=5)


def test_the_description_names_both_kinds_of_body_and_the_problems(raw: httpx.Client) -> None:
    described = raw.get("/openapi.json").json()
    assert set(described["paths"]["/v1/predict/batch"]["post"]["requestBody"]["content"]) == {"multipart/form-data"}
    assert "overlay" in described["components"]["schemas"]["Explanation"]["properties"]
    for path in ("/v1/predict", "/v1/explain"):
        operation = described["paths"][path]["post"]
        kinds = set(operation["requestBody"]["content"])
        assert kinds == {"image/*", "application/octet-stream", "multipart/form-data"}
        assert PROBLEM_JSON in operation["responses"]["415"]["content"]
    assert "detail" in described["components"]["schemas"]["Problem"]["properties"]


@pytest.mark.parametrize("path", ["/", "/docs", "/assets/page.css", "/assets/page.js", "/v1/model", "/nowhere"])
def test_every_answer_confines_the_page_to_this_service(raw: httpx.Client, path: str) -> None:
    response = raw.get(path)
    policy = response.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert response.headers["x-content-type-options"] == "nosniff"
    assert "https://" not in response.text


def test_overload_is_told_at_once_and_passes(url: str, client: Client) -> None:
    """Stalled uploads take every place, 16 in the replica and 16 in the queue; the next one is refused.

    A request of the test before may still hold a place or two when the first ones come.
    """
    address = ("127.0.0.1", int(url.rsplit(":", 1)[1]))
    stalled: list[socket.socket] = []
    answered: list[socket.socket] = []
    try:
        while not answered and len(stalled) < 200:
            stalled.append(socket.create_connection(address))
            stalled[-1].sendall(b"POST /v1/predict HTTP/1.1\r\nHost: test\r\nContent-Length: 1000\r\n\r\nabc")
            answered, _, _ = select.select(stalled, [], [], 0.0 if len(stalled) < 32 else 0.5)
        assert len(stalled) >= 30
        refused = [connection.recv(4096) for connection in answered]
        assert refused
        assert all(answer.startswith(b"HTTP/1.1 429") for answer in refused)
        assert all(b"retry-after: 1\r\n" in answer.lower() for answer in refused)
    finally:
        for connection in stalled:
            connection.close()
    client.wait_until_ready(timeout_s=20)
    assert client.predict(IMAGE).probabilities


def test_another_address_than_that_of_the_serve_that_runs_is_refused(url: str, client: Client, tmp_path: Path) -> None:
    """Serve would keep its own without a word, and what was found of keys and TLS would be of an address that isn't."""
    before, port = client.model().checkpoint_id, int(url.rsplit(":", 1)[1])
    other = build_checkpoint(str(tmp_path / "other"), side=SIDE + 32)
    tls = Tls(certificate="/c.pem", key="/k.pem")
    for address, flags in (
        (Address(port=free_port()), f"--port {port}"),
        (Address(host="127.0.0.2", port=port), "--host 127.0.0.1"),
        (Address(port=port, tls=tls), "no --tls-certificate"),
        (Address(host="0.0.0.0", port=port, tls=tls), "--host 127.0.0.1, no --tls-certificate"),
    ):
        with pytest.raises(ServiceError, match=rf"stays at {url}, not {re.escape(address.url)}: give {flags}, or stop"):
            start_service(other, address=address)
    assert client.model().checkpoint_id == before


@contextmanager
def constant_load(url: str) -> Iterator[list[str]]:
    """Requests one after the other from three clients; yields what failed."""
    is_done, failures = threading.Event(), list[str]()

    def keep_asking() -> None:
        with Client(url, retries=NO_RETRIES) as asking:
            while not is_done.is_set():
                try:
                    asking.predict(IMAGE)
                except ServiceError as error:
                    failures.append(str(error))

    threads = [threading.Thread(target=keep_asking) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        yield failures
    finally:
        is_done.set()
        for thread in threads:
            thread.join()


def test_a_new_checkpoint_takes_over_without_a_gap_and_so_does_the_one_before(
    url: str, client: Client, tmp_path: Path
) -> None:
    before, address = client.model().checkpoint_id, Address(port=int(url.rsplit(":", 1)[1]))
    with pytest.raises(ServiceError, match="nothing to go back to"):
        roll_back()
    other = build_checkpoint(str(tmp_path / "other"), side=SIDE + 32)
    with constant_load(url) as failures:
        start_service(other, address=address)
        assert client.model().checkpoint_id == Predictor.load(other).checkpoint_id != before
        roll_back()
        assert client.model().checkpoint_id == before
        roll_back()
        assert client.model().checkpoint_id == Predictor.load(other).checkpoint_id
    assert failures == []


def test_a_rollback_mends_a_service_whose_checkpoint_is_gone(url: str, client: Client, tmp_path: Path) -> None:
    """No replica is up then, so none can be asked what was served before."""
    before, address = client.model().checkpoint_id, Address(port=int(url.rsplit(":", 1)[1]))
    gone = build_checkpoint(str(tmp_path / "gone"), side=SIDE)
    start_service(gone, address=address)
    assert client.model().checkpoint_id != before
    shutil.rmtree(gone)
    os.kill(find_replica(), signal.SIGKILL)
    with pytest.raises(CheckpointError, match="go back by --rollback, or stop the service by --stop"):
        start_service(build_checkpoint(str(tmp_path / "other"), side=SIDE), address=address)
    roll_back()
    assert client.model().checkpoint_id == before
    assert client.predict(IMAGE).checkpoint_id == before
    with pytest.raises(CheckpointError, match="served before can't be served again, so nothing was changed"):
        roll_back()
    assert client.predict(IMAGE).checkpoint_id == before


def test_two_jobs_don_t_change_at_the_same_time_what_is_served(
    url: str, client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second would take for what it replaces what the first is replacing."""
    before, address = client.model().checkpoint_id, Address(port=int(url.rsplit(":", 1)[1]))
    other = build_checkpoint(str(tmp_path / "other"), side=SIDE)
    where = ray.get_runtime_context().gcs_address
    monkeypatch.setenv("RAY_ADDRESS", where)  # as on a cluster, which other jobs may have, too
    first = subprocess.Popen([sys.executable, "-c", _HOLD], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert first.stdout is not None
    assert first.stdout.readline() == "has its turn\n"
    for change in (partial(start_service, other, address=address), roll_back):
        with pytest.raises(ServiceError, match="another job is changing what this cluster serves"):
            change()
    assert client.model().checkpoint_id == before
    first.kill()  # whatever ends a job, its turn ends with it
    first.communicate()
    deadline = time.monotonic() + 30
    while True:
        try:
            start_service(other, address=address)
            break
        except ServiceError:
            assert time.monotonic() < deadline
            time.sleep(0.2)
    assert client.model().checkpoint_id == Predictor.load(other).checkpoint_id


_HOLD = """
import time
import ray
from melanoma_ray.serving.rollout import take_turn
ray.init(log_to_driver=False, logging_level="error")
with take_turn():
    print("has its turn", flush=True)
    time.sleep(600)
"""


def test_a_checkpoint_that_can_t_be_served_is_refused_while_the_old_one_goes_on(
    url: str, client: Client, tmp_path: Path
) -> None:
    before, address = client.model().checkpoint_id, Address(port=int(url.rsplit(":", 1)[1]))
    damaged, broken = (build_checkpoint(str(tmp_path / name), side=SIDE) for name in ("damaged", "broken"))
    weights = tmp_path / "damaged" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    break_weights(broken)
    with constant_load(url) as failures:
        for checkpoint, told in ((damaged, "corrupted"), (broken, "no finite answer for 8 of 8 drawn lesions")):
            with pytest.raises(CheckpointError, match=told):
                start_service(checkpoint, address=address)
    assert failures == []
    assert client.model().checkpoint_id == before
