"""The outbox keeps what it has been given, and nothing becomes delivered but by a confirmation."""

from __future__ import annotations

import sqlite3
import stat
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from melanoma_ray.alerts.disk import check_file_system, file_system_of
from melanoma_ray.alerts.outbox import Message, Outbox
from melanoma_ray.alerts.rules import Answer, make_alerts
from melanoma_ray.alerts.settings import AlertSettings, FileSink, Rule
from melanoma_ray.errors import AlertError
from tests.unit.alerts.samples import NOW, ORIGIN, build_alerts, build_answer, build_settings

LOG, CHIEF = (FileSink(name=name, kind="file", path="/none") for name in ("log", "chief"))
RULE = Rule(name="melanoma", sinks=("log",), acknowledge_within_minutes=10, escalate_to=("chief",))


@pytest.fixture
def settings(tmp_path: Path) -> AlertSettings:
    return build_settings(tmp_path, LOG, CHIEF, rules=(RULE,))


@pytest.fixture
def outbox(settings: AlertSettings) -> Iterator[Outbox]:
    with Outbox(settings.outbox) as one:
        yield one


def pack(outbox: Outbox, sink: str = "log", now: float = NOW, max_alerts: int = 1) -> Message:
    outbox.pack(sink, now, max_alerts=max_alerts, older_than=now)
    message = outbox.next_due(sink, now)
    assert message is not None
    return message


def test_a_new_outbox_may_be_opened_by_many_at_once(tmp_path: Path) -> None:
    settings = build_settings(tmp_path, LOG)

    def work(number: int) -> int:
        with Outbox(settings.outbox) as one:
            return one.record(build_alerts(settings, number))

    with ThreadPoolExecutor(16) as pool:
        assert sum(pool.map(work, range(16))) == 15


def test_recorded_twice_an_alert_is_one(outbox: Outbox, settings: AlertSettings) -> None:
    alerts = build_alerts(settings, 3)
    assert outbox.record(alerts) == 3
    assert outbox.record(build_alerts(settings, 4, now=NOW + 99)) == 1
    assert outbox.count_deliveries() == {("log", "waiting"): 4}


def test_an_image_that_was_told_of_isn_t_told_again_however_images_are_grouped(
    outbox: Outbox, settings: AlertSettings
) -> None:
    """A process that was killed, or another command, meets the images of a patient in other groups."""
    first, second, third = (build_answer(path=f"/images/{n}.jpg", image_id=str(n), patient_id="P") for n in range(3))

    def record(*answers: Answer) -> list[tuple[str, ...]]:
        before = {one.alert_id for one in outbox.statuses()}
        outbox.record(make_alerts(settings, answers, ORIGIN, now=NOW, fingerprint=lambda one: str(one.path)))
        return [one.images for one in outbox.statuses() if one.alert_id not in before]

    assert record(first) == [("/images/0.jpg",)]
    assert record(first, second) == [("/images/1.jpg",)]
    assert record(second, first) == []
    assert record(third, second, first) == [("/images/2.jpg",)]
    (newest, *_) = (one for one in outbox.statuses() if one.images == ("/images/2.jpg",))
    assert newest.body["num_images"] == 1
    unreadable = replace(first, decision=None, melanoma_probability=None, error="truncated")
    assert record(unreadable) == [("/images/0.jpg",)]  # another reason is news


def test_an_outbox_of_an_earlier_format_goes_on(tmp_path: Path, settings: AlertSettings) -> None:
    with Outbox(settings.outbox) as outbox:
        outbox.record(build_alerts(settings, 1))
    with sqlite3.connect(settings.outbox) as db:
        db.executescript("DROP TABLE told; PRAGMA user_version=1;")
    with Outbox(settings.outbox) as outbox:
        assert outbox.record(build_alerts(settings, 2)) == 1
        assert len(outbox.statuses()) == 2


def test_of_alerts_that_can_t_all_be_written_none_is(outbox: Outbox, settings: AlertSettings) -> None:
    alerts = build_alerts(settings, 2)
    part = alerts[1].parts[0]
    broken = replace(part, said={**part.said, "decision_threshold": float("nan")})
    alerts[1] = replace(alerts[1], parts=(broken,))
    with pytest.raises(ValueError, match="not JSON compliant"):
        outbox.record(alerts)
    assert outbox.statuses() == []


def test_a_message_keeps_its_key_and_its_content_in_every_attempt(outbox: Outbox, settings: AlertSettings) -> None:
    outbox.record(build_alerts(settings))
    first = pack(outbox)
    outbox.postpone(first.key, NOW, "503", due_at=NOW + 5, is_refusal=False)
    assert outbox.next_due("log", NOW + 4) is None
    with Outbox(settings.outbox) as other:
        second = other.next_due("log", NOW + 5)
    assert second is not None
    assert (second.key, second.alerts, second.num_attempts) == (first.key, first.alerts, 1)


def test_a_digest_has_at_most_so_many_alerts(outbox: Outbox, settings: AlertSettings) -> None:
    outbox.record(build_alerts(settings, 7))
    sizes = []
    outbox.pack("log", NOW, max_alerts=3, older_than=NOW)
    while (message := outbox.next_due("log", NOW)) is not None:
        sizes.append(len(message.alerts))
        outbox.confirm(message.key, NOW, "ok")
    assert sorted(sizes) == [1, 3, 3]
    assert outbox.count_deliveries() == {("log", "delivered"): 7}


def test_processes_that_pack_at_the_same_time_put_each_delivery_into_one_message(settings: AlertSettings) -> None:
    with Outbox(settings.outbox) as outbox:
        outbox.record(build_alerts(settings, 200))

    def work(max_alerts: int) -> int:
        with Outbox(settings.outbox) as one:
            return one.pack("log", NOW, max_alerts=max_alerts, older_than=NOW)

    with ThreadPoolExecutor(8) as pool:
        num_messages = sum(pool.map(work, range(1, 9)))
    with Outbox(settings.outbox) as outbox:
        keys = Counter(delivery.key for one in outbox.statuses() for delivery in one.deliveries)
    assert None not in keys
    assert (len(keys), sum(keys.values())) == (num_messages, 200)


def test_a_digest_waits_until_its_oldest_alert_is_old_enough(outbox: Outbox, settings: AlertSettings) -> None:
    outbox.record(build_alerts(settings, 1))
    outbox.record(build_alerts(settings, 2, now=NOW + 50))
    assert outbox.pack("log", NOW + 59, max_alerts=9, older_than=NOW + 59 - 60) == 0
    assert outbox.pack("log", NOW + 60, max_alerts=9, older_than=NOW) == 1
    message = outbox.next_due("log", NOW + 60)
    assert message is not None
    assert len(message.alerts) == 2


def test_in_quiet_hours_only_what_is_urgent_leaves(tmp_path: Path) -> None:
    rules = (Rule(name="calm", sinks=("log",)), Rule(name="now", sinks=("log",), urgent=True))
    settings = build_settings(tmp_path, LOG, rules=rules)
    with Outbox(settings.outbox) as outbox:
        outbox.record(build_alerts(settings, 2))
        assert outbox.pack("log", NOW, max_alerts=9, older_than=None) == 1
        message = outbox.next_due("log", NOW)
        assert message is not None
        assert [one["rule"] for one in message.alerts] == ["now", "now"]


def test_an_alert_that_nobody_acknowledges_goes_to_the_next_sink_once(outbox: Outbox, settings: AlertSettings) -> None:
    (alert,) = build_alerts(settings)
    outbox.record([alert])
    assert outbox.escalate(NOW + 599) == []
    assert outbox.escalate(NOW + 600) == [alert.alert_id]
    assert outbox.escalate(NOW + 9999) == []
    message = pack(outbox, "chief", NOW + 600)
    assert message.alerts[0]["is_escalation"]


def test_an_alert_that_somebody_has_acknowledged_does_not(outbox: Outbox, settings: AlertSettings) -> None:
    (alert,) = build_alerts(settings)
    outbox.record([alert])
    assert outbox.acknowledge([alert.alert_id], "dr. who", NOW) == 1
    assert outbox.acknowledge([alert.alert_id], "another", NOW) == 0
    assert outbox.escalate(NOW + 600) == []
    assert outbox.statuses()[0].acknowledged_by == "dr. who"


def test_an_alert_whose_message_is_given_up_escalates_at_once(outbox: Outbox, settings: AlertSettings) -> None:
    (alert,) = build_alerts(settings)
    outbox.record([alert])
    outbox.bury(pack(outbox).key, NOW + 1, "404", is_refusal=True)
    assert outbox.escalate(NOW + 1) == [alert.alert_id]
    assert outbox.statuses()[0].is_dead


def test_a_dead_letter_is_sent_again_under_its_key(outbox: Outbox, settings: AlertSettings) -> None:
    (alert,) = build_alerts(settings)
    outbox.record([alert])
    first = pack(outbox)
    outbox.bury(first.key, NOW, "404", is_refusal=True)
    assert outbox.next_due("log", NOW + 9999) is None
    assert outbox.resend([outbox.find(alert.alert_id[:8])], NOW) == 1
    again = outbox.next_due("log", NOW)
    assert again is not None
    assert (again.key, again.num_refusals) == (first.key, 0)


def test_only_what_was_acknowledged_long_ago_and_waits_for_nobody_is_forgotten(
    outbox: Outbox, settings: AlertSettings
) -> None:
    alerts = build_alerts(settings, 4)
    old, new, waiting, unseen = (one.alert_id for one in alerts)
    outbox.record([one for one in alerts if one.alert_id != waiting])
    outbox.pack("log", NOW, max_alerts=2, older_than=NOW)
    while (message := outbox.next_due("log", NOW)) is not None:
        outbox.confirm(message.key, NOW, "ok")
    outbox.record(alerts)
    outbox.acknowledge([old, waiting], "dr. who", NOW + 1)
    outbox.acknowledge([new], "dr. who", NOW + 100)
    assert outbox.forget(NOW + 50) == 1
    assert {one.alert_id for one in outbox.statuses()} == {new, waiting, unseen}
    assert outbox.count_deliveries() == {("log", "delivered"): 2, ("log", "waiting"): 1}
    outbox.acknowledge([unseen], "dr. who", NOW)
    assert outbox.forget(NOW + 101) == 2
    (num_messages,) = outbox._db.execute("SELECT count(*) FROM messages").fetchone()
    assert num_messages == 0


def test_what_is_forgotten_is_not_in_the_file_any_more(outbox: Outbox, settings: AlertSettings) -> None:
    (alert,) = build_alerts(settings)
    outbox.record([alert])
    outbox.confirm(pack(outbox).key, NOW, "ok")
    outbox.acknowledge([alert.alert_id], "dr. who", NOW)
    outbox.forget(NOW + 1)
    files = list(Path(outbox.path).parent.glob("outbox.db*"))
    assert not [file for file in files if b"/images/0.jpg" in file.read_bytes()]


def test_the_beginning_of_an_id_finds_one_alert_or_says_why_not(outbox: Outbox, settings: AlertSettings) -> None:
    outbox.record(build_alerts(settings, 40))
    with pytest.raises(AlertError, match="alert 'zz': no alert begins like this"):
        outbox.find("zz")
    with pytest.raises(AlertError, match="alert '': several alerts begin like this"):
        outbox.find("")


def test_only_the_owner_reads_the_outbox(outbox: Outbox) -> None:
    assert stat.S_IMODE(Path(outbox.path).stat().st_mode) == 0o600


def test_the_disk_has_what_was_recorded_when_record_returns(outbox: Outbox) -> None:
    assert outbox._db.execute("PRAGMA synchronous").fetchone()[0] == 2  # FULL
    assert outbox._db.execute("PRAGMA journal_mode").fetchone()[0] == "wal"


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        (lambda file: file.write_bytes(b"no database at all" * 100), "file is not a database"),
        (lambda file: file.mkdir(), "Is a directory"),
        (lambda file: sqlite3.connect(file).execute("PRAGMA user_version=99"), "has format 99, newer than 2"),
    ],
)
def test_a_file_that_is_no_outbox_is_one_clear_line(tmp_path: Path, prepare: object, message: str) -> None:
    file = tmp_path / "outbox.db"
    assert callable(prepare)
    prepare(file)
    with pytest.raises(AlertError, match=message) as caught:
        Outbox(str(file))
    assert "\n" not in str(caught.value)
    assert str(file) in str(caught.value)


MOUNTS = """overlay / overlay rw 0 0
/dev/nvme1n1 /data ext4 rw 0 0
store:/a /data/shared nfs4 rw 0 0
//nas/b /mnt/with\\040space cifs rw 0 0
s3fs /bucket fuse.s3fs rw 0 0
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/data/outbox.db", "ext4"),
        ("/data/shared/outbox.db", "nfs4"),
        ("/data/sharedness/outbox.db", "ext4"),
        ("/mnt/with space/outbox.db", "cifs"),
        ("/bucket/outbox.db", "fuse.s3fs"),
        ("/var/outbox.db", "overlay"),
    ],
)
def test_the_file_system_of_a_file_is_known(path: str, kind: str) -> None:
    assert file_system_of(path, MOUNTS) == kind


@pytest.mark.parametrize(("path", "is_refused"), [("/data/shared/x", True), ("/bucket/x", True), ("/data/x", False)])
def test_a_network_file_system_is_refused(
    path: str,
    is_refused: bool,  # noqa: FBT001
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("melanoma_ray.alerts.disk._read_mounts", lambda: MOUNTS)
    if not is_refused:
        check_file_system(path)
        return
    with pytest.raises(AlertError, match="a network file system; give a file on a disk of this machine"):
        check_file_system(path)


OPEN_AND_CLOSE = """
import sys
from melanoma_ray.alerts.outbox import Outbox
with Outbox(sys.argv[1]) as outbox:
    outbox.statuses()
"""


def test_a_second_opening_in_a_process_doesn_t_take_the_lock_from_the_first(tmp_path: Path) -> None:
    """Another process that closes last would else tidy the write-ahead log away under the first one's feet."""
    path = str(tmp_path / "outbox.db")
    with Outbox(path) as first:
        assert first.statuses() == []
        with Outbox(path) as second:
            second.statuses()
        subprocess.run([sys.executable, "-c", OPEN_AND_CLOSE, path], check=True, timeout=60)
        assert (tmp_path / "outbox.db-wal").exists()
        assert first.statuses() == []
        assert first.count_deliveries() == {}
