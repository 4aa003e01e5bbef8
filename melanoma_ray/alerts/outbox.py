"""The outbox: alerts, deliveries and messages in one SQLite file, written before anything is sent.

    alerts      what a person must be told; acknowledged or not
    deliveries  an alert × a sink: who must get it; its message, once there is one
    messages    what is sent in one piece to one sink, an alert or a digest, under one idempotency key
    told        an image × a rule: which alert was about it, so that none is about it again; as a hash

A message is ``waiting`` until its sink has confirmed it (``delivered``) or it is given up (``dead``). It gets its key
before the first attempt and keeps it through all others, so whatever arrives twice has the same key. Each change is one
transaction, on the disk when it returns (WAL, ``synchronous=FULL``).

Where the file may lie: SQLite's WAL needs shared memory and POSIX locks, so a disk of this machine (ext4, xfs, btrfs,
zfs; also on an attached block device, such as EBS or a ReadWriteOnce volume of Kubernetes). Network file systems are
refused; a tmpfs or a container's own layer works and is lost with the machine or container.
"""

from __future__ import annotations

import json
import sqlite3
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from melanoma_ray.alerts.database import OutboxFile
from melanoma_ray.alerts.rules import Alert
from melanoma_ray.errors import AlertError

State = Literal["waiting", "delivered", "dead"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Message:
    """What one sink gets in one piece."""

    key: str
    """Idempotency key: the same in each attempt."""
    sink: str
    alerts: tuple[Mapping[str, Any], ...]
    """Bodies of its alerts, one or more, each with ``is_escalation``."""
    num_attempts: int = 0
    """Attempts made before."""
    num_refusals: int = 0
    """How many of them the sink refused."""
    first_attempt_at: float | None = None
    """Time of the first attempt, seconds since 1970; none: there was none."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DeliveryStatus:
    """Where an alert stands with one sink."""

    sink: str
    is_escalation: bool
    state: State
    num_attempts: int
    outcome: str | None
    """What the sink said last; none: nothing was sent yet."""
    key: str | None
    """Idempotency key of its message; none: it waits for its digest or the end of the quiet hours."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AlertStatus:
    """An alert, where it stands with its sinks, and who has acknowledged it."""

    alert_id: str
    created_at: float
    body: Mapping[str, Any]
    images: tuple[str, ...]
    """Paths or ids of its images."""
    acknowledged_at: float | None
    acknowledged_by: str | None
    deliveries: tuple[DeliveryStatus, ...]

    @property
    def is_dead(self) -> bool:
        """Return whether a sink was given up for it."""
        return any(one.state == "dead" for one in self.deliveries)


class Outbox(OutboxFile):
    """The alerts in one file, open in one thread; any number of processes may have it open."""

    def record(self, alerts: Sequence[Alert]) -> int:
        """Keep alerts and who must get them, all or none; return how many are new.

        What an earlier alert of the same rule was about, for the same reason, is left out of a new one, however the
        images were grouped then; an alert of which nothing is left isn't made. So recording may be repeated.

        Raises:
            AlertError: They can't be written.
        """
        with self._transaction() as db:
            return sum(self._insert(db, alert) for alert in alerts)

    def _insert(self, db: sqlite3.Connection, given: Alert) -> bool:
        told = {
            part.key
            for part in given.parts
            if db.execute("SELECT 1 FROM told WHERE rule = ? AND image = ?", (given.rule, part.key)).fetchone()
        }
        alert = given.without(told)
        if alert is None:
            return False
        alert_id = alert.alert_id
        done = db.execute(
            "INSERT INTO alerts (alert_id, created_at, is_urgent, body, images, escalate_to, escalate_at)"
            " VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",  # of an outbox that had no table of what was told
            (
                alert_id,
                alert.created_at,
                alert.is_urgent,
                json.dumps(alert.body, ensure_ascii=False, allow_nan=False),
                json.dumps(alert.images, ensure_ascii=False),
                json.dumps(alert.escalate_to),
                alert.acknowledge_by,
            ),
        )
        db.executemany(
            "INSERT INTO told (rule, image, alert_id) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
            [(alert.rule, part.key, alert_id) for part in alert.parts],
        )
        if done.rowcount:
            _insert_deliveries(db, [(alert_id, sink, 0, alert.created_at, alert.is_urgent) for sink in alert.sinks])
        return bool(done.rowcount)

    def escalate(self, now: float) -> list[str]:
        """Add deliveries for alerts that nobody has acknowledged in time; return the alerts' ids."""
        with self._explained():
            overdue = "FROM alerts WHERE escalate_at <= ? AND acknowledged_at IS NULL"
            if self._db.execute(f"SELECT 1 {overdue}", (now,)).fetchone() is None:
                return []
        with self._transaction() as db:
            rows = db.execute(f"SELECT alert_id, escalate_to {overdue}", (now,)).fetchall()
            for row in rows:
                _insert_deliveries(db, [(row["alert_id"], sink, 1, now, 1) for sink in json.loads(row["escalate_to"])])
                db.execute("UPDATE alerts SET escalate_at = NULL WHERE alert_id = ?", (row["alert_id"],))
        return [row["alert_id"] for row in rows]

    def pack(self, sink: str, now: float, *, max_alerts: int, older_than: float | None) -> int:
        """Put deliveries that may leave into messages, each with its key; return the number of messages.

        Args:
            sink: Name of the sink.
            now: Time, seconds since 1970.
            max_alerts: Most alerts of one message.
            older_than: The digest leaves when its oldest alert is at least as old as this moment; none: quiet hours, so
                only what is urgent leaves.
        """
        with self._explained():
            if not self._leaving(sink, older_than):  # the usual case, which waits for no other process
                return 0
        with self._transaction() as db:
            leaving = self._leaving(sink, older_than)
            groups = [leaving[start : start + max_alerts] for start in range(0, len(leaving), max_alerts)]
            for group in groups:
                key = uuid.uuid4().hex
                db.execute(
                    "INSERT INTO messages (key, sink, created_at, state, due_at) VALUES (?, ?, ?, 'waiting', ?)",
                    (key, sink, now, now),
                )
                db.executemany(
                    "UPDATE deliveries SET message_key = ? WHERE alert_id = ? AND sink = ? AND is_escalation = ?",
                    [(key, row["alert_id"], sink, row["is_escalation"]) for row in group],
                )
        return len(groups)

    def _leaving(self, sink: str, older_than: float | None) -> list[sqlite3.Row]:
        """Return the deliveries to a sink that have no message and needn't wait, oldest first."""
        (oldest,) = self._db.execute(
            "SELECT min(created_at) FROM deliveries WHERE sink = ? AND message_key IS NULL", (sink,)
        ).fetchone()
        is_ready = older_than is not None and oldest is not None and oldest <= older_than
        return self._db.execute(
            "SELECT alert_id, is_escalation FROM deliveries"
            " WHERE sink = ? AND message_key IS NULL AND (is_urgent OR ?) ORDER BY created_at, rowid",
            (sink, is_ready),
        ).fetchall()

    def next_due(self, sink: str, now: float) -> Message | None:
        """Return the message that has been due for longest at a sink; none: none is due."""
        with self._explained():
            row = self._db.execute(
                "SELECT * FROM messages WHERE sink = ? AND state = 'waiting' AND due_at <= ? ORDER BY due_at LIMIT 1",
                (sink, now),
            ).fetchone()
            if row is None:
                return None
            alerts = self._db.execute(
                "SELECT body, is_escalation FROM deliveries JOIN alerts USING (alert_id) WHERE message_key = ?"
                " ORDER BY deliveries.created_at, deliveries.rowid",
                (row["key"],),
            ).fetchall()
        return Message(
            key=row["key"],
            sink=sink,
            alerts=tuple(json.loads(one["body"]) | {"is_escalation": bool(one["is_escalation"])} for one in alerts),
            num_attempts=row["num_attempts"],
            num_refusals=row["num_refusals"],
            first_attempt_at=row["first_attempt_at"],
        )

    def confirm(self, key: str, now: float, outcome: str) -> None:
        """Note that a sink has confirmed a message: only then is it delivered."""
        with self._transaction() as db:
            db.execute(
                "UPDATE messages SET state = 'delivered', num_attempts = num_attempts + 1, outcome = ?, ended_at = ?,"
                " first_attempt_at = coalesce(first_attempt_at, ?) WHERE key = ?",
                (outcome, now, now, key),
            )

    def postpone(self, key: str, now: float, outcome: str, *, due_at: float, is_refusal: bool) -> None:
        """Note that an attempt failed, and when the next one is due."""
        with self._transaction() as db:
            self._note_failure(db, key, now, outcome, is_refusal=is_refusal)
            db.execute("UPDATE messages SET due_at = ? WHERE key = ?", (due_at, key))

    def bury(self, key: str, now: float, outcome: str, *, is_refusal: bool) -> None:
        """Note that a message is given up; those of its alerts that escalate do so at once."""
        with self._transaction() as db:
            self._note_failure(db, key, now, outcome, is_refusal=is_refusal)
            db.execute("UPDATE messages SET state = 'dead', ended_at = ? WHERE key = ?", (now, key))
            db.execute(
                "UPDATE alerts SET escalate_at = min(escalate_at, ?) WHERE escalate_at IS NOT NULL AND alert_id IN"
                " (SELECT alert_id FROM deliveries WHERE message_key = ?)",
                (now, key),
            )

    def _note_failure(self, db: sqlite3.Connection, key: str, now: float, outcome: str, *, is_refusal: bool) -> None:
        db.execute(
            "UPDATE messages SET num_attempts = num_attempts + 1, num_refusals = num_refusals + ?, outcome = ?,"
            " first_attempt_at = coalesce(first_attempt_at, ?) WHERE key = ?",
            (int(is_refusal), outcome, now, key),
        )

    def resend(self, alert_ids: Sequence[str], now: float) -> int:
        """Send the messages of some alerts again, under the keys they had; return the number of messages."""
        with self._transaction() as db:
            return sum(
                db.execute(
                    "UPDATE messages SET state = 'waiting', due_at = ?, num_attempts = 0, num_refusals = 0,"
                    " first_attempt_at = NULL, ended_at = NULL"
                    " WHERE key IN (SELECT message_key FROM deliveries WHERE alert_id = ?) AND state != 'waiting'",
                    (now, alert_id),
                ).rowcount
                for alert_id in alert_ids
            )

    def acknowledge(self, alert_ids: Sequence[str], by: str, now: float) -> int:
        """Note who has seen alerts, which ends their escalation; return how many weren't acknowledged before."""
        with self._transaction() as db:
            return sum(
                db.execute(
                    "UPDATE alerts SET acknowledged_at = ?, acknowledged_by = ?, escalate_at = NULL"
                    " WHERE alert_id = ? AND acknowledged_at IS NULL",
                    (now, by, alert_id),
                ).rowcount
                for alert_id in alert_ids
            )

    def forget(self, before: float) -> int:
        """Delete what was acknowledged before a moment and waits for no sink; return the number of alerts.

        A forgotten alert is made again if its images are predicted again.

        Args:
            before: The moment, seconds since 1970.
        """
        with self._transaction() as db:
            ids = db.execute(
                "SELECT alert_id FROM alerts WHERE acknowledged_at < ? AND NOT EXISTS (SELECT 1 FROM deliveries d"
                " LEFT JOIN messages m ON m.key = d.message_key"
                " WHERE d.alert_id = alerts.alert_id AND coalesce(m.state, 'waiting') = 'waiting')",
                (before,),
            ).fetchall()
            db.executemany("DELETE FROM deliveries WHERE alert_id = ?", ids)
            db.executemany("DELETE FROM told WHERE alert_id = ?", ids)
            db.executemany("DELETE FROM alerts WHERE alert_id = ?", ids)
            db.execute(
                "DELETE FROM messages WHERE key NOT IN (SELECT message_key FROM deliveries WHERE message_key > '')"
            )
        with self._explained():
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # no copy of what was deleted stays in the log
        return len(ids)

    def find(self, beginning: str) -> str:
        """Return the id of the alert whose id begins like this.

        Raises:
            AlertError: No alert's does, or several do.
        """
        with self._explained():
            rows = self._db.execute(
                "SELECT alert_id FROM alerts WHERE substr(alert_id, 1, ?) = ? LIMIT 2", (len(beginning), beginning)
            ).fetchall()
        if len(rows) != 1 or not beginning:
            what = "several alerts begin" if rows else "no alert begins"
            msg = f"alert {beginning!r}: {what} like this; the list has their ids"
            raise AlertError(msg)
        return str(rows[0]["alert_id"])

    def statuses(self, alert_ids: Sequence[str] | None = None) -> list[AlertStatus]:
        """Return alerts and where they stand, newest first.

        Args:
            alert_ids: The alerts; none: all.
        """
        with self._explained():
            self._db.execute("BEGIN")  # one moment for both tables
            try:
                alerts = self._db.execute("SELECT * FROM alerts ORDER BY created_at DESC, alert_id").fetchall()
                rows = self._db.execute(
                    "SELECT d.*, m.state, m.num_attempts, m.outcome FROM deliveries d"
                    " LEFT JOIN messages m ON m.key = d.message_key ORDER BY d.is_escalation, d.sink"
                ).fetchall()
            finally:
                self._db.execute("COMMIT")
        deliveries: dict[str, list[DeliveryStatus]] = {}
        for row in rows:
            deliveries.setdefault(row["alert_id"], []).append(_delivery_of(row))
        return [
            _status_of(row, deliveries.get(row["alert_id"], []))
            for row in alerts
            if alert_ids is None or row["alert_id"] in alert_ids
        ]

    def count_sendable(self, sinks: Sequence[str]) -> int:
        """Return the number of deliveries to these sinks that are in a message which waits."""
        with self._explained():
            rows = self._db.execute(
                "SELECT d.sink, count(*) AS number FROM deliveries d JOIN messages m ON m.key = d.message_key"
                " WHERE m.state = 'waiting' GROUP BY 1"
            ).fetchall()
        return sum(row["number"] for row in rows if row["sink"] in sinks)

    def count_given_up(self) -> int:
        """Return the number of deliveries in dead letters, of alerts that nobody has acknowledged."""
        with self._explained():
            (number,) = self._db.execute(
                "SELECT count(*) FROM deliveries d"
                " JOIN messages m ON m.key = d.message_key JOIN alerts USING (alert_id) WHERE m.state = 'dead'"
                " AND acknowledged_at IS NULL"
            ).fetchone()
        return int(number)

    def count_deliveries(self) -> dict[tuple[str, State], int]:
        """Return the number of deliveries by sink and state."""
        with self._explained():
            rows = self._db.execute(
                "SELECT d.sink, coalesce(m.state, 'waiting') AS state, count(*) AS number FROM deliveries d"
                " LEFT JOIN messages m ON m.key = d.message_key GROUP BY 1, 2"
            ).fetchall()
        return {(row["sink"], row["state"]): row["number"] for row in rows}


def _insert_deliveries(db: sqlite3.Connection, rows: Sequence[tuple[str, str, int, float, int]]) -> None:
    db.executemany(
        "INSERT INTO deliveries (alert_id, sink, is_escalation, created_at, is_urgent) VALUES (?, ?, ?, ?, ?)"
        " ON CONFLICT DO NOTHING",
        rows,
    )


def _delivery_of(row: sqlite3.Row) -> DeliveryStatus:
    return DeliveryStatus(
        sink=row["sink"],
        is_escalation=bool(row["is_escalation"]),
        state=row["state"] or "waiting",
        num_attempts=row["num_attempts"] or 0,
        outcome=row["outcome"],
        key=row["message_key"],
    )


def _status_of(row: sqlite3.Row, deliveries: Sequence[DeliveryStatus]) -> AlertStatus:
    return AlertStatus(
        alert_id=row["alert_id"],
        created_at=row["created_at"],
        body=json.loads(row["body"]),
        images=tuple(json.loads(row["images"])),
        acknowledged_at=row["acknowledged_at"],
        acknowledged_by=row["acknowledged_by"],
        deliveries=tuple(deliveries),
    )
