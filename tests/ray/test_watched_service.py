"""Two replicas with keys, tokens, limits and an audit log, through Serve's proxy: limits hold for both together."""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import ray
import yaml

from melanoma_ray.access.audit_log import read_records, verify
from melanoma_ray.access.keys import SCOPES, create_key
from melanoma_ray.access.limits import Limits
from melanoma_ray.cluster.front import Address
from melanoma_ray.serving.arguments import ServiceArguments
from melanoma_ray.serving.lifecycle import run_service, stop_service
from melanoma_ray.serving.metrics import COUNTERS, GAUGES, HISTOGRAMS
from tests.checkpoints import build_checkpoint
from tests.ray.test_service import encode_image, free_port
from tests.unit.access.test_tokens import AUDIENCE, Issuer

IMAGE = encode_image("JPEG", 200, 150)
ROOT = Path(__file__).parents[2]
DRIFT_METRICS = {"melanoma_drift_psi", "melanoma_drift_p_value", "melanoma_drift_checked_seconds"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("watched")


@pytest.fixture(scope="module")
def issuer() -> Iterator[Issuer]:
    opened = Issuer()
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def keys(folder: Path) -> dict[str, str]:
    """Keys by what they are limited to."""
    limits = {
        "nothing": Limits(),
        "rate": Limits(requests_per_minute=120),
        "places": Limits(max_concurrent=2),
    }
    return {name: create_key(str(folder / "keys.json"), name, SCOPES, None, own)[0] for name, own in limits.items()}


@pytest.fixture(scope="module")
def others(local_ray: None) -> set[str]:
    """Replicas of earlier services, of which the node may still tell."""
    try:
        return {labels["replica"] for _, labels, _ in read_metrics()}
    except httpx.TransportError:  # the node tells nothing yet
        return set()


@pytest.fixture(scope="module")
def url(local_ray: None, others: set[str], folder: Path, keys: dict[str, str], issuer: Issuer) -> Iterator[str]:
    port = free_port()
    (folder / "oidc.toml").write_text(f'issuer = "{issuer.url}"\naudience = "{AUDIENCE}"\n')
    arguments = ServiceArguments(
        checkpoint=build_checkpoint(str(folder / "checkpoint")),
        shadow=build_checkpoint(str(folder / "shadow"), temperature=1.0),
        num_replicas=2,
        keys=str(folder / "keys.json"),
        oidc=str(folder / "oidc.toml"),
        audit_log=str(folder / "log"),
        log_requests=True,
    )
    run_service(arguments, Address(port=port))
    yield f"http://127.0.0.1:{port}"
    stop_service()


def post(url: str, key: str, path: str = "/v1/predict", **headers: str) -> httpx.Response:
    shown = {"Authorization": f"Bearer {key}", **headers}
    return httpx.post(url + path, content=IMAGE, headers=shown, trust_env=False, timeout=60)


def read_own(name: str, others: set[str], **wanted: str) -> list[float]:
    """Values of one of this service's metrics, of each replica and of all other labels."""
    return [
        value
        for found, labels, value in read_metrics()
        if found == f"ray_{name}" and labels["replica"] not in others and wanted.items() <= labels.items()
    ]


def wait_until(is_so: Callable[[], bool], timeout_s: float = 90) -> None:
    deadline = time.monotonic() + timeout_s
    while not is_so():
        assert time.monotonic() < deadline, read_metrics()
        time.sleep(1)


def test_a_service_that_nobody_has_asked_yet_is_measured(url: str, others: set[str]) -> None:
    """Or Prometheus would take it for one that is gone (deploy/alerts.yaml)."""
    wait_until(lambda: read_own("melanoma_waiting_images", others) == [0.0, 0.0])


def test_an_explanation_with_its_prediction_is_told_as_one_and_counts_as_no_decision(
    url: str, others: set[str], folder: Path, keys: dict[str, str]
) -> None:
    told = post(url, keys["nothing"]).json()
    explained = [post(url, keys["nothing"], "/v1/explain", Accept="application/json").json() for _ in range(3)]
    *_, predicted, first, second, third = read_records(str(folder / "log"))
    assert [one["event"] for one in (predicted, first, second, third)] == ["predict", *["explain"] * 3]
    for record, answer in zip((first, second, third), explained, strict=True):
        assert record["request_id"] == answer["prediction"]["request_id"]
        assert record["probabilities"] == answer["prediction"]["probabilities"]
        assert record["decision"] == answer["prediction"]["decision"] == told["decision"]
    wait_until(lambda: sum(read_own("melanoma_requests_total", others, operation="/v1/explain")) == 3)
    wait_until(lambda: sum(read_own("melanoma_requests_total", others, operation="/v1/predict")) == 1)
    time.sleep(16)  # a replica tells of everything in five seconds, and Ray passes it on in ten
    assert sum(read_own("melanoma_decisions_total", others)) == 1
    assert sum(read_own("melanoma_score_bucket_total", others, le="+Inf")) == 1


def test_the_rate_of_a_key_holds_for_both_replicas_together(url: str, keys: dict[str, str]) -> None:
    post(url, keys["nothing"])
    began_at = time.monotonic()
    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda _: post(url, keys["rate"]), range(60)))
    took_s = time.monotonic() - began_at
    statuses = Counter(answer.status_code for answer in answers)
    assert set(statuses) == {200, 429}
    assert 15 <= statuses[200] <= 20 + 2 * took_s + 1
    refused = next(answer for answer in answers if answer.status_code == 429)
    assert refused.headers["content-type"] == "application/problem+json"
    assert int(refused.headers["retry-after"]) >= 1
    assert post(url, keys["nothing"]).status_code == 200


def test_a_key_s_requests_at_a_time_are_counted_over_both_replicas(url: str, keys: dict[str, str]) -> None:
    """Ten who send a body slowly at once: two are answered, the others are refused before they have sent theirs."""

    def slowly() -> Iterator[bytes]:
        yield IMAGE[:100]
        time.sleep(3)
        yield IMAGE[100:]

    def ask(_: int) -> int:
        headers = {"Authorization": f"Bearer {keys['places']}"}
        try:
            return httpx.post(f"{url}/v1/predict", content=slowly(), headers=headers, trust_env=False).status_code
        except httpx.TransportError:  # it was told 429 while it still sent
            return 429

    with ThreadPoolExecutor(10) as pool:
        statuses = Counter(pool.map(ask, range(10)))
    assert statuses == {200: 2, 429: 8}


def test_a_token_is_taken_and_a_replayed_one_for_another_service_isn_t(url: str, issuer: Issuer) -> None:
    assert post(url, issuer.sign()).status_code == 200
    assert post(url, issuer.sign("two")).status_code == 200
    assert post(url, issuer.sign(aud="billing")).status_code == 401
    assert post(url, issuer.sign(exp=int(time.time()) - 100)).status_code == 401
    assert post(url, issuer.sign(), path="/v1/explain").status_code == 403


def test_every_answer_of_both_replicas_is_in_one_unbroken_log(
    url: str, folder: Path, keys: dict[str, str], issuer: Issuer
) -> None:
    before = verify(str(folder / "log")).last
    answers = [post(url, keys["nothing"], **{"X-Request-Id": f"night-{i}"}) for i in range(8)]
    post(url, keys["nothing"], "/v1/explain", **{"X-Request-Id": "why", "Accept": "image/png"})
    files = [("image", IMAGE), ("image", b"no image")]
    shown = {"Authorization": f"Bearer {keys['nothing']}", "X-Request-Id": "batch"}
    assert httpx.post(f"{url}/v1/predict/batch", files=files, headers=shown, trust_env=False).status_code == 200
    after = verify(str(folder / "log"), before.hash).last
    assert after.sequence == before.sequence + 10
    new = list(read_records(str(folder / "log")))[-10:]
    by_id = {record["request_id"]: record for record in new}
    assert set(by_id) == {*(f"night-{i}" for i in range(8)), "why", "batch"}
    for answer in answers:
        record, told = by_id[answer.headers["x-request-id"]], answer.json()
        assert record["caller_id"] == keys["nothing"].split("_")[1]
        assert record["image_sha256"] == hashlib.sha256(IMAGE).hexdigest()
        for name in ("checkpoint_id", "probabilities", "melanoma_probability", "decision"):
            assert record[name] == told[name]
        assert len(record["appearance"]) == 7
    assert by_id["why"]["event"] == "explain"


MAY_BE_NONE = {"melanoma_quality_warnings", "melanoma_second_model_lost"}
"""Metrics of what needn't happen here; test_second_model.py has one that is lost."""


def test_the_dashboard_and_the_alert_rules_ask_for_metrics_that_are_there(url: str, keys: dict[str, str]) -> None:
    post(url, keys["nothing"])
    post(url, keys["nothing"], "/v1/explain")
    assert post(url, "mray_0_0").status_code == 401
    expected = set(COUNTERS) | set(HISTOGRAMS) | set(GAUGES)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        exported = scrape()
        if expected - MAY_BE_NONE <= {re.sub("^ray_|_(bucket_|sum_)?total$", "", one) for one in exported}:
            break
        time.sleep(2)
    known = exported | {f"ray_{name}_total" for name in MAY_BE_NONE}
    dashboard = json.loads((ROOT / "deploy" / "grafana.json").read_text())
    asked = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    rules = yaml.safe_load((ROOT / "deploy" / "alerts.yaml").read_text())["groups"][0]["rules"]
    for expression in [*asked, *(rule["expr"] for rule in rules)]:
        names = set(re.findall(r"(?:ray_)?melanoma_\w+", expression))
        assert names
        assert names <= known | DRIFT_METRICS, expression
    measured = {
        re.sub("^ray_|_(bucket_|sum_)?total$", "", name) for one in asked for name in re.findall(r"ray_\w+", one)
    }
    assert measured == expected


def scrape() -> set[str]:
    """Names of our metrics at the node's port, as Prometheus gets them."""
    return {name for name, _, _ in read_metrics()}


def read_metrics() -> list[tuple[str, dict[str, str], float]]:
    """Name, labels and value of each of our metrics at the node's port."""
    (node,) = ray.nodes()
    url = f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics"
    lines = re.findall(r"^(ray_melanoma_\w+)\{(.*)\} (\S+)$", httpx.get(url, trust_env=False).text, re.MULTILINE)
    return [(name, dict(re.findall(r'(\w+)="([^"]*)"', labels)), float(value)) for name, labels, value in lines]


def test_a_histogram_has_the_buckets_that_prometheus_knows(url: str, keys: dict[str, str]) -> None:
    for _ in range(3):
        post(url, keys["nothing"])
    deadline = time.monotonic() + 60
    while True:
        found = read_metrics()
        number = sum(value for name, labels, value in found if is_of_predict(name, labels, "melanoma_requests_total"))
        buckets: dict[float, float] = {}
        for name, labels, value in found:
            if is_of_predict(name, labels, "melanoma_request_seconds_bucket_total"):
                buckets[float(labels["le"])] = buckets.get(float(labels["le"]), 0.0) + value
        if number >= 3 and buckets.get(math.inf) == number:
            break
        assert time.monotonic() < deadline, (number, buckets)
        time.sleep(2)
    counts = [buckets[end] for end in sorted(buckets)]
    assert counts == sorted(counts)
    total = sum(v for name, labels, v in found if is_of_predict(name, labels, "melanoma_request_seconds_sum_total"))
    assert 0 < total < 60 * number


def is_of_predict(name: str, labels: dict[str, str], wanted: str) -> bool:
    return name == f"ray_{wanted}" and labels["operation"] == "/v1/predict"


def test_the_log_of_a_replica_has_a_line_for_each_request_and_nothing_of_the_image(
    url: str, keys: dict[str, str]
) -> None:
    post(url, keys["nothing"], **{"X-Request-Id": "logged-1"})
    deadline, lines = time.monotonic() + 30, list[dict[str, Any]]()
    while not lines and time.monotonic() < deadline:
        time.sleep(1)
        lines += [line for line in find_log_lines() if line["request_id"] == "logged-1"]
    (line,) = lines
    assert (line["operation"], line["status"], line["level"]) == ("/v1/predict", 200, "INFO")
    assert line["caller_id"] == keys["nothing"].split("_")[1]
    assert line["milliseconds"] > 0


def find_log_lines() -> list[dict[str, Any]]:
    folder = Path(ray._private.worker._global_node.get_logs_dir_path())
    text = "\n".join(file.read_text() for file in folder.glob("worker-*.err"))
    return [json.loads(line) for line in text.splitlines() if line.startswith('{"time"')]


def test_a_replica_that_is_killed_costs_no_more_than_what_it_was_answering(url: str, keys: dict[str, str]) -> None:
    before, is_done, statuses = find_replicas(), threading.Event(), list[int]()
    assert len(before) == 2

    def keep_asking() -> None:
        while not is_done.is_set():
            statuses.append(post(url, keys["nothing"]).status_code)

    threads = [threading.Thread(target=keep_asking) for _ in range(4)]
    for thread in threads:
        thread.start()
    time.sleep(1)
    os.kill(before[0], signal.SIGKILL)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and (len(find_replicas()) < 2 or before[0] in find_replicas()):
        time.sleep(0.5)
    is_done.set()
    for thread in threads:
        thread.join()
    assert len(set(find_replicas()) - set(before)) == 1
    failed = [status for status in statuses if status != 200]
    assert len(failed) <= len(threads)
    assert statuses.count(200) > 20


def find_replicas() -> list[int]:
    found = psutil.Process().children(recursive=True)
    return sorted(one.pid for one in found if one.is_running() and "ServeReplica" in " ".join(safe_command(one)))


def safe_command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []
