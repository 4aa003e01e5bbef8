"""Sender and receiver are killed at any moment: no alert is lost, and what comes twice has the same key."""

from __future__ import annotations

import json
import random
import socket
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from melanoma_ray.alerts.outbox import Outbox
from melanoma_ray.alerts.settings import read_settings
from tests.unit.alerts.certificates import Authority
from tests.unit.alerts.samples import SECRET, build_alerts

ROOT = Path(__file__).parents[3]
SETTINGS = """
outbox = "{folder}/outbox.db"
[[rules]]
name = "melanoma"
sinks = ["hook", "log", "mail"]
[[sinks]]
name = "hook"
kind = "webhook"
url = "http://127.0.0.1:{port}/"
secret_file = "{folder}/secret"
retry_first_s = 0.05
retry_longest_s = 0.3
timeout_s = 1.0
max_alerts = 2
[[sinks]]
name = "log"
kind = "file"
path = "{folder}/log.jsonl"
[[sinks]]
name = "mail"
kind = "mail"
host = "127.0.0.1"
port = {mail_port}
sender = "alerts@clinic.example"
recipients = ["team@clinic.example"]
ca_file = "{authority}"
retry_first_s = 0.05
retry_longest_s = 0.3
timeout_s = 1.0
max_alerts = 5
"""


def start(module: str, *words: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-m", f"tests.unit.alerts.{module}", *words], cwd=ROOT)


class Killer:
    """Starts sender and receiver again and again, and kills either of them by SIGKILL at a random moment."""

    def __init__(self, folder: Path, number: int, seed: int) -> None:
        with socket.socket() as one, socket.socket() as other:
            one.bind(("127.0.0.1", 0))
            other.bind(("127.0.0.1", 0))
            port, mail_port = one.getsockname()[1], other.getsockname()[1]
        authority = Authority(folder)
        certificate = authority.write_server_certificate("127.0.0.1")
        (folder / "secret").write_text(SECRET)
        self.settings = folder / "alerts.toml"
        self.settings.write_text(
            SETTINGS.format(folder=folder, port=port, mail_port=mail_port, authority=authority.file)
        )
        self.received = folder / "received.jsonl"
        self._receiver = ("receiver", str(port), str(self.received), str(mail_port), certificate)
        self._sender = ("sender", str(self.settings), str(number))
        self._chance = random.Random(seed)
        self.num_kills = {"sender": 0, "receiver": 0}

    def run(self, num_kills: int) -> None:
        with running(self._receiver) as receivers, running(self._sender) as senders:
            while sum(self.num_kills.values()) < num_kills and senders[-1].poll() is None:
                time.sleep(self._chance.uniform(0.02, 1.2))
                processes, words = self._chance.choice([(receivers, self._receiver), (senders, self._sender)])
                if processes[-1].poll() is None:
                    processes[-1].kill()
                    processes[-1].wait()
                    self.num_kills[words[0]] += 1
                    processes.append(start(*words))
            assert senders[-1].wait(300) == 0, "an alert still waits, or is a dead letter"


@contextmanager
def running(words: tuple[str, ...]) -> Iterator[list[subprocess.Popen[bytes]]]:
    processes = [start(*words)]
    try:
        yield processes
    finally:
        processes[-1].kill()
        processes[-1].wait()


def read_whole_lines(file: Path) -> list[dict[str, object]]:
    """Return the lines that were written whole; the one that a kill cut short isn't JSON."""
    found = []
    for line in file.read_text().splitlines():
        try:
            found.append(json.loads(line))
        except ValueError:
            continue
    return found


def keys_by_alert(received: Path, sink: str) -> dict[str, set[object]]:
    """Return the keys under which each alert has come to a sink."""
    keys: dict[str, set[object]] = defaultdict(set)
    for line in read_whole_lines(received):
        if line["sink"] == sink:
            alerts = line["alerts"]
            assert isinstance(alerts, list)
            for alert_id in alerts:
                keys[alert_id].add(line["key"])
    return keys


@pytest.mark.parametrize(
    ("number", "num_kills"), [(120, 6), pytest.param(1000, 60, marks=pytest.mark.slow)], ids=["120", "1000"]
)
def test_no_alert_is_lost_and_duplicates_have_one_key(tmp_path: Path, number: int, num_kills: int) -> None:
    killer = Killer(tmp_path, number, seed=number)
    killer.run(num_kills)
    print(killer.num_kills)
    assert min(killer.num_kills.values()) > 0
    settings = read_settings(str(killer.settings))
    expected = {one.alert_id for one in build_alerts(settings, number)}
    for sink, length in (("hook", None), ("mail", 12)):
        keys = keys_by_alert(killer.received, sink)
        assert keys.keys() == {one[:length] for one in expected}, f"lost on the way to {sink}"
        assert {len(one) for one in keys.values()} == {1}, "an alert came under two keys"
    lines = [line["data"] for line in read_whole_lines(tmp_path / "log.jsonl")]
    logged = {(alert["alert_id"], data["idempotency_key"]) for data in lines for alert in data["alerts"]}  # type: ignore[index]
    assert {alert_id for alert_id, _ in logged} == expected, "lost on the way to the file"
    assert len(logged) == number
    with Outbox(settings.outbox) as outbox:
        assert outbox.count_deliveries() == {(sink, "delivered"): number for sink in ("hook", "log", "mail")}
