"""The switches of Ray Serve: what is set, and what the user's own settings keep."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from melanoma_ray.cluster import front
from melanoma_ray.cluster.front import serve_quickly
from melanoma_ray.serving.problems import PROBLEMS, TYPE_PREFIX


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment that is put back, without switches at first."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_SERVE")}
    monkeypatch.setattr(os, "environ", kept)


def test_a_switch_that_the_user_has_set_is_kept() -> None:
    os.environ["RAY_SERVE_ENABLE_HA_PROXY"] = "0"
    serve_quickly()
    assert os.environ["RAY_SERVE_ENABLE_HA_PROXY"] == "0"
    assert os.environ["RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD"] == "0"
    assert os.environ["RAY_SERVE_HAPROXY_METRICS_PORT"] != os.environ["RAY_SERVE_HAPROXY_STATS_PORT"]


def test_each_service_has_ports_of_its_own() -> None:
    """Ray's replicas share a port with whoever else has it, and would answer for another service."""
    taken = set[int]()
    for _ in range(20):
        serve_quickly()
        names = ["DIRECT_INGRESS_MIN_HTTP", "DIRECT_INGRESS_MAX_HTTP", "FALLBACK_PROXY_HTTP"]
        names += ["HAPROXY_METRICS", "HAPROXY_STATS"]
        least, most, *others = (int(os.environ[f"RAY_SERVE_{name}_PORT"]) for name in names)
        own = {*range(least, most + 1), *others}
        assert len(own) == 99
        assert not own & taken
        taken |= own
        for name in [name for name in os.environ if name.startswith("RAY_SERVE")]:
            del os.environ[name]


def test_without_ray_s_haproxy_nothing_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(front, "find_spec", lambda _: None)
    serve_quickly()
    assert not [name for name in os.environ if name.startswith("RAY_SERVE")]


def test_the_script_confines_just_the_two_ports_and_starts_haproxy(tmp_path: Path) -> None:
    serve_quickly()
    metrics, statistics = (os.environ[f"RAY_SERVE_HAPROXY_{name}_PORT"] for name in ("METRICS", "STATS"))
    config = tmp_path / "haproxy.cfg"
    control = "    stats socket /tmp/one mode {} level admin expose-fd listeners\n"
    missing = "    http-request return status 404 content-type text/plain lf-string \"Path '%[path]' not found. …\"\n"
    config.write_text(
        f"{control.format(666)}defaults\n    bind :{metrics}\n    bind *:8000\n  bind *:{statistics}\n"
        f"    http-reuse always\n{missing}"
    )
    script = os.environ["RAY_SERVE_HAPROXY_BINARY_PATH"]
    # -c checks the file, which isn't a whole one: only that HAProxy ran is of interest.
    finished = subprocess.run([script, "-db", "-f", str(config), "-c"], check=False, capture_output=True, text=True)
    assert "haproxy" in finished.stderr.lower()
    confined = f"    bind 127.0.0.1:{metrics}\n    bind *:8000\n  bind 127.0.0.1:{statistics}\n"
    rules = "    timeout http-request 10s\n    option disable-h2-upgrade\n"
    told = config.read_text().removeprefix(f"{control.format(600)}defaults\n{rules}{confined}    http-reuse never\n")
    other, told = told.split("\n", 1)
    assert other.split() == ["http-request", "return", "status", "404", "unless", "{", "path_beg", "/", "}"]
    *starting, answer = told.split()
    assert " ".join(starting) == (
        "http-request return status 503 content-type application/problem+json hdr Retry-After 1 file"
    )
    problem = json.loads(Path(answer.strip('"')).read_text())
    status, title = PROBLEMS["not-available"]
    assert (problem["type"], problem["status"], problem["title"]) == (TYPE_PREFIX + "not-available", status, title)


PARENT = """
import subprocess, sys
child = subprocess.Popen([sys.argv[1], "-db", "-f", sys.argv[2]])
print(child.pid, flush=True)
child.wait()
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """HAProxy's file, with a socket to see when it has begun."""
    file = tmp_path / "haproxy.cfg"
    file.write_text(f"defaults\n    timeout client 5s\nfrontend one\n    mode http\n    bind {tmp_path}/socket\n")
    return file


def kill_parent_when_there_is(sign: Path, script: str, config: Path) -> list[psutil.Process]:
    """Start the script below a process that is killed as soon as a file is there; return what outlives it."""
    with subprocess.Popen([sys.executable, "-c", PARENT, script, str(config)], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        started = psutil.Process(int(parent.stdout.readline()))
        deadline = time.monotonic() + 20
        while not sign.exists():
            assert time.monotonic() < deadline
            time.sleep(0.02)
        parent.kill()
        _, alive = psutil.wait_procs([started], timeout=20)
    for one in alive:
        one.kill()
    return alive


@pytest.mark.skipif(shutil.which("setpriv") is None, reason="the kernel is told by setpriv (util-linux)")
def test_haproxy_ends_with_the_process_that_started_it(config: Path) -> None:
    """Ray's raylet, which ends what its workers leave behind, may itself be gone."""
    serve_quickly()
    script = os.environ["RAY_SERVE_HAPROXY_BINARY_PATH"]
    assert not kill_parent_when_there_is(config.with_name("socket"), script, config)


@pytest.mark.skipif(shutil.which("setpriv") is None, reason="the kernel is told by setpriv (util-linux)")
def test_haproxy_doesn_t_begin_once_the_process_that_started_it_has_ended(config: Path) -> None:
    """A service may be ended while HAProxy is being started, or replaced for another configuration."""
    serve_quickly()
    script, slow, begun = (
        Path(os.environ["RAY_SERVE_HAPROXY_BINARY_PATH"]),
        config.with_name("slow"),
        config.with_name("begun"),
    )
    slow.write_text(script.read_text().replace("\nsed", f"\ntouch {begun}\nsleep 1\nsed", 1))
    slow.chmod(0o700)
    assert not kill_parent_when_there_is(begun, str(slow), config)
