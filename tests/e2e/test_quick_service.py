"""``jobs.deploy`` without settings: HAProxy in front, on the loopback alone, and the predictor's answers."""

from __future__ import annotations

import io
import json
import os
import secrets
import select
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import psutil
import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from PIL import Image

from melanoma_ray.client import Client
from melanoma_ray.cluster.front import PORTS
from melanoma_ray.inference.agreement import TOLERANCE
from melanoma_ray.inference.predictor import Predictor
from melanoma_ray.retries import Retries
from tests.checkpoints import build_checkpoint
from tests.cluster import free_ports
from tests.collector import Collector, attributes, running_collector

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="HAProxy comes with Ray on Linux")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> str:
    return build_checkpoint(str(tmp_path_factory.mktemp("checkpoint")))


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with running_collector() as collector:
        yield collector


@pytest.fixture(scope="module")
def service(checkpoint: str, collector: Collector) -> Iterator[tuple[str, psutil.Process]]:
    (port,) = free_ports(1)
    command = [sys.executable, "-m", "jobs.deploy", "--checkpoint", checkpoint, "--port", str(port)]
    environment = os.environ | {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_BSP_SCHEDULE_DELAY": "200"}
    process = subprocess.Popen(command, cwd=Path(__file__).parents[2], env=environment, start_new_session=True)
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


def find_listeners(root: psutil.Process) -> list[tuple[str, str, int]]:
    """Where HAProxy listens, and replicas with their direct ports: who, address and port."""
    found = []
    for process in root.children(recursive=True):
        try:
            is_proxy = process.name() == "haproxy"
            if not is_proxy and "ServeReplica" not in " ".join(process.cmdline()):
                continue
            connections = process.net_connections()
        except psutil.NoSuchProcess:  # HAProxy is replaced when its configuration changes
            continue
        found += [
            ("haproxy" if is_proxy else "replica", one.laddr.ip, one.laddr.port)
            for one in connections
            if one.status == psutil.CONN_LISTEN and (is_proxy or one.laddr.port in PORTS)
        ]
    return found


def test_what_listens_for_haproxy_and_replicas_listens_on_the_loopback(service: tuple[str, psutil.Process]) -> None:
    _, root = service
    listening: dict[str, set[str]] = {}
    for name, address, _ in find_listeners(root):
        listening.setdefault(name, set()).add(address)
    assert listening == {"haproxy": {"127.0.0.1"}, "replica": {"127.0.0.1"}}


CONNECT = """
import json, socket, sys
host, *ports = json.loads(sys.argv[1])
reached = []
for port in ports:
    try:
        socket.create_connection((host, port), timeout=2).close()
        reached.append(port)
    except OSError:
        pass
print(json.dumps(reached))
"""


@pytest.fixture
def elsewhere() -> Iterator[tuple[str, list[str]]]:
    """Another network, as a neighbour in the hospital has it: this machine's address there, and how to run there."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        pytest.skip("another network namespace needs root and the command ip")
    name, here, there = (f"mray{secrets.token_hex(3)}{end}" for end in ("", "a", "b"))
    steps = [
        f"ip netns add {name}",
        f"ip link add {here} type veth peer name {there} netns {name}",
        f"ip address add 198.51.100.1/30 dev {here}",
        f"ip link set {here} up",
        f"ip -n {name} address add 198.51.100.2/30 dev {there}",
        f"ip -n {name} link set {there} up",
    ]
    try:
        for step in steps:
            done = subprocess.run(step.split(), capture_output=True, text=True, check=False)
            if done.returncode:
                pytest.skip(f"no second network here: {step}: {done.stderr.strip()}")
        yield "198.51.100.1", ["ip", "netns", "exec", name, sys.executable, "-c", CONNECT]
    finally:
        subprocess.run(["ip", "netns", "delete", name], capture_output=True, check=False)


def test_from_another_network_no_port_of_haproxy_or_of_a_replica_is_reached(
    service: tuple[str, psutil.Process], elsewhere: tuple[str, list[str]]
) -> None:
    _, root = service
    host, command = elsewhere
    ports = {port for _, _, port in find_listeners(root)}
    assert len(ports) >= 4  # the service's, HAProxy's own two, and a replica's
    with socket.create_server(("0.0.0.0", 0)) as open_to_all:  # to see that the other network does reach this machine
        known = open_to_all.getsockname()[1]
        asked = json.dumps([host, known, *sorted(ports)])
        printed = subprocess.run([*command, asked], capture_output=True, text=True, check=True).stdout
    assert json.loads(printed) == [known]


def test_who_sends_its_headers_slowly_is_sent_away(service: tuple[str, psutil.Process]) -> None:
    url, _ = service
    with socket.create_connection(("127.0.0.1", int(url.rsplit(":", 1)[1])), timeout=30) as connection:
        connection.sendall(b"POST /v1/predict HTTP/1.1\r\nHost: test\r\n")
        began_at = time.monotonic()
        assert connection.recv(100).startswith(b"HTTP/1.1 408")
    assert 8 < time.monotonic() - began_at < 15


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


def test_a_request_and_its_stages_are_spans_of_the_caller_s_trace(
    service: tuple[str, psutil.Process], collector: Collector
) -> None:
    url, _ = service
    trace, above = secrets.token_hex(16), secrets.token_hex(8)
    headers = {"traceparent": f"00-{trace}-{above}-01", "X-Request-Id": "traced-1"}
    assert httpx.post(f"{url}/v1/predict", content=draw(7), headers=headers, trust_env=False).status_code == 200
    deadline, spans = time.monotonic() + 20, list[Span]()
    while not any(span.kind == Span.SPAN_KIND_SERVER for span in spans):
        assert time.monotonic() < deadline
        time.sleep(0.1)
        spans = [span for span in collector.spans if span.trace_id.hex() == trace]
    (request,) = (span for span in spans if span.kind == Span.SPAN_KIND_SERVER)
    assert request.name == "POST /v1/predict"
    assert request.parent_span_id.hex() == above
    told = attributes(request)
    assert (told["http.route"], told["http.response.status_code"]) == ("/v1/predict", 200)
    assert (told["melanoma.request_id"], told["melanoma.caller"]) == ("traced-1", "nobody")
    stages = {span.name: span for span in spans if span is not request}
    assert stages.keys() == {"receive", "decode", "network", "keep"}
    for span in stages.values():
        assert span.parent_span_id == request.span_id
        assert request.start_time_unix_nano <= span.start_time_unix_nano <= span.end_time_unix_nano
    assert collector.services == {"melanoma_ray"}


@pytest.mark.parametrize("value", ["no trace", "00-" + "0" * 32 + "-" + "0" * 16 + "-01", "00-\xff-1-01"])
def test_a_header_that_is_no_trace_changes_no_answer(service: tuple[str, psutil.Process], value: str) -> None:
    url, _ = service
    headers = {b"traceparent": value.encode("latin-1")}
    assert httpx.post(f"{url}/v1/predict", content=draw(8), headers=headers, trust_env=False).status_code == 200


def test_a_full_service_says_so_as_a_problem(service: tuple[str, psutil.Process]) -> None:
    url, _ = service
    stalled: list[socket.socket] = []
    answered: list[socket.socket] = []
    try:
        while not answered and len(stalled) < 200:
            stalled.append(socket.create_connection(("127.0.0.1", int(url.rsplit(":", 1)[1]))))
            stalled[-1].sendall(b"POST /v1/predict HTTP/1.1\r\nHost: test\r\nContent-Length: 1000\r\n\r\nabc")
            answered, _, _ = select.select(stalled, [], [], 0.0 if len(stalled) < 32 else 0.5)
        answered[0].settimeout(5)
        answer = b""
        while b"}" not in answer:
            answer += answered[0].recv(4096)
    finally:
        for connection in stalled:
            connection.close()
    assert answer.startswith(b"HTTP/1.1 429")
    assert b"retry-after: 1\r\n" in answer.lower()
    problem = json.loads(answer.partition(b"\r\n\r\n")[2])
    assert (problem["type"], problem["status"]) == ("urn:melanoma-ray:problem:service-full", 429)
    with Client(url) as client:
        client.wait_until_ready(timeout_s=20)


def find(root: psutil.Process, name: str) -> list[psutil.Process]:
    """The processes below one that have this in their command, or are called so."""
    found = []
    for process in root.children(recursive=True):
        try:
            if process.name() == name or name in " ".join(process.cmdline()):
                found.append(process)
        except psutil.NoSuchProcess:
            continue
    return found


def kill_one(root: psutil.Process, name: str) -> set[int]:
    """Kill the first of these processes; return the ids of all that there were."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        found = find(root, name)
        try:
            found[0].kill()
        except (IndexError, psutil.NoSuchProcess):  # HAProxy is being replaced for another configuration
            time.sleep(0.1)
            continue
        return {one.pid for one in found}
    pytest.fail(f"no process {name} to kill")


@pytest.mark.parametrize("killed", ["ServeReplica", "haproxy", "HAProxyManager"])
def test_a_kill_under_load_costs_our_client_no_answer(service: tuple[str, psutil.Process], killed: str) -> None:
    """It asks again what was on its way; whatever was killed is there again."""
    url, root = service
    is_done = threading.Event()

    def keep_asking(seed: int) -> int:
        with Client(url, retries=Retries(max_tries=10)) as client:
            number = 0
            while not is_done.is_set():
                client.predict(draw(seed))
                number += 1
        return number

    with ThreadPoolExecutor(4) as pool:
        asking = [pool.submit(keep_asking, seed) for seed in range(4)]
        try:
            time.sleep(1)
            before = kill_one(root, killed)
            deadline = time.monotonic() + 120
            while not {one.pid for one in find(root, killed)} - before:
                assert time.monotonic() < deadline
                time.sleep(0.5)
            time.sleep(2)
        finally:
            is_done.set()
        assert sum(one.result() for one in asking) > 20
