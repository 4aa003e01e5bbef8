"""The file of an outbox: its tables, how it is opened, and transactions that are on the disk when they return."""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from melanoma_ray.alerts.disk import check_file_system
from melanoma_ray.errors import AlertError

_FORMAT = 2
_BUSY_S = 30.0
"""Longest time to wait for another process that is writing, seconds."""
_TABLES = """
CREATE TABLE IF NOT EXISTS alerts (
    alert_id TEXT PRIMARY KEY,
    created_at REAL NOT NULL,
    is_urgent INTEGER NOT NULL,
    body TEXT NOT NULL,
    images TEXT NOT NULL,
    escalate_to TEXT NOT NULL,
    escalate_at REAL,
    acknowledged_at REAL,
    acknowledged_by TEXT
) STRICT;
CREATE TABLE IF NOT EXISTS messages (
    key TEXT PRIMARY KEY,
    sink TEXT NOT NULL,
    created_at REAL NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('waiting', 'delivered', 'dead')),
    num_attempts INTEGER NOT NULL DEFAULT 0,
    num_refusals INTEGER NOT NULL DEFAULT 0,
    first_attempt_at REAL,
    due_at REAL NOT NULL,
    ended_at REAL,
    outcome TEXT
) STRICT;
CREATE TABLE IF NOT EXISTS deliveries (
    alert_id TEXT NOT NULL REFERENCES alerts,
    sink TEXT NOT NULL,
    is_escalation INTEGER NOT NULL,
    created_at REAL NOT NULL,
    is_urgent INTEGER NOT NULL,
    message_key TEXT REFERENCES messages,
    PRIMARY KEY (alert_id, sink, is_escalation)
) STRICT;
CREATE TABLE IF NOT EXISTS told (
    rule TEXT NOT NULL,
    image TEXT NOT NULL,
    alert_id TEXT NOT NULL,
    PRIMARY KEY (rule, image)
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS told_by_alert ON told (alert_id);
CREATE INDEX IF NOT EXISTS unsent ON deliveries (sink, is_urgent, created_at) WHERE message_key IS NULL;
CREATE INDEX IF NOT EXISTS by_message ON deliveries (message_key);
CREATE INDEX IF NOT EXISTS due ON messages (sink, due_at) WHERE state = 'waiting';
CREATE INDEX IF NOT EXISTS overdue ON alerts (escalate_at) WHERE escalate_at IS NOT NULL;
"""


def _make_file(path: str) -> None:
    """Make an empty file that only its owner may read, unless there is one; it holds what is said of patients.

    The file itself is never opened here. The system drops a process's locks on a file whenever the process closes any
    handle of it, those of SQLite's other connections too (https://sqlite.org/howtocorrupt.html, 2.2).
    """
    if not Path(path).exists():
        handle, name = tempfile.mkstemp(dir=Path(path).parent, prefix=".outbox-")
        os.close(handle)
        try:
            with contextlib.suppress(FileExistsError):
                Path(path).hardlink_to(name)
        finally:
            Path(name).unlink()
    if Path(path).is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
    if not os.access(path, os.R_OK | os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)


class OutboxFile:
    """One SQLite file, open in one thread; any number of processes may have it open."""

    def __init__(self, path: str) -> None:
        """Open the file, and make it if there is none.

        Raises:
            AlertError: It can't be used, or lies on a network file system.
        """
        self.path = str(Path(path).expanduser().absolute())
        check_file_system(self.path)
        try:
            Path(self.path).parent.mkdir(parents=True, exist_ok=True)
            _make_file(self.path)
        except OSError as error:
            msg = f"outbox {self.path}: {error.strerror}; give a file that you may write, on a disk of this machine"
            raise AlertError(msg) from error
        with self._explained():
            self._db = sqlite3.connect(self.path, timeout=_BUSY_S, isolation_level=None)
            self._db.row_factory = sqlite3.Row
            self._prepare()

    def _prepare(self) -> None:
        mode = self._switch_to_wal()
        if mode != "wal":
            msg = f"outbox {self.path}: this disk doesn't allow SQLite's WAL ({mode}); give a file on a local disk"
            raise AlertError(msg)
        self._db.execute("PRAGMA synchronous=FULL")
        self._db.execute("PRAGMA foreign_keys=ON")
        self._db.execute("PRAGMA secure_delete=ON")  # what is forgotten is overwritten
        (found,) = self._db.execute("PRAGMA user_version").fetchone()
        if found > _FORMAT:
            msg = f"outbox {self.path}: has format {found}, newer than {_FORMAT}; use a newer melanoma_ray"
            raise AlertError(msg)
        if found < _FORMAT:
            self._db.executescript(f"BEGIN IMMEDIATE; {_TABLES} PRAGMA user_version={_FORMAT}; COMMIT;")

    def _switch_to_wal(self) -> str:
        """Return the journal's mode; the one switch that SQLite's own timeout doesn't wait for is waited for here."""
        deadline = time.monotonic() + _BUSY_S
        while True:
            try:
                return str(self._db.execute("PRAGMA journal_mode=WAL").fetchone()[0])
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() >= deadline:
                    raise
                time.sleep(0.02)

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            msg = (
                f"outbox {self.path}: {error}; nothing of it was changed by this; check the disk, or give another file"
            )
            raise AlertError(msg) from error

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """Do all of a block or nothing; on the disk when it ends."""
        with self._explained():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")
