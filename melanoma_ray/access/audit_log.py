"""The audit log: who was told what about which image, in lines of which none can be changed or taken out unseen.

Each line ends with the SHA-256 of what stands before it, which includes the hash of the line before: a changed, removed
or inserted line breaks the chain at its place. Each line also has its number in its file, so that lines cut off the
beginning of the oldest file show, while whole files may be archived. That the last lines are missing is seen by whoever
knows a later hash, which is why the command that checks the log prints the newest one. Lines are appended under a lock
of the operating system, so all processes of a machine write one chain. An image is named by its SHA-256 alone, and no
file name is kept.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from melanoma_ray.errors import DataError, StorageError
from melanoma_ray.storage import absolute, explain

GENESIS = "0" * 64
"""What the first line of all names as the hash before it."""
_MAX_FILE_BYTES = 64 * 1024 * 1024
"""Size from which a file is full and the next one begun, bytes: some 60,000 lines."""
_LONGEST_LINE = 64 * 1024
_FIRST_FILE = "audit-000001.jsonl"
_NAME = re.compile(r"audit-([0-9]{6})\.jsonl")
_HASH = re.compile(rb',"hash":"([0-9a-f]{64})"\}')


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """One line of the log."""

    sequence: int
    """Number of the line over all files, from 1."""
    hash: str
    """SHA-256 that ends it, hexadecimal."""
    line: int
    """Number of the line in its file, from 1; 0: it isn't told, since an earlier version wrote it."""


_NOWHERE = Place(sequence=0, hash=GENESIS, line=0)


@dataclass(frozen=True, kw_only=True, slots=True)
class AuditSummary:
    """What a check of the whole log found: an unbroken chain from the first line that there is to the last."""

    num_files: int
    first: Place
    """First line; its sequence is more than 1 if older files were taken away."""
    last: Place
    """Newest line: note its hash elsewhere, and a later check can tell whether the log still has it."""
    began_at: str
    """Time of the first line, ISO 8601."""
    ended_at: str
    """Time of the last line, ISO 8601."""


class AuditLog:
    """Appends to the log in a folder. For one thread; several processes of one machine may have the same folder."""

    def __init__(self, folder: str, *, max_file_bytes: int = _MAX_FILE_BYTES) -> None:
        """Make the folder if it isn't there, readable for its owner only.

        Args:
            folder: Folder of the log and of nothing else, on a local disk; ~ is the home.
            max_file_bytes: Size from which the next file is begun, bytes.

        Raises:
            StorageError: It can't be written, or what is there is no log.
        """
        self._folder, self._max_file_bytes = Path(absolute(folder)), max_file_bytes
        self._file, self._last, self._num_bytes, self._num_lines = -1, _NOWHERE, 0, 0
        self._path, self._lock_path, self._lock = self._folder / _FIRST_FILE, self._folder / ".lock", -1
        with self._explained():
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with self._explained(), self._alone():
            self._open_newest()

    def check_room(self) -> None:
        """Return if the disk has room for a line.

        Raises:
            StorageError: It hasn't, or the folder is gone.
        """
        with self._explained():
            if shutil.disk_usage(self._folder).free < _LONGEST_LINE:
                msg = f"{self._folder}: the disk is full, so no answer could be written down; free some space"
                raise StorageError(msg)

    def append(self, record: Mapping[str, Any]) -> Place:
        """Write a line, and return its place when it is in the operating system's hands.

        Args:
            record: What to write, as values of JSON; ``sequence``, ``line``, ``previous`` and ``hash`` are added.

        Raises:
            StorageError: It can't be written, or the newest line that this object wrote or found is gone; then the log
                is as it was.
        """
        with self._explained(), self._alone():
            is_full = self._num_bytes >= self._max_file_bytes
            if is_full or os.fstat(self._file).st_size != self._num_bytes or not _is_at(self._path, self._file):
                self._open_newest()
            line, place = _seal(record, self._last, self._num_lines + 1)
            try:
                written = os.write(self._file, line)
                if written != len(line):
                    msg = f"{self._folder}: {written} of {len(line)} bytes were written; free some space"
                    raise StorageError(msg)
            except OSError:
                os.ftruncate(self._file, self._num_bytes)
                raise
            self._num_bytes, self._num_lines, self._last = self._num_bytes + len(line), place.line, place
            return place

    def _open_newest(self) -> None:
        """Go on where any process wrote last; in a new file, if the newest is full.

        The file before is closed only when its successor is open: if that fails, the next line tries it again.
        """
        files = _list_files(self._folder)
        newest = files[-1] if files else self._folder / _FIRST_FILE
        # From the end, and past a file that a killed process began without a whole line.
        last = next((place for file in reversed(files) if (place := _read_last(file)) != _NOWHERE), _NOWHERE)
        if last.sequence < self._last.sequence or (last.sequence == self._last.sequence and last != self._last):
            msg = (
                f"{self._folder}: line {self._last.sequence} of the audit log is gone, though it was there: put back "
                "what was taken away, or start the service anew to go on with what is there"
            )
            raise StorageError(msg)
        if files and newest.stat().st_size >= self._max_file_bytes:
            _sync(newest)
            newest = self._folder / f"audit-{int(newest.stem.removeprefix('audit-')) + 1:06}.jsonl"
        opened = os.open(newest, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
        self._path, before, self._file = newest, self._file, opened
        if before >= 0:
            os.close(before)
        self._num_bytes, self._last = os.fstat(opened).st_size, last
        self._num_lines = (last.line or _count_lines(newest)) if self._num_bytes else 0

    @contextmanager
    def _alone(self) -> Iterator[None]:
        import fcntl  # noqa: PLC0415 - Unix has it, and the service imports this module anywhere

        while True:
            if self._lock < 0:
                self._lock = os.open(self._lock_path, os.O_RDWR | os.O_CREAT, 0o600)
            fcntl.flock(self._lock, fcntl.LOCK_EX)
            if _is_at(self._lock_path, self._lock):
                break
            os.close(self._lock)  # the folder was moved: the processes that begin now lock another file
            self._lock = -1
        try:
            yield
        finally:
            fcntl.flock(self._lock, fcntl.LOCK_UN)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except StorageError:
            raise
        except DataError as error:  # what is there is no log that could go on
            raise StorageError(str(error)) from error
        except OSError as error:
            raise StorageError(explain(error, str(self._folder))) from error


def read_records(folder: str) -> Iterator[dict[str, Any]]:
    """Yield the records of a log, oldest first, and check the chain on the way.

    Raises:
        DataError: There is no log in the folder, or its chain is broken: the message has file and line.
    """
    files = _list_files(Path(absolute(folder)))
    if not files:
        msg = f"{folder}: no audit log; give the folder that jobs.deploy had as --audit-log"
        raise DataError(msg)
    last: Place | None = None
    for file in files:
        with file.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                record, place = _check(line, last, f"{file}, line {number}")
                if last is None:
                    _check_first(record, place, files[0])
                last = place
                yield record


def _check_first(record: Mapping[str, Any], place: Place, oldest: Path) -> None:
    """Refuse a log whose oldest file doesn't begin as a file does; a later one's may be of any line, if it is whole."""
    is_first_file = oldest.name == _FIRST_FILE
    begins_all = place.sequence == 1 and record["previous"] == GENESIS
    # Before lines were numbered in their files, a later file told nothing of its own beginning.
    if begins_all if is_first_file else place.line in {0, 1}:
        return
    which = f"line {place.sequence} of the log" + (f", line {place.line} of its file" if place.line else "")
    msg = f"{oldest}: doesn't begin with its first line, but with {which}: lines were taken off its beginning"
    raise DataError(msg)


def verify(folder: str, head: str | None = None) -> AuditSummary:
    """Return what a log has, once its whole chain was checked.

    Args:
        folder: Folder of the log.
        head: Hash of a line that the log must have, noted at an earlier check; none: there is none.

    Raises:
        DataError: There is no log, its chain is broken, or it doesn't have that line.
    """
    first: dict[str, Any] | None = None
    last: dict[str, Any] = {}
    has_head = head is None
    for last in read_records(folder):  # one at a time: a log may have more lines than fit into memory
        first = first or last
        has_head = has_head or last["hash"] == head
    if first is None:
        msg = f"{folder}: the audit log has no line yet"
        raise DataError(msg)
    if not has_head:
        msg = f"{folder}: no line has the hash {head}: lines were taken off its end, or the log was written anew"
        raise DataError(msg)
    return AuditSummary(
        num_files=len(_list_files(Path(absolute(folder)))),
        first=_place_of(first),
        last=_place_of(last),
        began_at=str(first["time"]),
        ended_at=str(last["time"]),
    )


def _seal(record: Mapping[str, Any], previous: Place, number: int) -> tuple[bytes, Place]:
    """Return a record as a line of this number of its file, chained to the one before, and its place."""
    chained = {"sequence": previous.sequence + 1, "line": number, **record, "previous": previous.hash}
    body = json.dumps(chained, separators=(",", ":"), ensure_ascii=False, allow_nan=False)[:-1].encode()
    digest = hashlib.sha256(body).hexdigest()
    place = Place(sequence=previous.sequence + 1, hash=digest, line=number)
    return body + f',"hash":"{digest}"}}\n'.encode(), place


def _check(line: bytes, previous: Place | None, where: str) -> tuple[dict[str, Any], Place]:
    """Return a line's record and place; raises DataError unless it follows on the line before."""
    seal = _HASH.fullmatch(line.rstrip(b"\n")[-75:])
    body = line.rstrip(b"\n")[:-75]
    if seal is None or hashlib.sha256(body).hexdigest().encode() != seal[1]:
        msg = f"{where}: the line was changed or is incomplete: its hash isn't that of its content"
        if not line.endswith(b"\n"):
            msg = (
                f"{where}: the line has no end: it is being written now, its process was killed, or it was cut off; "
                "try again, and if that says the same: jobs.deploy takes it off when it starts with this log"
            )
        raise DataError(msg)
    record: dict[str, Any] = json.loads(line)
    if previous is not None and record["previous"] != previous.hash:
        msg = (
            f"{where}: doesn't follow on the line before: lines {previous.sequence + 1} to "
            f"{int(record['sequence']) - 1} were taken out, or others put in"
        )
        raise DataError(msg)
    return record, _place_of(record)


def _place_of(record: Mapping[str, Any]) -> Place:
    return Place(sequence=record["sequence"], hash=record["hash"], line=record.get("line", 0))


def _read_last(file: Path) -> Place:
    """Return the place of a file's last line, and take off the end a line that a killed process left unfinished."""
    with file.open("r+b") as opened:
        size = opened.seek(0, os.SEEK_END)
        start = opened.seek(max(0, size - 2 * _LONGEST_LINE))
        tail = opened.read()
        end = tail.rfind(b"\n") + 1
        if end < len(tail):
            opened.truncate(start + end)
    lines = tail[:end].splitlines(keepends=True)
    if not lines:
        return _NOWHERE
    _, place = _check(lines[-1], None, f"{file}, last line")
    return place


def _count_lines(file: Path) -> int:
    """Return the number of a file's lines, for one whose last line doesn't tell its own."""
    with file.open("rb") as lines:
        return sum(1 for _ in lines)


def _sync(file: Path) -> None:
    """Have a full file on the disk before the next one is begun."""
    opened = os.open(file, os.O_RDWR)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def _is_at(path: Path, opened: int) -> bool:
    """Return whether a path leads to the file that is open, which may have been moved away, removed or replaced."""
    try:
        return os.path.samestat(path.stat(), os.fstat(opened))
    except FileNotFoundError:
        return False


def _list_files(folder: Path) -> list[Path]:
    return sorted(file for file in folder.glob("audit-*.jsonl") if _NAME.fullmatch(file.name))
