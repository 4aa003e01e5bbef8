"""Every file below a folder is an image, a container, a table, or counted under its reason."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from melanoma_ray.errors import DataError
from melanoma_ray.sources.listing import BAD_NAMES, LOOPS, MASKS, SYSTEM, list_source


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")


def total(root: Path) -> int:
    found = list_source(str(root))
    return len(found.images) + len(found.containers) + len(found.tables) + sum(found.passed_over.values())


def test_no_file_is_silent(tmp_path: Path) -> None:
    touch(
        tmp_path,
        "a.jpg",
        "b.JFIF",
        "c.dcm",
        "d",
        "e.csv",
        "f.h5",
        "g.zip",
        "h.xlsx",
        ".i.jpg",
        "__MACOSX/j.jpg",
        "k.txt",
    )
    found = list_source(str(tmp_path))
    assert [len(found.images), len(found.containers), len(found.tables)] == [3, 1, 1]
    assert total(tmp_path) == 11
    assert found.passed_over[SYSTEM] == 2
    assert {"archives (.zip): unpack them first", "files without an ending"} <= set(found.passed_over)


@pytest.mark.parametrize(
    "name",
    [
        *("a_segmentation.png", "a_Segmentation.png", "a_superpixels.png", "a_mask.png", "a_attribute_globules.png"),
        *(
            "masks/a.png",
            "IMD002_lesion.bmp",
            "IMD002/IMD002_lesion/IMD002_lesion.bmp",
            "IMD002_roi/IMD002_R1_Label3.bmp",
        ),
        "ISIC2018_Task1_Training_Segmentation/a.png",
    ],
)
def test_masks_are_known_by_their_names_in_any_case(tmp_path: Path, name: str) -> None:
    touch(tmp_path, name, "nevus/lesion.jpg")
    found = list_source(str(tmp_path))
    assert (len(found.images), found.passed_over[MASKS]) == (1, 1)


def test_links_are_followed_and_their_loops_cut(tmp_path: Path) -> None:
    touch(tmp_path, "images/nevus/a.jpg", "elsewhere/b.jpg")
    (tmp_path / "images" / "more").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "images" / "loop").symlink_to(tmp_path / "images")
    (tmp_path / "images" / "self").symlink_to(tmp_path / "images" / "self")
    found = list_source(str(tmp_path / "images"))
    assert [info.path.rsplit("/", 1)[-1] for info in found.images] == ["b.jpg", "a.jpg"]
    assert found.passed_over[LOOPS] == 1


def test_odd_names_are_read_or_counted(tmp_path: Path) -> None:
    folder = tmp_path / "nevus"
    touch(folder, "scan::1.jpg", "line\nbreak.jpg", "x" * 200 + ".jpg")
    with open(os.fsencode(folder) + b"/\xff.jpg", "wb") as file:  # noqa: PTH123 - not UTF-8
        file.write(b"x")
    found = list_source(str(tmp_path))
    assert (len(found.images), found.passed_over[BAD_NAMES]) == (3, 1)


def test_a_missing_folder_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere: not found; give the folder"):
        list_source(str(tmp_path / "nowhere"))


def test_a_link_to_a_folder_that_lies_elsewhere_in_the_source_is_read_under_both_names(tmp_path: Path) -> None:
    touch(tmp_path, "all/holdout/nevus/a.jpg", "all/rest/nevus/b.jpg")
    (tmp_path / "Test").symlink_to(tmp_path / "all" / "holdout")
    found = list_source(str(tmp_path))
    inside = [info.path.removeprefix(f"{tmp_path}/") for info in found.images]
    assert inside == ["Test/nevus/a.jpg", "all/holdout/nevus/a.jpg", "all/rest/nevus/b.jpg"]


def test_folders_that_link_to_each_other_are_read_a_few_times_only(tmp_path: Path) -> None:
    for one in range(6):
        touch(tmp_path, f"{one}/a.jpg")
        for other in range(6):
            if one != other:
                (tmp_path / str(one) / f"to {other}").symlink_to(tmp_path / str(other))
    found = list_source(str(tmp_path))
    assert len(found.images) == 6 * 5
    assert found.passed_over[LOOPS] > 0


@pytest.mark.parametrize("name", ["System Volume Information/x.jpg", "RECYCLER/x.jpg", "nevus/ehthumbs.db"])
def test_rubbish_of_windows_is_passed_over(tmp_path: Path, name: str) -> None:
    touch(tmp_path, name)
    assert list_source(str(tmp_path)).passed_over == {SYSTEM: 1}


def test_json_lines_are_a_table_and_a_json_file_is_named(tmp_path: Path) -> None:
    touch(tmp_path, "metadata.jsonl", "dataset.json")
    found = list_source(str(tmp_path))
    assert len(found.tables) == 1
    assert found.passed_over == {"files ending in .json, which are no images": 1}
