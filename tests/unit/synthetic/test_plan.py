"""The synthetic collection is deterministic, its faults are real, and only the lesion tells the diagnosis."""

from __future__ import annotations

import hashlib
import io
from collections import Counter

import numpy as np
import pytest
from PIL import Image, ImageOps, UnidentifiedImageError

from melanoma_ray.diagnoses import DIAGNOSES, MELANOMA
from melanoma_ray.errors import ConfigError
from melanoma_ray.synthetic.plan import SyntheticImage, draw_lesion, encode_image, plan_collection

PLAN = plan_collection(num_images=1000, seed=7)


def first_with(fault: str | None) -> SyntheticImage:
    return next(image for image in plan_collection(num_images=60, seed=1) if image.fault == fault)


def test_the_same_seed_gives_the_same_plan_and_another_seed_another() -> None:
    assert plan_collection(num_images=60, seed=3) == plan_collection(num_images=60, seed=3)
    assert plan_collection(num_images=60, seed=3) != plan_collection(num_images=60, seed=4)


def test_the_same_row_gives_the_same_bytes() -> None:
    image = first_with(None)
    assert encode_image(image) == encode_image(image)


def test_every_image_has_an_id_and_a_path_of_its_own_under_its_diagnosis() -> None:
    assert len(PLAN) == len({image.image_id for image in PLAN}) == len({image.relative_path for image in PLAN}) == 1000
    assert all(image.relative_path == f"{image.diagnosis}/{image.image_id}.jpg" for image in PLAN)


def test_a_fifth_of_the_images_is_melanoma_and_no_diagnosis_is_rare() -> None:
    counts = Counter(image.diagnosis for image in PLAN)
    assert set(counts) == set(DIAGNOSES)
    assert counts[MELANOMA] == pytest.approx(200, abs=10)
    assert min(counts.values()) >= 80


def test_about_a_fifth_of_the_lesions_has_two_or_three_views() -> None:
    views = Counter(image.lesion_id for image in PLAN)
    assert set(views.values()) == {1, 2, 3}
    assert 0.14 < sum(count > 1 for count in views.values()) / len(views) < 0.26


def test_views_of_a_lesion_share_what_is_known_of_it_and_differ_in_pixels() -> None:
    lesions: dict[str, list[SyntheticImage]] = {}
    for image in PLAN:
        lesions.setdefault(image.lesion_id, []).append(image)
    several = [views for views in lesions.values() if len(views) > 1]
    for views in several:
        assert len({(v.diagnosis, v.drawn_as, v.age, v.sex, v.site, v.lesion_seed) for v in views}) == 1
    first, second = (
        draw_lesion(diagnosis=view.drawn_as, lesion_seed=view.lesion_seed, view_seed=view.view_seed).astype(int)
        for view in several[0][:2]
    )
    assert np.abs(first - second).mean() > 3


def test_sixty_images_already_hold_every_fault() -> None:
    counts = Counter(image.fault for image in plan_collection(num_images=60, seed=0))
    assert all(counts[fault] >= 1 for fault in ("truncated", "empty", "not_an_image", "exif_rotated"))
    assert counts["duplicate_conflict"] >= 2


@pytest.mark.parametrize("num_images", [0, 59])
def test_too_few_images_are_refused(num_images: int) -> None:
    with pytest.raises(ConfigError, match=f"num_images={num_images}: expected 60 or more"):
        plan_collection(num_images=num_images, seed=0)


def test_an_unknown_diagnosis_is_refused() -> None:
    with pytest.raises(ConfigError, match="wart"):
        draw_lesion(diagnosis="wart", lesion_seed=0, view_seed=0)


def test_a_sound_image_is_a_jpeg_of_the_asked_size() -> None:
    with Image.open(io.BytesIO(encode_image(first_with(None), width=200, height=150))) as opened:
        assert (opened.format, opened.size) == ("JPEG", (200, 150))


def test_a_truncated_image_opens_but_cannot_be_decoded() -> None:
    with (
        Image.open(io.BytesIO(encode_image(first_with("truncated")))) as opened,
        pytest.raises(OSError, match="truncated"),
    ):
        opened.load()


def test_an_empty_file_is_empty() -> None:
    assert encode_image(first_with("empty")) == b""


def test_a_text_named_jpg_is_no_image() -> None:
    encoded = encode_image(first_with("not_an_image"))
    assert encoded.decode()
    with pytest.raises(UnidentifiedImageError):
        Image.open(io.BytesIO(encoded))


def test_an_image_turned_by_exif_stands_upright_once_the_tag_is_obeyed() -> None:
    image = first_with("exif_rotated")
    drawn = draw_lesion(diagnosis=image.drawn_as, lesion_seed=image.lesion_seed, view_seed=image.view_seed)
    with Image.open(io.BytesIO(encode_image(image))) as opened:
        assert opened.getexif()[0x0112] == 6
        assert opened.size == (225, 300)
        upright = np.asarray(ImageOps.exif_transpose(opened))
    assert np.abs(upright.astype(int) - drawn).mean() < 4
    assert np.abs(upright[::-1, ::-1].astype(int) - drawn).mean() > 6


def test_conflicting_duplicates_repeat_the_bytes_of_a_sound_image_under_the_other_diagnosis() -> None:
    by_id = {image.image_id: image for image in PLAN}
    pairs = [(by_id[copy.copy_of], copy) for copy in PLAN if copy.copy_of is not None]
    assert {copy.fault for _, copy in pairs} == {"duplicate_conflict"}
    diagnoses = {(original.diagnosis, copy.diagnosis) for original, copy in pairs}
    assert diagnoses == {(MELANOMA, "seborrheic keratosis"), ("seborrheic keratosis", MELANOMA)}
    assert all(original.fault is None for original, _ in pairs)
    assert all(encode_image(copy) == encode_image(original) for original, copy in pairs[:2])
    assert all(copy.lesion_id != original.lesion_id for original, copy in pairs)


def test_no_two_other_images_have_the_same_bytes() -> None:
    images = [image for image in plan_collection(num_images=60, seed=2) if image.fault in {None, "exif_rotated"}]
    assert len({hashlib.sha256(encode_image(image)).digest() for image in images}) == len(images)
