"""The service as ``jobs.deploy`` starts it, with keys, tokens and an audit log, under thousands of hostile requests.

A failing test names the seed and the number of each request that got what it mustn't; ``draw_attack`` makes it again.
"""

from __future__ import annotations

import asyncio
import signal
import socket
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import schemathesis
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from schemathesis import checks
from schemathesis.core.result import Ok

from melanoma_ray.access.audit_log import verify
from melanoma_ray.client import Client
from tests.checkpoints import build_checkpoint
from tests.cluster import free_ports
from tests.hostile.attack import Attack, Credentials
from tests.hostile.drawing import draw_attack
from tests.hostile.forgeries import make_credentials
from tests.hostile.images import encoded
from tests.hostile.judging import find_faults
from tests.hostile.sending import Answer, Outcome, send_all
from tests.unit.access.test_tokens import AUDIENCE, Issuer

ROOT = Path(__file__).parents[2]
SEED = 26
GROWTH_MB = 500
"""Largest growth of a replica's resident memory, MB: freed memory of large images that the allocator keeps for the
next ones (370 after 19,000 requests, most of it after the first 3,000). A bomb that was kept would show."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Deployed:
    """A running service."""

    port: int
    credentials: Credentials
    folder: Path
    root: psutil.Process

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def secrets(self) -> list[bytes]:
        """What no answer may have."""
        return [str(self.folder).encode(), str(ROOT).encode(), self.credentials.key.encode()]

    def replicas(self) -> dict[int, float]:
        """Processes of replicas, and the times at which they were started."""
        found = (one for one in self.root.children(recursive=True) if "ServeReplica" in " ".join(one.cmdline()))
        return {one.pid: one.create_time() for one in found}

    def memory_mb(self) -> int:
        return sum(psutil.Process(pid).memory_info().rss for pid in self.replicas()) >> 20

    def predict(self) -> dict[str, object]:
        """Return the answer to a good request, without its id."""
        with Client(self.url, key=self.credentials.key) as client:
            return client.predict(encoded("PNG")).model_dump(exclude={"request_id"})


@pytest.fixture(scope="module")
def issuer() -> Iterator[Issuer]:
    opened = Issuer()
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, issuer: Issuer) -> Iterator[Deployed]:
    folder = tmp_path_factory.mktemp("hostile")
    (folder / "oidc.toml").write_text(f'issuer = "{issuer.url}"\naudience = "{AUDIENCE}"\n')
    credentials = make_credentials(str(folder / "keys.json"), issuer)
    checkpoint = build_checkpoint(str(folder / "checkpoint"), uses_metadata=True)
    (port,) = free_ports(1)
    command = [sys.executable, "-m", "jobs.deploy", "--checkpoint", checkpoint, "--port", str(port)]
    command += ["--keys", str(folder / "keys.json"), "--oidc", str(folder / "oidc.toml")]
    command += ["--audit-log", str(folder / "audit"), "--requests-per-minute", "10000000", "--max-concurrent", "10000"]
    with (folder / "output.txt").open("wb") as output:
        process = subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT, start_new_session=True)
    try:
        with Client(f"http://127.0.0.1:{port}") as client:
            client.wait_until_ready(timeout_s=180)
        yield Deployed(port=port, credentials=credentials, folder=folder, root=psutil.Process(process.pid))
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(120)


def attack(service: Deployed, first: int, number: int) -> list[Outcome]:
    """Send attacks of the seed, by their numbers, and print what they got."""
    attacks = ((one, draw_attack(SEED, one, service.credentials)) for one in range(first, first + number))
    outcomes = asyncio.run(send_all(attacks, service.port, at_a_time=12))
    table: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for outcome in outcomes:
        table[outcome.attack.kind][outcome.label] += 1
    for kind, got in sorted(table.items()):
        print(f"{kind} {got.total()}: " + ", ".join(f"{label} {times}" for label, times in got.most_common()))
    for one in sorted(outcomes, key=lambda outcome: -outcome.seconds)[:5]:
        print(f"{one.seconds:.1f} s: number {one.number}, {one.attack.kind} ({one.attack.name}), {one.label}")
    return outcomes


def tell_faults(service: Deployed, outcomes: Sequence[Outcome]) -> list[str]:
    """Return what is wrong with the answers to each attack, and where there should have been one."""
    return [
        f"seed {SEED}, number {outcome.number}: {outcome.attack.kind} ({outcome.attack.name}): {fault}; {outcome.raw!r}"
        for outcome in outcomes
        for fault in (*find_faults(outcome, service.secrets), *(["no answer"] if is_silent(outcome) else []))
    ]


def is_silent(outcome: Outcome) -> bool:
    return not outcome.answers and not outcome.attack.hangs_up


def withstand(service: Deployed, first: int, number: int) -> None:
    """Attack, and find the service as it was before."""
    expected, replicas = service.predict(), service.replicas()
    before_mb, audited = service.memory_mb(), verify(str(service.folder / "audit")).last
    outcomes = attack(service, first, number)
    after_mb = service.memory_mb()
    print(f"memory of the replica: {before_mb} MB before, {after_mb} MB after")
    assert not tell_faults(service, outcomes), "\n".join(tell_faults(service, outcomes))
    assert service.predict() == expected
    assert service.replicas() == replicas
    assert after_mb - before_mb < GROWTH_MB
    last = verify(str(service.folder / "audit"), audited.hash).last
    told = sum(answer.body.count(b'"melanoma_probability":') for one in outcomes for answer in one.answers)
    assert last.sequence - audited.sequence >= told > 0


def test_1400_hostile_requests_get_problems_and_nothing_else(service: Deployed) -> None:
    withstand(service, 1, 1400)


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_19000_hostile_requests_get_problems_and_nothing_else(service: Deployed) -> None:
    withstand(service, 10_000, 19_000)


@pytest.mark.slow
def test_a_body_that_never_comes_doesn_t_hold_its_connection_for_ever(service: Deployed) -> None:
    """Whoever has no key is refused at once, and would have kept one of HAProxy's connections for an hour."""
    with socket.create_connection(("127.0.0.1", service.port), timeout=120) as connection:
        connection.sendall(b"POST /v1/predict HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n")
        began_at = time.monotonic()
        assert connection.recv(100).startswith(b"HTTP/1.1 401")
        while connection.recv(4096):
            pass
    assert time.monotonic() - began_at < 100


CHECKS: list[schemathesis.CheckFunction] = [
    checks.not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_schema_conformance,
]


def judge(service: Deployed, case: schemathesis.Case[Any], response: schemathesis.Response, *, has_key: bool) -> None:
    """Refuse an answer that isn't as described, or that no request may get."""
    shown = Attack(kind="described", name=case.formatted_path, pieces=(), may_answer=has_key)
    headers = {name.lower(): values[0] for name, values in response.headers.items()}
    answer = Answer(status=response.status_code, headers=headers, body=response.content)
    outcome = Outcome(attack=shown, number=0, answers=(answer,), raw=response.content[:400], seconds=0)
    assert find_faults(outcome, service.secrets) == []
    case.validate_response(response, checks=CHECKS)


def explore(service: Deployed, num_examples: int) -> None:
    """Send requests that schemathesis draws from the description, right and wrong ones, and print what they got."""
    key = {"Authorization": f"Bearer {service.credentials.key}"}
    described = httpx.get(f"{service.url}/openapi.json", trust_env=False).json()
    found = schemathesis.openapi.from_dict(described).get_all_operations()
    operations = [one.ok() for one in found if isinstance(one, Ok)]
    cases = st.one_of(
        *(one.as_strategy(generation_mode=mode) for one in operations for mode in schemathesis.GenerationMode)
    )
    got: Counter[str] = Counter()

    @seed(SEED)
    @settings(max_examples=num_examples, database=None, deadline=None, suppress_health_check=list(HealthCheck))
    @given(case=cases, has_key=st.sampled_from([True, True, True, False]))
    def ask(case: schemathesis.Case[Any], has_key: bool) -> None:  # noqa: FBT001 - hypothesis gives it by name
        response = case.call(base_url=service.url, headers=key if has_key else {}, timeout=60)
        got[str(response.status_code)] += 1
        judge(service, case, response, has_key=has_key)

    ask()
    print(f"described {got.total()}: " + ", ".join(f"{label} {times}" for label, times in got.most_common()))


def test_100_requests_from_the_description_are_answered_as_it_says(service: Deployed) -> None:
    explore(service, 100)


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_1000_requests_from_the_description_are_answered_as_it_says(service: Deployed) -> None:
    explore(service, 1000)
