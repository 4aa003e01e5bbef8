"""Which files are the same picture, and which of them a reader sees."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from melanoma_ray.sources.unlabelled import list_images
from melanoma_ray.triage.copies import find_copies, fold_copies

LARGE = bytes(range(256)) * 100


def copies_of(folder: Path, kept: set[str] = frozenset(), together: tuple[str, ...] = ()) -> dict[str, str]:  # type: ignore[assignment]
    images = list_images(str(folder)).images
    found = find_copies(images, [Path(path).name in kept for path in images["path"]], together)
    pairs = zip(images["path"], found, strict=True)
    return {Path(path).name: Path(of).name for path, of in pairs if of is not None}


def test_only_files_of_equal_bytes_are_copies_and_the_first_by_path_is_none(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(LARGE)
    (tmp_path / "b.jpg").write_bytes(LARGE)
    (tmp_path / "differs-at-the-end.jpg").write_bytes(LARGE[:-1] + b"x")
    (tmp_path / "differs-in-the-middle.jpg").write_bytes(LARGE[:12800] + b"x" + LARGE[12801:])
    (tmp_path / "longer.jpg").write_bytes(LARGE + b"x")
    (tmp_path / "small-1.jpg").write_bytes(b"x")
    (tmp_path / "small-2.jpg").write_bytes(b"x")
    (tmp_path / "small-3.jpg").write_bytes(b"y")
    assert copies_of(tmp_path) == {"b.jpg": "a.jpg", "small-2.jpg": "small-1.jpg"}


def test_what_is_answered_already_comes_first(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        (tmp_path / f"{name}.jpg").write_bytes(LARGE)
    assert copies_of(tmp_path, kept={"b.jpg"}) == {"a.jpg": "b.jpg", "c.jpg": "b.jpg"}


def test_copies_whose_patients_differ_are_none_where_the_network_uses_them(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        (tmp_path / f"{name}.jpg").write_bytes(LARGE)
    images = list_images(str(tmp_path)).images.assign(age=[40, 70, 40])
    found = find_copies(images, [False] * 3, ["age", "sex"])  # nobody's sex is known
    assert list(found) == [None, None, images["path"][0]]


def test_copies_of_one_patient_are_one_row_and_those_of_another_patient_stay_and_tell() -> None:
    answers = pd.DataFrame(
        {
            "path": ["a", "b", "c", "d", "e"],
            "copy_of": [None, "a", "a", None, "d"],
            "patient_id": ["P1", "P1", "P2", None, None],
            "lesion_id": [None] * 5,
        }
    )
    folded = fold_copies(answers)
    assert dict(zip(folded["path"], folded["copies"], strict=True)) == {"a": ["b"], "c": ["a"], "d": ["e"]}


def test_a_linked_folder_is_read_once_under_its_own_name(tmp_path: Path) -> None:
    (tmp_path / "zebra").mkdir()
    (tmp_path / "zebra" / "one.jpg").write_bytes(b"x")
    for link in ("alias", "other", "zz"):
        (tmp_path / link).symlink_to("zebra")
    found = list_images(str(tmp_path))
    assert list(found.images["path"]) == [str(tmp_path / "zebra" / "one.jpg")]
    assert list(found.passed_over.values()) == [3]
