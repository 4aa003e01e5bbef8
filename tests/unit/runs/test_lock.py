"""One process a run: who comes second is told who came first, and a dead owner's lock is taken over."""

from __future__ import annotations

import contextlib
import json
import logging
import signal
import subprocess
import sys
import threading
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from melanoma_ray import storage
from melanoma_ray.errors import ConfigError, RunHeldError
from melanoma_ray.runs import lock
from melanoma_ray.runs.directory import check_name
from melanoma_ray.runs.lock import LOCK, Holder, hold, read_holder

HOLD_AND_WAIT = """
import sys, time
from melanoma_ray.runs.lock import hold
with hold(sys.argv[1]):
    print("held", flush=True)
    time.sleep(600)
"""

HOLD_AND_RENEW = """
import signal, sys, time
from melanoma_ray.runs import lock
signal.signal(signal.SIGINT, getattr(signal, sys.argv[2]))
lock.RENEW_EVERY_S = 0.05
with lock.hold(sys.argv[1]):
    time.sleep(600)
"""


def leave_lock(uri: str, **changes: Any) -> Holder:  # noqa: ANN401 - fields of several types
    """Leave this process's own lock behind, with some of its fields changed."""
    with hold(uri):
        mine = read_holder(uri)
    assert mine is not None
    left = replace(mine, token="other", **changes)
    storage.write_json(storage.join(uri, LOCK), asdict(left))
    return left


def test_a_run_is_held_while_it_lasts_and_free_afterwards_even_after_an_error(tmp_path: Path) -> None:
    for error in (KeyboardInterrupt, ValueError):
        with contextlib.suppress(error), hold(str(tmp_path)):
            assert (tmp_path / LOCK).exists()
            raise error
        assert not (tmp_path / LOCK).exists()


def test_the_second_process_is_told_who_holds_the_run_and_since_when(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", HOLD_AND_WAIT, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        begun = time.strftime("%Y-%m-%d", time.gmtime())
        with (
            pytest.raises(RunHeldError, match=rf"is held by process {process.pid} of .* since {begun}"),
            hold(str(tmp_path)),
        ):
            pass
    finally:
        process.kill()
        process.wait()


def test_a_killed_process_s_lock_is_taken_over_with_one_line(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    process = subprocess.Popen([sys.executable, "-c", HOLD_AND_WAIT, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    process.stdout.readline()
    process.kill()
    process.wait()
    with caplog.at_level(logging.INFO), hold(str(tmp_path)):
        assert [f"taken over from process {process.pid}" in message for message in caplog.messages] == [True]


def test_a_process_that_has_got_a_dead_one_s_id_is_not_taken_for_it(tmp_path: Path) -> None:
    leave_lock(str(tmp_path), process_begun="1")
    with hold(str(tmp_path)):
        pass


def test_another_machine_s_lock_holds_until_it_shows_no_life_for_minutes(tmp_path: Path) -> None:
    elsewhere = leave_lock(str(tmp_path), host="elsewhere", machine="elsewhere")
    with pytest.raises(RunHeldError, match="on elsewhere"), hold(str(tmp_path)):
        pass
    stale = replace(elsewhere, renewed_at=time.time() - lock.STALE_S - 1)
    storage.write_json(str(tmp_path / LOCK), asdict(stale))
    with hold(str(tmp_path)):
        pass


@pytest.mark.parametrize("interrupt", ["default_int_handler", "SIG_IGN"])  # a shell's & leaves the second behind
def test_a_holder_shows_life_and_stops_when_it_was_taken_over(tmp_path: Path, interrupt: str) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD_AND_RENEW, str(tmp_path), interrupt], stderr=subprocess.DEVNULL
    )
    try:
        while (first := read_holder(str(tmp_path))) is None:
            time.sleep(0.01)
        while (now := read_holder(str(tmp_path))) is None or now.renewed_at == first.renewed_at:
            time.sleep(0.01)
        with storage.hold_alone(str(tmp_path)):  # as whoever takes it over does
            storage.write_json(str(tmp_path / LOCK), asdict(replace(now, token="other")))
        assert process.wait(60) == -(signal.SIGTERM if interrupt == "SIG_IGN" else signal.SIGINT)
    finally:
        process.kill()
        process.wait()
    assert json.loads((tmp_path / LOCK).read_text())["token"] == "other"  # whoever took it over keeps it


def test_a_half_written_lock_of_a_process_that_died_over_it_is_nobody_s(tmp_path: Path) -> None:
    (tmp_path / LOCK).write_text('{"host": ')
    with hold(str(tmp_path)):
        pass


def test_of_many_that_want_a_run_at_once_one_gets_it(tmp_path: Path) -> None:
    got, refused, together = [], [], threading.Barrier(8)

    def want() -> None:
        together.wait()
        try:
            with hold(str(tmp_path)):
                got.append(1)
                time.sleep(1.0)
        except RunHeldError:
            refused.append(1)

    threads = [threading.Thread(target=want) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(got), len(refused)) == (1, 7)


def test_what_a_command_line_has_of_passwords_stays_out_of_the_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["/somewhere/train.py", "--mlflow-uri", "http://me:secret@host/"])
    with hold(str(tmp_path)):
        holder = read_holder(str(tmp_path))
    assert holder is not None
    assert holder.command == "train.py --mlflow-uri http://…@host/"


@pytest.mark.parametrize("name", ["first", "lite2 seed 3", "2026-11-25_b", "größer"])
def test_a_name_is_a_word_for_a_directory(name: str) -> None:
    check_name(name)


@pytest.mark.parametrize(
    "name", ["", " ", "a/b", "/a", "..", "../a", "a..b", ".a", "-a", "a\\b", "a\nb", "a ", "x" * 201, "s3://a"]
)
def test_a_name_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="expected one word for a directory"):
        check_name(name)
