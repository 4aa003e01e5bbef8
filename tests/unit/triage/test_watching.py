"""A watched folder, in one process: what arrives, changes, is broken, is taken away, and comes back."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pydicom
import pytest

from jobs.formatting import describe_round
from melanoma_ray import storage
from melanoma_ray.alerts.settings import AlertSettings
from melanoma_ray.errors import ConfigError, DataError, RunHeldError
from melanoma_ray.inference.predictions import find_checkpoint_id
from melanoma_ray.model.checkpoint import identify
from melanoma_ray.triage.arrivals import Arrivals
from melanoma_ray.triage.watching import Inbox, Outlet, Round, Watch
from melanoma_ray.triage.work import check_apart
from tests.checkpoints import build_checkpoint
from tests.unit.alerts.samples import build_settings
from tests.unit.imaging.dicom_files import STUDY, write_dicom

SIDE = 64
SETTLE_S = 2.0


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Refers everything: its threshold is 0."""
    return build_checkpoint(str(tmp_path_factory.mktemp("checkpoint")), side=SIDE, decision_threshold=0.0)


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    folder = tmp_path / "inbox"
    folder.mkdir()
    return folder


@pytest.fixture
def settings(tmp_path: Path) -> AlertSettings:
    return build_settings(tmp_path / "alerts")


class Clock:
    """Steps of a watch at chosen times."""

    def __init__(self, watch: Watch) -> None:
        self.watch, self.now = watch, 1000.0

    def step(self, seconds: float = SETTLE_S) -> Round:
        self.now += seconds
        return self.watch.step(self.now)

    def until_answered(self, number: int, most: int = 50) -> list[Round]:
        rounds: list[Round] = []
        while sum(one.num_answered for one in rounds) < number:
            rounds.append(self.step())
            assert len(rounds) <= most, rounds
        return rounds


@pytest.fixture
def clock(checkpoint: str, inbox: Path, tmp_path: Path, settings: AlertSettings) -> Iterator[Clock]:
    with open_watch(checkpoint, inbox, tmp_path, settings) as watch:
        yield Clock(watch)


def open_watch(checkpoint: str, inbox: Path, folder: Path, settings: AlertSettings | None, **known: object) -> Watch:
    source = Inbox(images=str(inbox), settle_s=SETTLE_S, **known)  # type: ignore[arg-type]
    results = str(folder / "results")
    return Watch(checkpoint, source, Outlet(output=str(folder / "output"), alerts=settings, dicom_results=results))


def draw(path: Path, seed: int = 0) -> Path:
    pixels = np.random.default_rng(seed).integers(0, 255, (SIDE, SIDE, 3), np.uint8)
    assert cv2.imwrite(str(path), pixels)
    return path


def read_predictions(folder: Path) -> pd.DataFrame:
    return pd.read_parquet(folder / "output" / "predictions.parquet").set_index("image_id")


def read_sent(folder: Path, number: int) -> list[dict[str, object]]:
    """Return the messages that the sink got, as soon as there are so many."""
    file = folder / "alerts" / "alerts.jsonl"
    deadline = time.monotonic() + 60
    while True:
        lines = file.read_text().splitlines() if file.exists() else []
        if len(lines) >= number:
            return [json.loads(line) for line in lines]
        assert time.monotonic() < deadline, f"{len(lines)} of {number} messages"
        time.sleep(0.05)


def test_a_file_that_is_still_written_is_left_alone(inbox: Path) -> None:
    arrivals = Arrivals(str(inbox), [], SETTLE_S)
    slow = inbox / "slow.jpg"
    for second in range(6):
        with slow.open("ab") as file:
            file.write(b"part")
        assert not arrivals.look(float(second))
        assert not arrivals.is_at_rest(str(slow))
    assert not arrivals.look(6.9)
    assert arrivals.look(7.0)
    assert arrivals.is_at_rest(str(slow))
    assert not arrivals.look(8.0)


def test_a_folder_that_isn_t_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="not found"):
        Arrivals(str(tmp_path / "nowhere"), [], SETTLE_S).look(0.0)


def test_what_arrives_is_answered_and_told(clock: Clock, checkpoint: str, inbox: Path, tmp_path: Path) -> None:
    assert clock.step().num_answered == 0
    draw(inbox / "first.png", 1)
    (inbox / "study").mkdir()
    draw(inbox / "study" / "second.png", 2)
    assert clock.step().num_answered == 0, "they weren't at rest yet"
    found = clock.step()
    assert (found.num_by_decision, found.num_alerts, found.num_waiting) == ({"refer": 2}, 2, 0)
    sent = read_sent(tmp_path, 2)
    assert len(sent) == 2
    assert all("first" not in json.dumps(one) and "second" not in json.dumps(one) for one in sent)
    assert clock.step(60).num_answered == 0
    assert list(read_predictions(tmp_path).index) == ["first", "second"]
    written = storage.read_table(str(tmp_path / "output" / "predictions.parquet"))
    assert find_checkpoint_id(written) == identify(checkpoint)
    page = (tmp_path / "output" / "worklist.html").read_text()
    assert "first.png" in page
    assert "second.png" in page
    status = json.loads((tmp_path / "output" / "watch.json").read_text())
    assert (status["num_answered"], status["num_waiting"], status["trouble"]) == (2, 0, None)


def test_an_empty_folder_has_a_page_at_once(clock: Clock, tmp_path: Path) -> None:
    assert clock.step() == Round()
    assert "Worklist" in (tmp_path / "output" / "worklist.html").read_text()
    assert read_predictions(tmp_path).empty


def test_the_oldest_of_many_is_answered_first(clock: Clock, inbox: Path) -> None:
    for number in range(40):
        draw(inbox / f"{39 - number:02d}.png", number)
    clock.step()
    clock.step()
    rounds = clock.until_answered(40 - clock.watch.num_answered)
    assert max(one.num_answered for one in rounds) <= 16
    order = clock.watch._answered.table.column("image_id").to_pylist()
    assert order == [f"{39 - number:02d}" for number in range(40)]


def test_a_broken_image_is_told_and_answered_when_it_is_mended(clock: Clock, inbox: Path, tmp_path: Path) -> None:
    image = inbox / "image.png"
    image.write_bytes(b"no image")
    clock.step()
    found = clock.until_answered(1)[-1]
    assert (found.num_unreadable, found.num_alerts) == (1, 1)
    clock.step(60)
    assert "not_an_image" in read_predictions(tmp_path)["error"]["image"]
    draw(image)
    clock.step()
    assert clock.until_answered(1)[-1].num_by_decision == {"refer": 1}
    clock.step(60)
    rows = read_predictions(tmp_path)
    assert len(rows) == 1
    assert rows["decision"]["image"] == "refer"


@pytest.mark.parametrize("is_there", [True, False], ids=["no image", "no permission"])
def test_a_file_that_can_t_be_read_is_tried_again_before_it_counts_as_unreadable(
    clock: Clock, inbox: Path, *, is_there: bool
) -> None:
    image = inbox / "image.png"
    if is_there:
        image.write_bytes(b"no image")
    else:
        image.symlink_to("/proc/self/mem")  # it is there, and reading it is an error of the system's
    rounds = [clock.step(5.0) for _ in range(9)]
    assert [one.num_unreadable for one in rounds] == [0, 0, 0, 0, 0, 1, 0, 0, 0]
    assert rounds[5].num_alerts == 1
    assert [one.num_waiting for one in rounds] == [0, 1, 1, 1, 1, 0, 0, 0, 0]
    assert clock.step(3600).num_answered == 0, "it is tried again, and told once"


def test_an_unreadable_file_that_somebody_mends_without_changing_it_is_answered(
    clock: Clock, inbox: Path, tmp_path: Path
) -> None:
    """As a change of its permissions: neither its size nor its time of change tells of it."""
    image, away = inbox / "image.png", tmp_path / "image.png"
    draw(away)
    image.symlink_to(tmp_path / "mount" / "image.png")
    (tmp_path / "mount").mkdir()
    (tmp_path / "mount" / "image.png").symlink_to("/proc/self/mem")
    clock.until_answered(1)
    stat = (tmp_path / "mount" / "image.png").stat()
    (tmp_path / "mount" / "image.png").unlink()
    content = away.read_bytes()
    (tmp_path / "mount" / "image.png").write_bytes(content)
    os.truncate(tmp_path / "mount" / "image.png", stat.st_size or len(content))
    os.utime(tmp_path / "mount" / "image.png", ns=(stat.st_atime_ns, stat.st_mtime_ns))
    found = clock.step(3600)
    assert found.num_by_decision or clock.step(3600).num_by_decision == {"refer": 1}


def test_a_slow_sender_makes_one_alert_the_true_one(clock: Clock, inbox: Path, tmp_path: Path) -> None:
    content = draw(tmp_path / "whole.png").read_bytes()
    for part in range(4):
        (inbox / "image.png").write_bytes(content[: len(content) * (part + 1) // 4])
        rounds = [clock.step(4.0) for _ in range(3)] if part < 3 else clock.until_answered(1)
        assert sum(one.num_unreadable for one in rounds) == 0
    (message,) = read_sent(tmp_path, 1)
    assert '"decision": "refer"' in json.dumps(message)


def test_a_file_that_is_replaced_keeps_its_answer_until_the_new_one_is_there(
    clock: Clock, inbox: Path, tmp_path: Path
) -> None:
    image = draw(inbox / "image.png", 1)
    clock.step()
    clock.until_answered(1)
    clock.step(60)
    content = draw(tmp_path / "other.png", 2).read_bytes()
    for part in range(1, 8):
        image.write_bytes(content[: part * 100])
        clock.step(SETTLE_S / 2)
        clock.step(60 if part == 7 else SETTLE_S / 2)
        assert list(read_predictions(tmp_path).index) == ["image"]
    status = json.loads((tmp_path / "output" / "watch.json").read_text())
    assert (status["num_waiting"], status["num_changing"]) in {(1, 0), (0, 1)}


def test_a_moved_image_has_one_row_and_one_alert(clock: Clock, inbox: Path, tmp_path: Path) -> None:
    image = draw(inbox / "image.png", 1)
    clock.step()
    clock.until_answered(1)
    (inbox / "done").mkdir()
    image.rename(inbox / "done" / "image.png")
    clock.step()
    assert clock.until_answered(1)[-1].num_alerts == 0
    clock.step(60)
    clock.step(60)
    assert list(read_predictions(tmp_path)["path"]) == [str(inbox / "done" / "image.png")]


def test_what_is_passed_over_and_what_tables_lack_is_in_the_sign_of_life(
    checkpoint: str, inbox: Path, tmp_path: Path
) -> None:
    table = tmp_path / "patients.csv"
    table.write_bytes(b"garbage\xff\xfe")
    draw(inbox / "image.png", 1)
    for name in ("raw.ima", "upload.dcm.part", "archive.zip"):
        (inbox / name).write_bytes(b"x")
    (inbox / "away.png").symlink_to("/nowhere")
    with open_watch(checkpoint, inbox, tmp_path, None, metadata=(str(table),)) as watch:
        clock = Clock(watch)
        clock.step()
        clock.until_answered(1)
        clock.step(60)
    status = json.loads((tmp_path / "output" / "watch.json").read_text())
    assert sum(status["passed_over"].values()) == 4
    assert any(".ima" in reason for reason in status["passed_over"])
    assert "patients.csv" in str([status["trouble"], *status["notes"]])


def test_a_worklist_that_can_t_be_written_stops_no_alert(clock: Clock, inbox: Path, tmp_path: Path) -> None:
    page = tmp_path / "output" / "worklist.html"
    clock.step()
    page.unlink()
    page.mkdir()
    draw(inbox / "image.png", 1)
    clock.step()
    assert clock.until_answered(1)[-1].num_alerts == 1
    trouble = clock.step(60).trouble
    assert trouble is not None
    assert trouble.startswith("can't write the worklist, and tries again: ")
    assert len(read_sent(tmp_path, 1)) == 1
    page.rmdir()
    clock.step(60)
    assert clock.step(60).trouble is None
    assert "image" in page.read_text()


def test_a_restart_makes_no_alert_twice_of_a_patient_s_images(
    checkpoint: str, inbox: Path, tmp_path: Path, settings: AlertSettings
) -> None:
    """Images that couldn't be read are tried again, all in one round; by patient they were told one by one."""
    table = tmp_path / "patients.csv"
    names = ["first", "second", "third"]
    table.write_text("image,patient_id\nother,P0\n" + "".join(f"{name},P1\n" for name in names))
    known = {"metadata": (str(table),)}
    with open_watch(checkpoint, inbox, tmp_path, settings, **known) as watch:
        clock = Clock(watch)
        for name in names:
            (inbox / f"{name}.png").write_bytes(name.encode())
            clock.step()
            assert clock.until_answered(1)[-1].num_alerts == 1
    with open_watch(checkpoint, inbox, tmp_path, settings, **known) as watch:
        clock = Clock(watch)
        assert sum(clock.step(5.0).num_alerts or 0 for _ in range(12)) == 0
    assert len(read_sent(tmp_path, 3)) == 3


def test_a_file_that_can_be_read_again_was_never_unreadable(clock: Clock, inbox: Path, tmp_path: Path) -> None:
    image = inbox / "image.png"
    image.symlink_to("/proc/self/mem")
    assert [clock.step(5.0).num_answered for _ in range(3)] == [0, 0, 0]
    image.unlink()
    draw(image)
    assert clock.until_answered(1)[-1].num_by_decision == {"refer": 1}
    assert len(read_sent(tmp_path, 1)) == 1


def test_what_is_taken_away_stays_in_the_worklist(clock: Clock, inbox: Path, tmp_path: Path) -> None:
    draw(inbox / "kept.png", 1)
    gone = draw(inbox / "gone.png", 2)
    clock.step()
    clock.until_answered(2)
    gone.unlink()
    clock.step(60)
    clock.step(60)
    assert list(read_predictions(tmp_path).index) == ["gone", "kept"]
    (inbox / "kept.png").unlink()
    clock.step(60)
    clock.step(60)
    assert list(read_predictions(tmp_path).index) == ["gone", "kept"]
    assert "gone.png" in (tmp_path / "output" / "worklist.html").read_text()


def test_a_folder_that_is_away_for_a_while_costs_nothing(clock: Clock, inbox: Path, tmp_path: Path) -> None:
    draw(inbox / "first.png", 1)
    clock.step()
    clock.until_answered(1)
    away = tmp_path / "away"
    inbox.rename(away)
    trouble = clock.step().trouble
    assert trouble is not None
    assert "not found" in trouble
    assert clock.step(60).trouble == trouble
    assert list(read_predictions(tmp_path).index) == ["first"]
    draw(away / "second.png", 2)
    away.rename(inbox)
    assert clock.step().trouble is None
    clock.until_answered(1)
    clock.step(60)
    assert list(read_predictions(tmp_path).index) == ["first", "second"]


def test_a_restart_misses_none_and_answers_none_twice(
    checkpoint: str, inbox: Path, tmp_path: Path, settings: AlertSettings
) -> None:
    draw(inbox / "before.png", 1)
    with open_watch(checkpoint, inbox, tmp_path, settings) as watch:
        clock = Clock(watch)
        clock.step()
        clock.until_answered(1)
    assert list(read_predictions(tmp_path).index) == ["before"], "the pages are written once more at the end"
    draw(inbox / "meanwhile.png", 2)
    with open_watch(checkpoint, inbox, tmp_path, settings) as watch:
        assert watch.num_answered == 1
        clock = Clock(watch)
        clock.step()
        assert [one.num_answered for one in clock.until_answered(1)][-1] == 1
        assert clock.step(60).num_answered == 0
        assert len(read_sent(tmp_path, 2)) == 2


def test_an_answer_that_wasn_t_written_makes_no_second_alert(
    checkpoint: str, inbox: Path, tmp_path: Path, settings: AlertSettings
) -> None:
    """As after a kill between the two: the alert is in the outbox, and the answer isn't in its file."""
    draw(inbox / "image.png", 1)
    for expected in (1, 0):
        with open_watch(checkpoint, inbox, tmp_path, settings) as watch:
            clock = Clock(watch)
            clock.step()
            assert clock.until_answered(1)[-1].num_alerts == expected
            read_sent(tmp_path, 1)
        shutil.rmtree(tmp_path / "output" / "parts")
    assert len(read_sent(tmp_path, 1)) == 1


def test_a_table_that_changes_is_read_again(checkpoint: str, inbox: Path, tmp_path: Path) -> None:
    table = tmp_path / "patients.csv"
    table.write_text("image,patient_id\nother,P0\nimage,P1\n")
    draw(inbox / "image.png", 1)
    with open_watch(checkpoint, inbox, tmp_path, None, metadata=(str(table),)) as watch:
        clock = Clock(watch)
        clock.step()
        assert clock.until_answered(1)[-1].num_alerts is None
        clock.step(60)
        assert "P1" in (tmp_path / "output" / "worklist.html").read_text()
        table.write_text("image,patient_id\nother,P0\nimage,Pnew\n")
        clock.step(60)
        clock.step(60)
        assert "Pnew" in (tmp_path / "output" / "worklist.html").read_text()


def test_without_its_table_an_image_is_answered_all_the_same(checkpoint: str, inbox: Path, tmp_path: Path) -> None:
    table = tmp_path / "patients.csv"
    draw(inbox / "image.png", 1)
    with open_watch(checkpoint, inbox, tmp_path, None, metadata=(str(table),)) as watch:
        clock = Clock(watch)
        clock.step()
        found = clock.until_answered(1)[-1]
        assert "patients.csv" in str(found.trouble)
        assert "answered without the tables" in str(found.trouble)
        assert "patients.csv" in str(clock.step(60).trouble)
        assert "patients.csv" in json.loads((tmp_path / "output" / "watch.json").read_text())["trouble"]
        table.write_text("image,patient_id\nother,P0\nimage,Pnew\n")
        clock.step(60)
        assert clock.step(60).trouble is None
        assert "Pnew" in (tmp_path / "output" / "worklist.html").read_text()


def test_a_dicom_image_without_an_ending_is_answered_as_dicom_and_joined_by_its_patient(
    clock: Clock, inbox: Path, tmp_path: Path
) -> None:
    pixels = np.random.default_rng(3).integers(0, 255, (SIDE, SIDE, 3), np.uint8)
    (inbox / "1.2.276.5").write_bytes(write_dicom(pixels, SOPInstanceUID="1.2.276.5"))
    clock.step()
    assert clock.until_answered(1)[-1].num_by_decision == {"refer": 1}
    report = [pydicom.dcmread(file) for file in (tmp_path / "results").iterdir()]
    assert [(one.SOPClassUID.name, one.StudyInstanceUID) for one in report] == [("Comprehensive SR Storage", STUDY)]
    clock.step(60)
    page = (tmp_path / "output" / "worklist.html").read_text()
    assert "P-17" in page
    assert "Mustermann" not in page
    assert "Mustermann" not in json.dumps(read_sent(tmp_path, 1))


def test_a_second_watch_on_the_same_output_is_told_who_is_there(
    clock: Clock, checkpoint: str, inbox: Path, tmp_path: Path
) -> None:
    with pytest.raises(RunHeldError, match=r"is held by process \d+.*give another --output"):
        open_watch(checkpoint, inbox, tmp_path, None).__enter__()


@pytest.mark.parametrize("output", ["inbox", "inbox/below", "inbox/../inbox/x"])
def test_an_output_inside_the_folder_is_refused(inbox: Path, tmp_path: Path, output: str) -> None:
    with pytest.raises(ConfigError, match=r"^--output .*give a folder outside of it"):
        check_apart(str(tmp_path / output), str(inbox), "--output")
    check_apart(str(tmp_path / "inbox2"), str(inbox), "--output")


def test_dicom_images_without_a_report_are_counted_by_the_reason(clock: Clock, inbox: Path, tmp_path: Path) -> None:
    pixels = np.random.default_rng(3).integers(0, 255, (SIDE, SIDE, 3), np.uint8)
    (inbox / "whole.dcm").write_bytes(write_dicom(pixels))
    (inbox / "lost.dcm").write_bytes(write_dicom(pixels, StudyInstanceUID=""))
    clock.step()
    found = clock.until_answered(2)[-1]
    assert found.without_report == {"no Study Instance UID": 1}
    assert describe_round(found).endswith("; 1 DICOM image has no report: 1 no Study Instance UID")
    clock.step(60)
    status = json.loads((tmp_path / "output" / "watch.json").read_text())
    assert status["without_report"] == {"no Study Instance UID": 1}
