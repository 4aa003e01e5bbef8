"""The audit log: what was written is there, and what was done to it shows."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from jobs import audit_log as job
from melanoma_ray.access.audit_log import GENESIS, AuditLog, read_records, verify
from melanoma_ray.errors import DataError, StorageError


def write(folder: Path, number: int, **settings: int) -> None:
    log = AuditLog(str(folder), **settings)
    for i in range(number):
        log.append({"time": f"2026-11-26T10:00:{i:02}", "decision": "refer", "probability": i / 7})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path / "log", 12)
    return tmp_path / "log"


def test_what_was_written_is_read_again_in_its_order_and_nobody_else_may_read_it(folder: Path) -> None:
    records = list(read_records(str(folder)))
    assert [record["sequence"] for record in records] == list(range(1, 13))
    assert [record["probability"] for record in records] == [i / 7 for i in range(12)]
    assert records[0]["previous"] == GENESIS
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / "audit-000001.jsonl").stat().st_mode) == 0o600


def swap(lines: list[bytes]) -> None:
    lines[3], lines[4] = lines[4], lines[3]


def edit(lines: list[bytes]) -> None:
    lines[5] = lines[5].replace(b"refer", b"routine")


def repeat(lines: list[bytes]) -> None:
    lines.insert(6, lines[5])


TAMPERINGS: dict[str, tuple[Callable[[list[bytes]], object], int]] = {
    "a line is taken out": (lambda lines: lines.pop(4), 5),
    "three lines are taken out": (lambda lines: [lines.pop(4) for _ in range(3)], 5),
    "two lines change places": (swap, 4),
    "a word is changed": (edit, 6),
    "a line stands twice": (repeat, 7),
    "a line is put in": (lambda lines: lines.insert(2, b'{"decision":"routine"}\n'), 3),
    "the end of a line is missing": (lambda lines: lines.append(lines.pop()[:-30]), 12),
}


@pytest.mark.parametrize("name", TAMPERINGS)
def test_what_was_done_to_it_shows_at_its_place(folder: Path, name: str) -> None:
    tamper, place = TAMPERINGS[name]
    file = folder / "audit-000001.jsonl"
    lines = file.read_bytes().splitlines(keepends=True)
    tamper(lines)
    file.write_bytes(b"".join(lines))
    with pytest.raises(DataError, match=rf"audit-000001.jsonl, line {place}: ") as raised:
        verify(str(folder))
    assert "\n" not in str(raised.value)


def test_a_last_line_without_its_end_is_told_with_what_to_do(folder: Path) -> None:
    file = folder / "audit-000001.jsonl"
    file.write_bytes(file.read_bytes()[:-30])
    with pytest.raises(DataError, match=r"line 12: the line has no end: .* jobs\.deploy takes it off when it starts"):
        verify(str(folder))
    AuditLog(str(folder))
    assert verify(str(folder)).last.sequence == 11


def test_an_end_that_was_cut_off_shows_to_who_noted_the_head(folder: Path) -> None:
    head = verify(str(folder)).last.hash
    file = folder / "audit-000001.jsonl"
    file.write_bytes(b"".join(file.read_bytes().splitlines(keepends=True)[:-2]))
    assert verify(str(folder)).last.sequence == 10  # of itself it is a whole chain
    with pytest.raises(DataError, match="taken off its end"):
        verify(str(folder), head)


def test_full_files_are_followed_by_new_ones_in_one_chain(tmp_path: Path) -> None:
    write(tmp_path, 10, max_file_bytes=600)
    write(tmp_path, 10, max_file_bytes=600)
    found = verify(str(tmp_path))
    assert found.num_files > 3
    assert (found.first.sequence, found.last.sequence) == (1, 20)
    files = sorted(tmp_path.glob("*.jsonl"))
    files[0].unlink()  # an archive has it now
    assert verify(str(tmp_path)).first.sequence > 1
    files[2].unlink()
    with pytest.raises(DataError, match="were taken out"):
        verify(str(tmp_path))


WRITER = (
    "import sys; from melanoma_ray.access.audit_log import AuditLog\n"
    "log = AuditLog(sys.argv[1], max_file_bytes=20_000)\n"
    "for i in range(200): log.append({'time': '', 'writer': sys.argv[2], 'number': i})"
)


def test_processes_that_write_at_once_make_one_chain_and_lose_nothing(tmp_path: Path) -> None:
    running = [subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path), str(i)]) for i in range(3)]
    assert [process.wait(120) for process in running] == [0] * 3
    records = list(read_records(str(tmp_path)))
    assert len(records) == 600
    for writer in "012":
        assert [record["number"] for record in records if record["writer"] == writer] == list(range(200))
    assert verify(str(tmp_path)).num_files > 2


def test_a_line_that_a_killed_process_left_unfinished_is_taken_off(folder: Path) -> None:
    file = folder / "audit-000001.jsonl"
    with file.open("ab") as opened:
        opened.write(b'{"sequence":13,"time":"2026')
    write(folder, 1)
    assert verify(str(folder)).last.sequence == 13


def test_what_can_t_be_written_leaves_the_log_as_it_was(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log, before, real = AuditLog(str(folder)), (folder / "audit-000001.jsonl").read_bytes(), os.write
    monkeypatch.setattr(os, "write", lambda file, line: real(file, line[:20]))  # as a full disk does
    with pytest.raises(StorageError, match="free some space"):
        log.append({"time": "now"})
    assert (folder / "audit-000001.jsonl").read_bytes() == before
    monkeypatch.undo()
    assert log.append({"time": "now"}).sequence == 13


def test_the_command_prints_the_head_and_finds_it_again(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    job.main(job.AuditLogArguments(folder=str(folder)))
    printed = capsys.readouterr().out
    assert "unbroken: 12 lines in 1 file, from 2026-11-26T10:00:00 to 2026-11-26T10:00:11" in printed
    head = printed.split("head: ")[1].strip()
    last = (folder / "audit-000001.jsonl").read_text().splitlines()[-1]
    assert head == json.loads(last)["hash"]
    job.main(job.AuditLogArguments(folder=str(folder), head=head))


def test_a_folder_without_a_log_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no audit log"):
        verify(str(tmp_path))
    AuditLog(str(tmp_path))
    with pytest.raises(DataError, match="no line yet"):
        verify(str(tmp_path))
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="a file stands where a folder is meant"):
        AuditLog(str(tmp_path / "file" / "log"))


def cut(file: Path, number: int) -> None:
    """Take lines off the beginning of a file."""
    file.write_bytes(b"".join(file.read_bytes().splitlines(keepends=True)[number:]))


def test_lines_that_were_cut_off_the_beginning_show(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cut(folder / "audit-000001.jsonl", 3)
    with pytest.raises(DataError, match=r"audit-000001.jsonl: doesn't begin .* line 4 of the log") as raised:
        job.main(job.AuditLogArguments(folder=str(folder)))
    assert "\n" not in str(raised.value)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("number", [1, 2])
def test_lines_that_were_cut_off_a_later_oldest_file_show(tmp_path: Path, number: int) -> None:
    write(tmp_path, 20, max_file_bytes=1000)
    first, second, *_ = sorted(tmp_path.glob("*.jsonl"))
    first.unlink()
    assert verify(str(tmp_path)).first.line == 1  # an archive has the first file, and the second one is whole
    assert len(second.read_bytes().splitlines()) > 2
    cut(second, number)
    with pytest.raises(DataError, match=rf"{second.name}: doesn't begin .* line {number + 1} of its file"):
        verify(str(tmp_path))


def test_a_first_file_that_was_emptied_shows(tmp_path: Path) -> None:
    write(tmp_path, 20, max_file_bytes=1000)
    (tmp_path / "audit-000001.jsonl").write_bytes(b"")
    with pytest.raises(DataError, match=r"audit-000001.jsonl: doesn't begin with its first line"):
        verify(str(tmp_path))


def write_as_before(folder: Path, number: int, per_file: int) -> None:
    """Write lines as they were before they had their number in the file."""
    folder.mkdir()
    previous = GENESIS
    for i in range(number):
        record = {"sequence": i + 1, "time": "2026-10-01", "decision": "refer", "previous": previous}
        body = json.dumps(record, separators=(",", ":"))[:-1]
        previous = hashlib.sha256(body.encode()).hexdigest()
        with (folder / f"audit-{1 + i // per_file:06}.jsonl").open("a") as file:
            file.write(f'{body},"hash":"{previous}"}}\n')


def test_a_log_of_before_is_whole_and_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "log"
    write_as_before(folder, 10, 4)
    assert verify(str(folder)).last.sequence == 10
    write(folder, 3)
    assert [record.get("line", 0) for record in read_records(str(folder))][8:] == [0, 0, 3, 4, 5]
    (folder / "audit-000001.jsonl").unlink()
    job.main(job.AuditLogArguments(folder=str(folder)))
    assert "begins at line 5: the files before it were taken away, and perhaps lines of this one" in (
        capsys.readouterr().out
    )
    (folder / "audit-000002.jsonl").unlink()
    cut(folder / "audit-000003.jsonl", 2)  # its lines of before, so that it begins with a line that has its number
    with pytest.raises(DataError, match="doesn't begin with its first line, but with line 11 of the log, line 3"):
        verify(str(folder))


def test_a_log_that_couldn_t_be_opened_again_for_a_while_goes_on_when_it_can(tmp_path: Path) -> None:
    """As on a network disk that is away; another process has written meanwhile, so that the file is opened again."""
    folder, away = tmp_path / "log", tmp_path / "away"
    log = AuditLog(str(folder))
    log.append({"time": "1"})
    write(folder, 1)
    folder.rename(away)
    for _ in range(2):
        with pytest.raises(StorageError, match="it is not there, or gone"):
            log.append({"time": "3"})
    bystanders = [os.open(tmp_path, os.O_RDONLY) for _ in range(8)]  # they get the numbers of files that were closed
    away.rename(folder)
    assert log.append({"time": "3"}).sequence == 3
    for one in bystanders:
        os.close(one)  # raises if the log has closed one of them
    assert verify(str(folder)).last.sequence == 3


@pytest.mark.parametrize("how", ["removed", "emptied", "cut", "replaced", "folder removed"])
def test_what_is_taken_from_a_log_that_is_written_is_noticed_before_the_next_line(tmp_path: Path, how: str) -> None:
    folder = tmp_path / "log"
    file, log = folder / "audit-000001.jsonl", AuditLog(str(folder))
    for number in range(3):
        log.append({"time": str(number)})
    whole = file.read_bytes()
    if how in {"emptied", "cut"}:
        os.truncate(file, 0 if how == "emptied" else len(whole) - 100)
    else:
        shutil.rmtree(folder) if how == "folder removed" else file.unlink()
    if how == "replaced":
        write(folder, 2)
    if how == "folder removed":
        folder.mkdir()
    for _ in range(2):
        with pytest.raises(StorageError, match=r"line 3 of the audit log is gone, though it was there: put back"):
            log.append({"time": "4"})
    file.write_bytes(whole)
    assert log.append({"time": "4"}).sequence == 4
    assert verify(str(folder)).last.sequence == 4


def test_a_folder_that_was_moved_and_made_anew_has_one_lock_for_all(tmp_path: Path) -> None:
    folder, log = tmp_path / "log", AuditLog(str(tmp_path / "log"))
    folder.rename(tmp_path / "moved")
    other = AuditLog(str(folder))
    assert [one.append({"time": "1"}).sequence for one in (log, other, log)] == [1, 2, 3]
    assert verify(str(folder)).last.sequence == 3


def test_a_file_that_is_no_log_is_refused_as_a_folder_that_can_t_be_written(folder: Path) -> None:
    log, file = AuditLog(str(folder)), folder / "audit-000001.jsonl"
    with file.open("a") as opened:
        opened.write('{"foo":1}\n')
    for attempt in (lambda: log.append({"time": "1"}), lambda: AuditLog(str(folder))):
        with pytest.raises(StorageError, match="last line: the line was changed or is incomplete"):
            attempt()


def test_a_torn_first_line_of_a_new_file_doesn_t_begin_the_chain_anew(tmp_path: Path) -> None:
    write(tmp_path, 3)
    (tmp_path / "audit-000002.jsonl").write_bytes(b'{"sequence":4,"time":"2026')
    write(tmp_path, 2)
    assert [(record["sequence"], record["line"]) for record in read_records(str(tmp_path))][3:] == [(4, 1), (5, 2)]


def test_a_home_is_the_same_one_for_who_writes_and_who_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home, elsewhere = tmp_path / "home", tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(elsewhere)
    log = AuditLog("~/audit")
    log.append({"time": "now"})
    assert verify("~/audit").num_files == 1
    assert list(elsewhere.iterdir()) == []
    assert [file.name for file in (home / "audit").glob("*.jsonl")] == ["audit-000001.jsonl"]


def test_a_disk_without_room_for_a_line_is_told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = AuditLog(str(folder))
    log.check_room()
    usage = shutil.disk_usage(folder)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(StorageError, match="the disk is full, so no answer could be written down"):
        log.check_room()
