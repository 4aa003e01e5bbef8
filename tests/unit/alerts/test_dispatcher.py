"""Sending: one process at a time, no sink held up by another, escalation, digests and what stays."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from melanoma_ray.alerts.dispatcher import SinkWorker, hold_sending, send_forever, send_pending
from melanoma_ray.alerts.outbox import Message, Outbox
from melanoma_ray.alerts.settings import AlertSettings, FileSink, Rule
from melanoma_ray.errors import AlertError
from tests.unit.alerts.samples import NOW, build_alerts, build_settings, build_webhook
from tests.unit.alerts.servers import serve_http

PATIENCE_S = 30.0


def wait_until(is_true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not is_true():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.02)


def file_sink(folder: Path, name: str = "log", **changes: object) -> FileSink:
    return FileSink(**{"name": name, "kind": "file", "path": str(folder / f"{name}.jsonl")} | changes)  # type: ignore[arg-type]


def record(settings: AlertSettings, number: int = 1) -> None:
    with Outbox(settings.outbox) as outbox:
        outbox.record(build_alerts(settings, number, now=time.time()))


def test_a_sink_that_hangs_delays_no_other(tmp_path: Path) -> None:
    with serve_http() as receiver:
        receiver.otherwise = "hang"
        hook = build_webhook(tmp_path, receiver.url, timeout_s=20)
        settings = build_settings(tmp_path, hook, file_sink(tmp_path))
        record(settings, 3)
        is_over = threading.Event()
        sender = threading.Thread(target=send_forever, args=(settings, is_over))
        sender.start()
        with Outbox(settings.outbox) as outbox:
            wait_until(lambda: outbox.count_deliveries().get(("log", "delivered")) == 3)
            assert ("hook", "delivered") not in outbox.count_deliveries()
        is_over.set()
        receiver.is_over.set()
        sender.join(PATIENCE_S)
    assert not sender.is_alive()


def test_while_another_process_sends_this_one_sends_nothing_and_says_so(tmp_path: Path) -> None:
    settings = build_settings(tmp_path, file_sink(tmp_path))
    record(settings)
    with hold_sending(settings.outbox) as is_ours:
        assert is_ours
        result = send_pending(settings, timeout_s=0.5)
    assert (result.num_waiting, result.is_sent_elsewhere) == (1, True)
    assert send_pending(settings, timeout_s=PATIENCE_S).num_delivered == 1


def test_an_alert_that_nobody_acknowledges_reaches_the_next_sink(tmp_path: Path) -> None:
    rule = Rule(name="melanoma", sinks=("log",), acknowledge_within_minutes=0.01, escalate_to=("chief",))
    settings = build_settings(tmp_path, file_sink(tmp_path), file_sink(tmp_path, "chief"), rules=(rule,))
    record(settings)
    is_over = threading.Event()
    sender = threading.Thread(target=send_forever, args=(settings, is_over))
    sender.start()
    with Outbox(settings.outbox) as outbox:
        wait_until(lambda: ("chief", "delivered") in outbox.count_deliveries())
    is_over.set()
    sender.join(PATIENCE_S)
    assert '"is_escalation": true' in (tmp_path / "chief.jsonl").read_text()


def test_in_quiet_hours_alerts_wait_and_then_come_as_one_digest(tmp_path: Path) -> None:
    now = datetime.now(UTC)
    begin, end = (f"{now + timedelta(hours=hours):%H:%M}" for hours in (-1, 1))
    sink = file_sink(tmp_path, quiet_from=begin, quiet_until=end, max_alerts=100)
    settings = build_settings(tmp_path, sink)
    record(settings, 5)
    result = send_pending(settings, timeout_s=PATIENCE_S)
    assert (result.num_waiting, result.num_sendable, result.num_delivered) == (5, 0, 0)
    later = (now + timedelta(hours=1, minutes=1)).timestamp()
    with Outbox(settings.outbox) as outbox:
        worker = SinkWorker(sink, outbox)
        assert worker.step(later)
        assert not worker.step(later)
    assert len((tmp_path / "log.jsonl").read_text().splitlines()) == 1


def test_what_waits_for_a_sink_that_the_settings_no_longer_have_is_told_and_kept(tmp_path: Path) -> None:
    record(build_settings(tmp_path, file_sink(tmp_path, "old")))
    result = send_pending(build_settings(tmp_path, file_sink(tmp_path)), timeout_s=PATIENCE_S)
    assert (result.num_waiting, result.without_sink) == (1, ("old",))


class BrokenSink:
    """A sink with a bug."""

    def send(self, message: Message) -> str:
        raise ZeroDivisionError(message.key)

    def close(self) -> None:
        pass


def test_a_bug_in_a_sink_ends_in_a_dead_letter_and_not_in_the_end_of_sending(tmp_path: Path) -> None:
    sink = file_sink(tmp_path, max_refusals=2, retry_first_s=1)
    settings = build_settings(tmp_path, sink)
    with Outbox(settings.outbox) as outbox:
        outbox.record(build_alerts(settings, now=NOW))
        worker = SinkWorker(sink, outbox, BrokenSink())
        attempts = [worker.step(time.time() + minutes * 60) for minutes in range(4)]
        assert attempts == [True, True, False, False]
        (delivery,) = outbox.statuses()[0].deliveries
    assert delivery.state == "dead"
    assert "ZeroDivisionError" in (delivery.outcome or "")


def test_a_sink_that_is_down_for_longer_than_the_limit_is_given_up(tmp_path: Path) -> None:
    sink = build_webhook(tmp_path, "http://127.0.0.1:9/", give_up_hours=1e-9)
    settings = build_settings(tmp_path, sink)
    with Outbox(settings.outbox) as outbox:
        outbox.record(build_alerts(settings, now=NOW))
        worker = SinkWorker(sink, outbox)
        assert worker.step(time.time())
        assert worker.step(time.time() + 60)
        (delivery,) = outbox.statuses()[0].deliveries
        assert delivery.state == "dead"
        assert "can't be reached" in (delivery.outcome or "")


def test_while_a_sink_is_down_its_other_messages_aren_t_tried_and_that_is_one_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    sink = build_webhook(tmp_path, "http://127.0.0.1:9/", retry_first_s=1000, retry_longest_s=1000)
    settings = build_settings(tmp_path, sink)
    with Outbox(settings.outbox) as outbox:
        outbox.record(build_alerts(settings, 5))
        worker = SinkWorker(sink, outbox)
        assert [worker.step(time.time()) for _ in range(3)] == [True, False, False]
        assert worker.step(time.time() + 1001)
    (line,) = [one.message for one in caplog.records]
    assert line.startswith("alerts: sink hook: http://127.0.0.1:9: can't be reached")


def test_a_line_that_a_kill_cut_short_spoils_no_other(tmp_path: Path) -> None:
    settings = build_settings(tmp_path, file_sink(tmp_path))
    (tmp_path / "log.jsonl").write_text('{"data": {"aler')
    record(settings)
    assert send_pending(settings, timeout_s=PATIENCE_S).num_delivered == 1
    broken, whole = (tmp_path / "log.jsonl").read_text().splitlines()
    assert broken == '{"data": {"aler'
    assert whole.startswith('{"type": "melanoma.alerts"')


def test_a_file_that_can_t_be_written_is_tried_again_and_says_why(tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").mkdir()
    sink = file_sink(tmp_path, retry_first_s=0.05, retry_longest_s=0.1)
    settings = build_settings(tmp_path, sink)
    record(settings)
    assert send_pending(settings, timeout_s=0.3).num_waiting == 1
    with Outbox(settings.outbox) as outbox:
        assert "Is a directory" in (outbox.statuses()[0].deliveries[0].outcome or "")
    (tmp_path / "log.jsonl").rmdir()
    assert send_pending(settings, timeout_s=PATIENCE_S).num_delivered == 1


def test_an_outbox_that_is_damaged_while_sending_stops_it_with_one_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = build_settings(tmp_path, file_sink(tmp_path))
    record(settings)
    is_over, errors = threading.Event(), []

    def run() -> None:
        try:
            send_forever(settings, is_over)
        except AlertError as error:
            errors.append(str(error))

    sender = threading.Thread(target=run)
    sender.start()
    with Outbox(settings.outbox) as outbox:
        wait_until(lambda: ("log", "delivered") in outbox.count_deliveries())
        outbox._db.execute("DROP TABLE deliveries")
    sender.join(PATIENCE_S)
    assert not sender.is_alive()
    assert errors
    assert "no such table: deliveries" in errors[0]
    assert "alerts: sending stopped" in caplog.text
