"""Readers' words as diagnoses: from reviewed.csv to the table of images."""

from __future__ import annotations

from pathlib import Path

import pytest

from melanoma_ray.errors import DataError
from melanoma_ray.sources.layouts import Collection, read_collection

HEAD = "image,verdict,diagnosis,note,reader,read_at"


def write(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())


def read(images: Path, *rows: str) -> Collection:
    table = images.parent / "reviewed.csv"
    table.write_text("\n".join([HEAD, *rows]) + "\n")
    return read_collection(str(images), reviewed=[str(table)])


def diagnoses(collection: Collection) -> dict[str, str]:
    columns = (collection.table.column(name).to_pylist() for name in ("image_id", "diagnosis"))
    return dict(zip(*columns, strict=True))


def test_images_without_a_word_get_that_of_their_readers_by_named_rules(tmp_path: Path) -> None:
    images = tmp_path / "images"
    write(images, "a.jpg", "b.jpg", "c.jpg", "d.jpg", "e.jpg", "f.jpg", "unread.jpg", "unread-too.jpg")
    found = read(
        images,
        f"{images}/a.jpg,agree,melanoma,,Ada,2026-11-26T09:00:00Z",
        "/elsewhere/b.jpg,disagree,nevus,,Ada,2026-11-26T09:00:00Z",
        "b,disagree,mel,,Ada,2026-11-26T10:00:00Z",
        "c,agree,nevus,,Ada,",
        "c,disagree,melanoma,,Ben,",
        "c,agree,nevus,,Cy,",
        "d,agree,nevus,,Ada,",
        "d,disagree,melanoma,,Ben,",
        "e,unsure,,looks odd,Ada,",
        "f,disagree,other,,Ada,",
    )
    assert diagnoses(found) == {"a": "melanoma", "b": "melanoma", "c": "nevus"}
    assert found.num_left_out == {"other": 1}
    assert found.num_files_without_row == 4
    notes = "\n".join(found.notes)
    assert "5 images without any other word were settled by readers: 3 by the rule 'readers agree'" in notes
    assert "1 by the rule 'most readers'" in notes
    assert "1 by the rule 'readers disagree'" in notes


def test_what_the_collection_says_counts_before_a_reader_who_is_told_as_contradicting(tmp_path: Path) -> None:
    images = tmp_path / "images"
    write(images, "melanoma/a.jpg", "nevus/b.jpg", "loose/c.jpg")
    found = read(
        images, "a,disagree,nevus,,Ada,", "b,agree,nevus,,Ada,", "c,agree,nevus,,Ada,", "gone,agree,nevus,,Ada,"
    )
    assert diagnoses(found) == {"a": "melanoma", "b": "nevus", "c": "nevus"}
    notes = "\n".join(found.notes)
    assert "readers contradict the collection about 1 image: the collection counts" in notes
    assert "1 reading is of no image here" in notes
    assert set(found.table.column("is_by_table").to_pylist()) == {False}


def test_readings_of_other_images_settle_nothing_and_the_source_is_refused_as_before(tmp_path: Path) -> None:
    images = tmp_path / "images"
    write(images, "a.jpg", "b.jpg")
    with pytest.raises(DataError, match="2 readings are of no image here"):
        read(images, "x,agree,nevus,,Ada,", "y,agree,nevus,,Ada,")


def test_a_word_that_nobody_knows_is_refused_with_its_row(tmp_path: Path) -> None:
    images = tmp_path / "images"
    write(images, "a.jpg")
    with pytest.raises(DataError, match=r"reviewed\.csv, row 2: diagnosis 'melanooma' is unknown"):
        read(images, "a,disagree,melanooma,,Ada,")
