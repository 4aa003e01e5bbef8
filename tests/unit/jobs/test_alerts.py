"""The commands that look at alerts, send them, and note who has seen them."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from jobs import alerts
from jobs.command_line import parse
from melanoma_ray.alerts.outbox import Outbox
from melanoma_ray.alerts.settings import read_settings
from melanoma_ray.errors import AlertError, ConfigError
from tests.unit.alerts.samples import build_alerts

SETTINGS = """
outbox = "{folder}/outbox.db"
[[rules]]
name = "melanoma"
sinks = ["log"]
[[sinks]]
name = "log"
kind = "file"
path = "{folder}/log.jsonl"
max_refusals = 1
"""


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "alerts.toml"
    path.write_text(SETTINGS.format(folder=tmp_path))
    return str(path)


def run(file: str, monkeypatch: pytest.MonkeyPatch, *words: str) -> None:
    monkeypatch.setattr(sys, "argv", ["alerts", *words, "--alerts", file])
    alerts.main(parse(alerts.AlertArguments))


def record(file: str, number: int = 1) -> list[str]:
    settings = read_settings(file)
    found = build_alerts(settings, number, now=time.time())
    with Outbox(settings.outbox) as outbox:
        outbox.record(found)
    return [one.alert_id for one in found]


def test_an_alert_is_listed_shown_sent_and_acknowledged(
    file: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (alert_id,) = record(file)
    run(file, monkeypatch, "list")
    printed = capsys.readouterr().out
    assert f"{alert_id[:12]}  " in printed
    assert "Refer to a dermatologist, melanoma 75.0 %; 1 waiting" in printed
    assert "1 open alerts of 1" in printed
    run(file, monkeypatch, "send")
    assert "1 deliveries confirmed by their sinks" in capsys.readouterr().out
    run(file, monkeypatch, "show", alert_id[:8])
    printed = capsys.readouterr().out
    assert "image /images/0.jpg" in printed
    assert "to log: delivered after 1 attempts, key " in printed
    assert "not acknowledged" in printed
    run(file, monkeypatch, "acknowledge", alert_id[:8], "--by", "dr. who")
    assert capsys.readouterr().out == "1 alert acknowledged by dr. who\n"
    run(file, monkeypatch, "list")
    assert "0 open alerts of 1" in capsys.readouterr().out
    run(file, monkeypatch, "forget", "--days", "1")
    assert capsys.readouterr().out.startswith("0 alerts forgotten")
    run(file, monkeypatch, "list", "--every")
    assert "acknowledged" in capsys.readouterr().out


def test_dead_letters_have_their_reason_and_are_resent(
    file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    record(file, 2)
    settings = read_settings(file)
    with Outbox(settings.outbox) as outbox:
        outbox.pack("log", time.time(), max_alerts=9, older_than=time.time())
        message = outbox.next_due("log", time.time())
        assert message is not None
        outbox.bury(message.key, time.time(), "answered 404 Not Found", is_refusal=True)
    with pytest.raises(
        AlertError, match="2 deliveries of alerts were given up and nobody has acknowledged these alerts: melanoma"
    ):
        run(file, monkeypatch, "send")
    run(file, monkeypatch, "dead")
    printed = capsys.readouterr().out
    assert printed.count("log, 1 attempts: answered 404 Not Found") == 2
    run(file, monkeypatch, "acknowledge", "--every")
    run(file, monkeypatch, "send")  # a person knows: no longer an error
    run(file, monkeypatch, "resend", "--every")
    assert "2 deliveries confirmed by their sinks" in capsys.readouterr().out
    assert (tmp_path / "log.jsonl").read_text().count(message.key) == 1


def test_a_check_reads_everything_and_sends_nothing(
    file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run(file, monkeypatch, "check")
    assert "1 rules and 1 sinks are usable; nothing was sent" in capsys.readouterr().out
    assert not (tmp_path / "log.jsonl").exists()


def test_a_test_reaches_every_sink_and_says_what_each_answered(
    file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run(file, monkeypatch, "test")
    assert "log: confirmed: " in capsys.readouterr().out
    assert "This is a test of the alerts" in (tmp_path / "log.jsonl").read_text()
    (tmp_path / "log.jsonl").unlink()
    (tmp_path / "log.jsonl").mkdir()
    with pytest.raises(AlertError, match="1 of 1 sinks didn't confirm the test"):
        run(file, monkeypatch, "test")
    assert "log: NOT confirmed: " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["show"], "show needs the id of an alert, as in the list"),
        (["show", "--every"], "show needs the id of an alert, as in the list"),
        (["acknowledge"], "acknowledge needs the id of an alert, as in the list, or --every"),
        (["list", "abc"], "list takes no ids"),
        (["forget"], "forget needs --days, and nothing else takes it"),
        (["list", "--days", "3"], "forget needs --days, and nothing else takes it"),
        (["send", "--minutes", "0"], "minutes=0.0: expected more than 0"),
    ],
)
def test_a_command_that_can_t_be_meant_is_refused(
    file: str, monkeypatch: pytest.MonkeyPatch, words: list[str], message: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        run(file, monkeypatch, *words)
    assert str(caught.value) == message


def test_an_id_that_no_alert_has_is_one_clear_line(file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    record(file)
    with pytest.raises(AlertError, match="alert 'zz': no alert begins like this; the list has their ids"):
        run(file, monkeypatch, "acknowledge", "zz")
