"""Masks are no lesions, and photographs are no masks, whatever they are called."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from melanoma_ray.sources.listing import MASKS, list_source


def write_photograph(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(0).integers(0, 60, (48, 48, 3))
    Image.fromarray((noise + np.array([150, 90, 70])).astype(np.uint8)).save(path)


def write_mask(path: Path, *, values: int = 2) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    y, x = np.mgrid[:48, :48] - 24
    levels = np.minimum((x**2 + y**2) // 200, values - 1) * (255 // (values - 1))
    Image.fromarray(levels.astype(np.uint8)).save(path)


def names(root: Path) -> list[str]:
    return [Path(info.path).name for info in list_source(str(root)).images]


PNGS = (
    *("mask_f2.png", "f4.mask.png", "SegmentationMasks/f.png", "masks_png/f.png", "Lesion Segmentation/f.png"),
    *("annotations/f.png", "labels/f.png", "nevus/f_roi.png", "nevus/f_label0.png", "ground truth/f_gt.png"),
)
JPEGS = ("f-mask.jpg", "nevus/f_seg.jpg", "nevus/f_ROI.jpg")


@pytest.mark.parametrize(
    ("name", "values"), [*((name, values) for name in PNGS for values in (2, 5)), *((name, 2) for name in JPEGS)]
)
def test_a_mask_is_known_by_its_name_and_by_what_is_in_it(tmp_path: Path, name: str, values: int) -> None:
    write_photograph(tmp_path / "nevus" / "f.jpg")
    write_mask(tmp_path / name, values=values)
    found = list_source(str(tmp_path))
    assert ([Path(info.path).name for info in found.images], found.passed_over[MASKS]) == (["f.jpg"], 1)


@pytest.mark.parametrize(
    "name",
    [
        *(
            "nevus/f_roi.jpg",
            "nevus/f_label0.jpg",
            "annotations/f.jpg",
            "nevus/f_seg.jpg",
            "skin_lesion_segmentation/f2.jpg",
        ),
        *("masks/nevus/f2.jpg", "labels/nevus/f3.jpg"),
    ],
)
def test_a_photograph_is_an_image_whatever_it_is_called(tmp_path: Path, name: str) -> None:
    write_photograph(tmp_path / "nevus" / "f.jpg")
    write_photograph(tmp_path / name)
    found = list_source(str(tmp_path))
    assert (len(found.images), found.passed_over[MASKS]) == (2, 0)


def test_without_an_image_of_its_name_beside_it_a_doubtful_name_is_an_image(tmp_path: Path) -> None:
    write_mask(tmp_path / "nevus" / "f_roi.png")
    write_mask(tmp_path / "labels" / "g.png")
    assert names(tmp_path) == ["g.png", "f_roi.png"]


def test_what_can_t_be_read_is_what_its_name_says_where_that_is_certain(tmp_path: Path) -> None:
    for name in ("masks/a.png", "a_roi.png", "a.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    found = list_source(str(tmp_path))
    assert (names(tmp_path), found.passed_over[MASKS]) == (["a.jpg", "a_roi.png"], 1)
