"""A table of readings is read strictly, and each reader's word is set beside the model's."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from melanoma_ray.diagnoses import ReferredFor, load_taxonomy
from melanoma_ray.documents.sections.readers import readers
from melanoma_ray.errors import DataError
from melanoma_ray.evaluation.readers import measure_readers
from melanoma_ray.evaluation.scored import Scored
from melanoma_ray.evaluation.wording import Words
from melanoma_ray.sources.readings import UNNAMED, Reading, read_readings
from tests.unit.evaluation.samples import draw_scored


def read(folder: Path, text: str) -> tuple[Reading, ...]:
    (folder / "reviewed.csv").write_text(text, encoding="utf-8-sig")
    return read_readings(str(folder / "reviewed.csv"), load_taxonomy())


def list_images(scored: Scored) -> pd.DataFrame:
    names = [f"IMG_{number}" for number in range(len(scored.truth))]
    return pd.DataFrame({"image_id": names, "path": [f"/images/{name}.jpg" for name in names]})


@pytest.mark.parametrize("delimiter", [",", ";"])
def test_rows_are_read_under_their_names_in_any_order(tmp_path: Path, delimiter: str) -> None:
    rows = [
        ["Reader", "image", "Verdict", "diagnosis", "read_at", "extra"],
        ["Dr A", "a.jpg", "Disagree", "Melanoma", "2026-11-26T09:30:00+01:00", "x"],
        ["", "b.jpg", "agree", "", "", ""],
    ]
    first, second = read(tmp_path, "\n".join(delimiter.join(row) for row in rows))
    assert (first.reader, first.verdict, first.diagnosis) == ("Dr A", "disagree", "melanoma")
    assert first.read_at is not None
    assert first.read_at.hour == 9
    assert (second.reader, second.verdict, second.diagnosis, second.read_at) == (UNNAMED, "agree", None, None)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name,verdict\na,agree\n", r"has the columns name, verdict; expected image, and verdict or diagnosis"),
        ("image,note\na,x\n", "expected image, and verdict or diagnosis"),
        ("image,verdict\na,maybe\n", "row 2: verdict='maybe': expected agree, disagree, unsure or nothing"),
        ("image,verdict\n,agree\n", "row 2: image is empty"),
        ("image,diagnosis\na,melanoma\nb,melanooma\n", "row 3: diagnosis 'melanooma' is unknown"),
        ("image,verdict,read_at\na,agree,yesterday\n", "row 2: read_at='yesterday': expected ISO 8601"),
    ],
)
def test_what_isn_t_allowed_is_refused_with_its_row(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        read(tmp_path, text)
    assert "\n" not in str(caught.value)


def test_a_missing_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.csv: can't be read"):
        read_readings(str(tmp_path / "none.csv"), load_taxonomy())


def test_the_model_s_sensitivity_is_against_the_reader_s_word_not_the_collection_s(tmp_path: Path) -> None:
    scored = draw_scored(200)
    images = list_images(scored)
    called = np.arange(200) % 4 == 0
    words = np.where(called, "melanoma", "nevus")
    lines = [f"{path},{word},Dr A" for path, word in zip(images["path"], words, strict=True)]
    found = measure_readers(read(tmp_path, "\n".join(["image,diagnosis,reader", *lines])), images, scored)
    (reader,) = found.readers
    assert reader.sensitivity is not None
    assert reader.specificity is not None
    assert reader.sensitivity.value == scored.is_referred[called].mean()
    assert reader.specificity.value == (~scored.is_referred[~called]).mean()
    assert (reader.num_images, reader.num_diagnosed, found.pairs) == (200, 200, ())
    assert reader.kappa is not None
    assert reader.kappa.denominator == 200


def test_images_are_found_by_path_name_or_id_and_the_others_are_counted(tmp_path: Path) -> None:
    scored = draw_scored(10)
    images = list_images(scored)
    images.loc[8:, "path"] = ["/a/same.jpg", "/b/same.jpg"]
    text = (
        "image,verdict\n/images/IMG_0.jpg,agree\nIMG_1.jpg,agree\nIMG_2,unsure\nelsewhere.jpg,agree\nsame.jpg,agree\n"
    )
    found = measure_readers(read(tmp_path, text), images, scored)
    assert (found.num_readings, found.num_unmatched) == (5, 2)
    assert found.readers[0].verdicts == {"agree": 2, "unsure": 1}
    assert found.readers[0].sensitivity is None
    with pytest.raises(DataError, match="none of the 1 readings"):
        measure_readers(read(tmp_path, "image,verdict\nelsewhere.jpg,agree\n"), images, scored)


def test_the_latest_reading_counts_whatever_the_order_of_the_rows(tmp_path: Path) -> None:
    scored = draw_scored(4)
    text = (
        "image,verdict,reader,read_at\nIMG_0,agree,A,2026-02-01\nIMG_0,disagree,A,2026-01-01\n"
        "IMG_1,agree,A,\nIMG_1,unsure,A,\nIMG_0,unsure,B,2025-01-01\n"
    )
    found = measure_readers(read(tmp_path, text), list_images(scored), scored)
    assert found.num_superseded == 2
    assert {one.reader: one.verdicts for one in found.readers} == {"A": {"agree": 1, "unsure": 1}, "B": {"unsure": 1}}


def test_two_readers_are_compared_on_what_both_have_diagnosed(tmp_path: Path) -> None:
    scored = draw_scored(60)
    lines = ["image,diagnosis,reader"]
    lines += [f"IMG_{n},{'melanoma' if n % 3 == 0 else 'nevus'},A" for n in range(60)]
    lines += [f"IMG_{n},{'melanoma' if n % 3 == 0 else 'nevus'},B" for n in range(40)]
    found = measure_readers(read(tmp_path, "\n".join(lines)), list_images(scored), scored)
    (pair,) = found.pairs
    assert (pair.first, pair.second, pair.num_images) == ("A", "B", 40)
    assert pair.kappa is not None
    assert pair.kappa.value == 1.0
    section = readers(found, Words.of("melanoma"))
    assert section is not None
    assert section.tables[1].rows[0][:2] == ("A and B", "40")
    assert readers(None, Words.of("melanoma")) is None


@pytest.mark.parametrize(
    ("about", "held"),
    [
        ("melanoma", {"mel": True, "bcc": False, "benign": False, "kaposi sarcoma": False, "other": False}),
        ("malignancy", {"mel": True, "bcc": True, "benign": False, "kaposi sarcoma": True, "malignant": True}),
    ],
)
def test_a_word_of_no_class_counts_for_what_it_tells(tmp_path: Path, about: ReferredFor, held: dict[str, bool]) -> None:
    scored = replace(draw_scored(7), about=about)
    words = ["mel", "bcc", "benign", "kaposi sarcoma", "malignant", "indeterminate", "other"]
    lines = [f"IMG_{number},{word}" for number, word in enumerate(words)]
    found = measure_readers(read(tmp_path, "\n".join(["image,diagnosis", *lines])), list_images(scored), scored)
    (reader,) = found.readers
    assert (reader.num_images, reader.num_diagnosed) == (7, len(held))
    assert reader.sensitivity is not None
    assert reader.specificity is not None
    assert reader.sensitivity.denominator == sum(held.values())
    assert reader.specificity.denominator == len(held) - sum(held.values())


def test_an_image_is_found_by_another_machine_s_path_with_either_slash(tmp_path: Path) -> None:
    scored = draw_scored(2)
    text = "image,verdict\nC:\\photos\\IMG_0.jpg,agree\n/mnt/IMG_1.jpg,unsure\n"
    assert measure_readers(read(tmp_path, text), list_images(scored), scored).num_unmatched == 0


def test_rows_may_end_as_on_any_machine(tmp_path: Path) -> None:
    for end in ("\n", "\r\n", "\r"):
        (tmp_path / "reviewed.csv").write_bytes(end.join(["image;verdict", "a.jpg;agree", ""]).encode())
        (one,) = read_readings(str(tmp_path / "reviewed.csv"), load_taxonomy())
        assert (one.image, one.verdict) == ("a.jpg", "agree")


@pytest.mark.parametrize("content", ["image,diagnosis,note\na,mel," + "x" * 200_000])
def test_what_isn_t_a_table_is_refused(tmp_path: Path, content: str) -> None:
    with pytest.raises(DataError, match=r"can't be read as CSV \(.*\); give a CSV file"):
        read(tmp_path, content)
