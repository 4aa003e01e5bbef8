"""A second model in one service: as a canary that answers a share, with replicas as they are needed; as a shadow."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from melanoma_ray.client import Client
from melanoma_ray.cluster.front import Address
from melanoma_ray.errors import CheckpointError
from melanoma_ray.inference.predictor import Predictor
from melanoma_ray.serving.arguments import ServiceArguments
from melanoma_ray.serving.lifecycle import run_service, stop_service
from melanoma_ray.serving.second import is_of_canary
from tests.checkpoints import break_weights, build_checkpoint
from tests.ray.test_service import encode_image, free_port
from tests.ray.test_watched_service import find_log_lines, find_replicas, read_metrics

IMAGES = [encode_image("PNG", 90 + number, 80) for number in range(24)]


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """One that refers everything, and one that refers nothing."""
    folder = tmp_path_factory.mktemp("checkpoints")
    return (
        build_checkpoint(str(folder / "first"), decision_threshold=0.0),
        build_checkpoint(str(folder / "second"), decision_threshold=1.0),
    )


@pytest.fixture(scope="module")
def address(local_ray: None) -> Iterator[Address]:
    yield Address(port=free_port())
    stop_service()


@pytest.fixture
def url(address: Address) -> str:
    return f"http://127.0.0.1:{address.port}"


def test_a_canary_answers_its_share_of_the_images_by_its_own_threshold(
    address: Address, url: str, checkpoints: tuple[str, str]
) -> None:
    first, second = checkpoints
    arguments = ServiceArguments(checkpoint=first, canary=second, canary_fraction=0.5, max_replicas=2)
    run_service(arguments, address)
    ids = Predictor.load(first, "cpu").checkpoint_id, Predictor.load(second, "cpu").checkpoint_id
    assert ids[0] != ids[1]
    with Client(url) as client:
        card = client.model()
        assert card.canary is not None
        assert (card.checkpoint_id, card.canary.checkpoint_id, card.canary_fraction) == (*ids, 0.5)
        assert (card.decision_threshold, card.canary.decision_threshold) == (0.0, 1.0)
        answered = {False: 0, True: 0}
        for image in IMAGES:
            is_second = is_of_canary(image, 0.5)
            answered[is_second] += 1
            answers = [client.predict(image) for _ in range(2)]
            assert {one.checkpoint_id for one in answers} == {ids[is_second]}
            assert {one.decision_threshold for one in answers} == {float(is_second)}
            assert {one.decision == "refer" for one in answers} == {not is_second}
        assert min(answered.values()) > 3
        for image in IMAGES[:6]:
            assert client.explain(image)


def test_replicas_come_when_requests_wait(url: str) -> None:
    """The service of the test before, which may have two."""
    assert len(find_replicas()) == 1
    is_done = threading.Event()

    def keep_asking() -> None:
        with Client(url) as client:
            while not is_done.is_set():
                client.predict(IMAGES[0])

    threads = [threading.Thread(target=keep_asking) for _ in range(10)]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + 120
    try:
        while len(find_replicas()) < 2:
            assert time.monotonic() < deadline
            time.sleep(0.5)
    finally:
        is_done.set()
        for thread in threads:
            thread.join()


def test_a_shadow_is_heard_of_in_log_and_metrics_alone(
    address: Address, url: str, checkpoints: tuple[str, str]
) -> None:
    first, second = checkpoints
    run_service(ServiceArguments(checkpoint=first, shadow=second), address)
    shadow_id = Predictor.load(second, "cpu").checkpoint_id
    for number, image in enumerate(IMAGES):
        answer = httpx.post(
            f"{url}/v1/predict", content=image, headers={"X-Request-Id": f"shadowed-{number}"}, trust_env=False
        )
        assert answer.json()["decision"] == "refer"
        assert shadow_id not in answer.text
    deadline = time.monotonic() + 60
    while True:
        found = [
            (labels["decision"], labels["shadow_decision"], value)
            for name, labels, value in read_metrics()
            if name == "ray_melanoma_shadow_decisions_total" and labels["shadow_checkpoint"] == shadow_id
        ]
        lines = [line for line in find_log_lines() if line["message"] == "the shadow decides otherwise"]
        differing = sum(value for told, own, value in found if own in ("routine", "unassessable"))
        if sum(value for *_, value in found) == len(IMAGES) and len(lines) == differing > 0:
            break
        assert time.monotonic() < deadline, (found, lines)
        time.sleep(2)
    assert {told for told, *_ in found} == {"refer"}
    assert {own for _, own, _ in found} <= {"routine", "unassessable", "skipped"}
    for line in lines:
        assert line["request_id"].startswith("shadowed-")
        assert line["told"]["decision"] == "refer"
        assert line["shadow"]["checkpoint_id"] == shadow_id
        assert line["shadow"]["melanoma_probability"] == pytest.approx(line["told"]["melanoma_probability"], abs=1e-6)


@pytest.mark.parametrize("role", ["canary", "shadow"])
def test_a_second_model_that_is_gone_later_takes_no_answer_with_it(
    address: Address, url: str, checkpoints: tuple[str, str], tmp_path: Path, role: str
) -> None:
    """A replica that starts anew finds only the first."""
    second = build_checkpoint(str(tmp_path / "second"), decision_threshold=1.0)
    run_service(ServiceArguments(checkpoint=checkpoints[0]).model_copy(update={role: second}), address)
    (tmp_path / "second" / "model.safetensors").unlink()
    (before,) = find_replicas()
    os.kill(before, signal.SIGKILL)
    with Client(url) as client:
        assert {client.predict(image).decision for image in IMAGES} == {"refer"}
        assert client.model().canary is None
    deadline = time.monotonic() + 60
    while not any(
        name == "ray_melanoma_second_model_lost_total" and labels["role"] == role for name, labels, _ in read_metrics()
    ):
        assert time.monotonic() < deadline
        time.sleep(1)


def test_a_second_model_without_answers_is_refused_and_the_service_goes_on(
    address: Address, url: str, checkpoints: tuple[str, str], tmp_path: Path
) -> None:
    broken = build_checkpoint(str(tmp_path / "broken"))
    break_weights(broken)
    alone = ServiceArguments(checkpoint=checkpoints[0])
    for name in ("canary", "shadow"):
        with pytest.raises(CheckpointError, match="no finite answer"):
            run_service(alone.model_copy(update={name: broken}), address)
    with Client(url) as client:
        assert client.predict(IMAGES[0]).decision == "refer"
