"""``jobs.deploy`` without settings: HAProxy in front, on the loopback alone, and the predictor's answers."""

from __future__ import annotations

import io
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import psutil
import pytest
from PIL import Image

from melanoma_ray.client import Client
from melanoma_ray.inference.agreement import TOLERANCE
from melanoma_ray.inference.predictor import Predictor
from tests.checkpoints import build_checkpoint
from tests.cluster import free_ports

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="HAProxy comes with Ray on Linux")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> str:
    return build_checkpoint(str(tmp_path_factory.mktemp("checkpoint")))


@pytest.fixture(scope="module")
def service(checkpoint: str) -> Iterator[tuple[str, psutil.Process]]:
    (port,) = free_ports(1)
    command = [sys.executable, "-m", "jobs.deploy", "--checkpoint", checkpoint, "--port", str(port)]
    process = subprocess.Popen(command, cwd=Path(__file__).parents[2], start_new_session=True)
    url = f"http://127.0.0.1:{port}"
    try:
        with Client(url) as client:
            client.wait_until_ready(timeout_s=180)
        yield url, psutil.Process(process.pid)
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(120)


def draw(seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (80, 90, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    return buffer.getvalue()


def test_what_listens_for_haproxy_and_replicas_listens_on_the_loopback(service: tuple[str, psutil.Process]) -> None:
    _, root = service
    listening: dict[str, set[str]] = {}
    for process in root.children(recursive=True):
        is_proxy = process.name() == "haproxy"
        if not is_proxy and "ServeReplica" not in " ".join(process.cmdline()):
            continue
        ports = {one.laddr.ip for one in process.net_connections() if one.status == psutil.CONN_LISTEN and is_proxy}
        ports |= {
            one.laddr.ip
            for one in process.net_connections()
            if one.status == psutil.CONN_LISTEN and 30_000 <= one.laddr.port <= 31_000
        }
        listening["haproxy" if is_proxy else "replica"] = ports
    assert listening == {"haproxy": {"127.0.0.1"}, "replica": {"127.0.0.1"}}


def test_many_at_once_get_the_predictor_s_answers_and_learn_what_computed_them(
    service: tuple[str, psutil.Process], checkpoint: str
) -> None:
    url, _ = service
    images = [draw(seed) for seed in range(24)]
    with Client(url) as client, ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(client.predict, images))
        assert client.model().runtime == "OpenVINO fp32"
    predictor = Predictor.load(checkpoint, "cpu", runtime="reference")
    expected = predictor.predict(np.stack([predictor.decode(image) for image in images]))
    for answer, probability, decision in zip(answers, expected.probability, expected.decision, strict=True):
        np.testing.assert_allclose(list(answer.probabilities.values()), probability, atol=TOLERANCE)
        assert answer.decision == decision
        assert answer.runtime == "OpenVINO fp32"


def test_errors_are_problems_through_haproxy_too(service: tuple[str, psutil.Process]) -> None:
    url, _ = service
    refused = httpx.post(f"{url}/v1/predict", content=b"hello", trust_env=False)
    assert refused.status_code == 415
    assert refused.headers["content-type"] == "application/problem+json"
    assert httpx.get(f"{url}/v2", trust_env=False).status_code == 404
