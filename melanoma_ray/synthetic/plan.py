"""Synthetic dermoscopic photographs: a plan, and a drawing that is a pure function of one row of it.

The rule: the lesion depends on ``lesion_seed``, and its photograph (rotation, zoom, light, hairs, ruler, bubbles, dark
rim) on ``view_seed``, which is independent of the diagnosis.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

import cv2
import numpy as np
from jaxtyping import Float, Float32, UInt8
from PIL import Image

from melanoma_ray.diagnoses import DIAGNOSES, MELANOMA
from melanoma_ray.errors import ConfigError
from melanoma_ray.synthetic.lesion import draw_canvas

PlantedFault = Literal["truncated", "not_an_image", "empty", "exif_rotated", "duplicate_conflict"]
Pixels = UInt8[np.ndarray, "height width 3"]
Photograph = Float32[np.ndarray, "height width 3"]
"""RGB in [0, 1]."""
Weight = Float32[np.ndarray, "height width"]

_SHARES: dict[str, float] = dict.fromkeys(DIAGNOSES, 0.64 / 7) | {MELANOMA: 0.2, "nevus": 0.16}
"""Share of each diagnosis among the images: many melanomas, and enough of the others for each to be in every split."""
_MEAN_AGES = (67, 66, 51, 61, 43, 62, 64, 70, 52)
"""Mean age for each of ``DIAGNOSES``, years, set after HAM10000's table (doi:10.1038/sdata.2018.161)."""
_SITES = ("abdomen", "back", "chest", "face", "lower extremity", "neck", "scalp", "trunk", "upper extremity")
_ORIENTATION_TAG, _STORED_TURNED_LEFT = 0x0112, 6
"""EXIF's tag Orientation, and its value for pixels that must be turned a quarter to the right (CIPA DC-008)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SyntheticImage:
    """One row of the plan, which is complete before anything is drawn."""

    image_id: str
    """Name of the image, such as ``SYNTHETIC_000123``."""
    relative_path: str
    """Path in the collection, in a folder named by the diagnosis: ``melanoma/SYNTHETIC_000123.jpg``."""
    diagnosis: str
    """Diagnosis that the collection claims, one of ``DIAGNOSES``."""
    drawn_as: str
    """Diagnosis that the drawing shows: another one in a conflicting duplicate, otherwise the same."""
    lesion_id: str
    """Name of the lesion, which its views share."""
    age: float
    """Age of the patient, years."""
    sex: str
    site: str
    lesion_seed: int
    """Seed of the lesion and its skin."""
    view_seed: int
    """Seed of the photograph."""
    fault: PlantedFault | None = None
    copy_of: str | None = None
    """``image_id`` of the image whose bytes a conflicting duplicate repeats; none: it isn't a duplicate."""


def plan_collection(*, num_images: int, seed: int) -> tuple[SyntheticImage, ...]:
    """Return the plan of a whole collection: lesions, views, and faults such as real collections have.

    About a fifth of the lesions have two or three views. At least one file is truncated, one empty, one a text and one
    rotated by EXIF. At least two files repeat the bytes of a melanoma as a seborrheic keratosis, or the reverse, as 75
    images of the nine-class ISIC set do.

    Args:
        num_images: Number of files, 60 or more, so that each diagnosis and each fault occurs.
        seed: Seed of all random numbers, 0 or more.

    Raises:
        ConfigError: There are too few images, or the seed is negative.
    """
    for name, value, least in (("num_images", num_images, 60), ("seed", seed, 0)):
        if value < least:
            msg = f"{name}={value}: expected {least} or more"
            raise ConfigError(msg)
    rng = np.random.default_rng(seed)
    num_copies = 2 * max(1, num_images // 500)
    views = list(_plan_views(rng, num_images - num_copies))
    mixed = [views[index] for index in rng.permutation(len(views))]
    named = [_rename(view, position) for position, view in enumerate(_plant_faults(rng, mixed))]
    return (*named, *_plan_copies(rng, named, num_copies))


def _plan_views(rng: np.random.Generator, num_views: int) -> Iterator[SyntheticImage]:
    """Yield the views, lesion by lesion; each lesion has the diagnosis that is furthest below its share."""
    counts = dict.fromkeys(DIAGNOSES, 0)
    lesion, left = 0, num_views
    while left:
        diagnosis = min(DIAGNOSES, key=lambda name: (counts[name] + 1) / _SHARES[name])
        views = min(left, int(rng.choice((1, 2, 3), p=(0.8, 0.12, 0.08))))
        first = SyntheticImage(
            image_id="",  # set with the path, once the order is drawn
            relative_path="",
            diagnosis=diagnosis,
            drawn_as=diagnosis,
            lesion_id=f"SYNTHETIC_LESION_{lesion:06d}",
            age=float(np.clip(5 * round(rng.normal(_MEAN_AGES[DIAGNOSES.index(diagnosis)], 14) / 5), 5, 90)),
            sex=str(rng.choice(("female", "male"))),
            site=str(rng.choice(_SITES)),
            lesion_seed=int(rng.integers(2**31)),
            view_seed=0,
        )
        for _ in range(views):
            yield replace(first, view_seed=int(rng.integers(2**31)))
        counts[diagnosis] += views
        lesion, left = lesion + 1, left - views


def _plant_faults(rng: np.random.Generator, views: list[SyntheticImage]) -> list[SyntheticImage]:
    rare, common = max(1, len(views) // 500), max(1, len(views) // 100)
    faults: tuple[PlantedFault, ...] = ("truncated", "empty", "not_an_image")
    planted = [fault for fault in faults for _ in range(rare)] + ["exif_rotated"] * common
    places = rng.choice(len(views), len(planted), replace=False)
    faulty = list(views)
    for place, fault in zip(places, planted, strict=True):
        faulty[place] = replace(views[place], fault=fault)
    return faulty


def _rename(view: SyntheticImage, position: int) -> SyntheticImage:
    image_id = f"SYNTHETIC_{position:06d}"
    return replace(view, image_id=image_id, relative_path=f"{view.diagnosis}/{image_id}.jpg")


def _plan_copies(rng: np.random.Generator, views: list[SyntheticImage], num_copies: int) -> Iterator[SyntheticImage]:
    """Yield conflicting duplicates, alternately of melanoma and seborrheic keratosis, each claimed as a new lesion."""
    swap = {MELANOMA: "seborrheic keratosis", "seborrheic keratosis": MELANOMA}
    sound = {name: [view for view in views if view.diagnosis == name and view.fault is None] for name in swap}
    order = {name: rng.permutation(len(sound[name])) for name in swap}
    for number in range(num_copies):
        shown = list(swap)[number % 2]
        original = sound[shown][order[shown][number // 2]]
        copy = replace(
            original,
            diagnosis=swap[shown],
            lesion_id=f"{original.lesion_id}_COPY",
            fault="duplicate_conflict",
            copy_of=original.image_id,
        )
        yield _rename(copy, len(views) + number)


def encode_image(image: SyntheticImage, *, width: int = 300, height: int = 225, quality: int = 90) -> bytes:
    """Return the bytes of one file of the collection, with its planted fault.

    Args:
        image: Row of the plan.
        width: Width of the upright image, pixels.
        height: Height of the upright image, pixels.
        quality: Quality of the JPEG, 1 to 95.
    """
    if image.fault == "empty":
        return b""
    if image.fault == "not_an_image":
        return f"{image.image_id}: the photograph was not transferred.\n".encode()
    pixels = draw_lesion(
        diagnosis=image.drawn_as,
        lesion_seed=image.lesion_seed,
        view_seed=image.view_seed,
        width=width,
        height=height,
    )
    exif = Image.Exif()
    if image.fault == "exif_rotated":
        pixels = np.ascontiguousarray(np.rot90(pixels))
        exif[_ORIENTATION_TAG] = _STORED_TURNED_LEFT
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=quality, exif=exif)
    encoded = buffer.getvalue()
    return encoded[: len(encoded) // 2] if image.fault == "truncated" else encoded


def draw_lesion(*, diagnosis: str, lesion_seed: int, view_seed: int, width: int = 300, height: int = 225) -> Pixels:
    """Return one photograph, RGB; the same arguments give the same pixels.

    Args:
        diagnosis: Diagnosis to draw, one of ``DIAGNOSES``.
        lesion_seed: Seed of the lesion and its skin, 0 or more.
        view_seed: Seed of the photograph, 0 or more.
        width: Width, pixels.
        height: Height, pixels.

    Raises:
        ConfigError: The diagnosis is unknown.
    """
    canvas = draw_canvas(diagnosis=diagnosis, seed=lesion_seed, side=round(1.2 * max(width, height)))
    rng = np.random.default_rng((view_seed, 3))
    photograph = _aim(rng, canvas, width, height)
    photograph *= _shine(rng, width, height)
    for put, probability in ((_put_hairs, 0.5), (_put_bubbles, 0.15), (_put_ruler, 0.2), (_put_rim, 0.35)):
        seed = int(rng.integers(2**31))  # drawn in any case, so that leaving one out doesn't change the others
        if rng.random() < probability:
            put(np.random.default_rng(seed), photograph)
    photograph = cv2.GaussianBlur(photograph, (0, 0), rng.uniform(0.3, 0.8) * height / 225)
    grain = 0.012 * (rng.random(photograph.shape, dtype=np.float32) - 0.5)
    pixels: Pixels = np.rint(np.clip(photograph + grain, 0, 1) * 255).astype(np.uint8)
    return pixels


def _aim(rng: np.random.Generator, canvas: Float32[np.ndarray, "s s 3"], width: int, height: int) -> Photograph:
    """Return the canvas as the camera sees it: rotated, maybe mirrored, a little zoomed and a little off centre."""
    zoom, mirror = rng.uniform(0.92, 1.4), rng.choice((-1, 1))
    turn = np.array(cv2.getRotationMatrix2D((len(canvas) / 2,) * 2, rng.uniform(0, 360), zoom), np.float64)
    turn[:, 2] += np.array((width, height)) * (0.5 + rng.uniform(-0.06, 0.06, 2)) - len(canvas) / 2
    turn[0] = turn[0] * mirror + (0, 0, width * (mirror < 0))
    aimed: Photograph = cv2.warpAffine(canvas, turn, (width, height), borderMode=cv2.BORDER_REFLECT_101)
    return aimed


def _shine(rng: np.random.Generator, width: int, height: int) -> Photograph:
    """Return the light at each pixel: exposure, white balance, a slope across the field and fall-off to the corners."""
    rows, columns = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j].astype(np.float32)
    heading, slope = rng.uniform(0, math.tau), rng.uniform(0, 0.1)
    field = 1 + slope * (columns * math.cos(heading) + rows * math.sin(heading))
    field -= rng.uniform(0.0, 0.14) * (columns**2 + rows**2)
    warmth, tint = rng.normal(0, 0.05), rng.normal(0, 0.025)
    gains = np.array((1 + warmth, 1 + tint, 1 - warmth + abs(tint))) * rng.uniform(0.85, 1.15)
    light: Photograph = field[..., None] * gains.astype(np.float32)
    return light


def _blend(photograph: Photograph, weight: Weight, colour: tuple[float, float, float]) -> None:
    over: Photograph = weight[..., None].astype(np.float32) * (np.array(colour, np.float32) - photograph)
    np.add(photograph, over, out=photograph)


def _distance(photograph: Photograph, centre: Float[np.ndarray, " 2"]) -> Weight:
    """Return the distance of each pixel from a point (x, y), pixels."""
    rows, columns = np.ogrid[: photograph.shape[0], : photograph.shape[1]]
    distance: Weight = np.hypot(columns - centre[0], rows - centre[1]).astype(np.float32)
    return distance


def _draw_lines(photograph: Photograph, lines: list[Float[np.ndarray, "point 2"]], width: int) -> Weight:
    """Return lines through points (x, y), drawn with the width that ``width`` pixels have in an image of height 225."""
    drawn = np.zeros(photograph.shape[:2], np.uint8)
    fixed = [np.rint(line * 16).astype(np.int32) for line in lines]
    thickness = max(1, round(width * len(drawn) / 225))
    cv2.polylines(drawn, fixed, isClosed=False, color=255, thickness=thickness, lineType=cv2.LINE_AA, shift=4)
    return drawn.astype(np.float32) / 255


def _put_hairs(rng: np.random.Generator, photograph: Photograph) -> None:
    """Draw hairs over the photograph, dark or fair, mostly fine and in one direction."""
    field = np.array(photograph.shape[1::-1])
    count, heading = 1 + int(rng.gamma(1.2, 6)), rng.uniform(0, math.tau)
    time = np.linspace(0, 1, 24)[:, None]
    lines = []
    for own in heading + rng.normal(0, 0.45, count):
        reach = np.array((math.cos(own), math.sin(own))) * field[1] * rng.uniform(0.2, 1.1)
        bend = reach[::-1] * (-1, 1) * rng.normal(0, 0.5)
        lines.append(rng.random(2) * field + reach * time + bend * time * (1 - time))
    dark = rng.uniform(0.05, 0.35)
    colour = (dark, dark * 0.8, dark * 0.65) if rng.random() < 0.85 else (0.75, 0.66, 0.5)
    num_coarse = int(rng.integers(0, 1 + count // 4))
    for some, width in ((lines[num_coarse:], 1), (lines[:num_coarse], 2)):
        _blend(photograph, rng.uniform(0.4, 0.8) * _draw_lines(photograph, some, width), colour)


def _put_bubbles(rng: np.random.Generator, photograph: Photograph) -> None:
    """Draw air bubbles in the contact gel: bright rings with a highlight."""
    field = np.array(photograph.shape[1::-1])
    for _ in range(int(rng.integers(1, 6))):
        centre, radius = rng.random(2) * field, field[1] * rng.uniform(0.012, 0.06)
        ring = np.exp(-(((_distance(photograph, centre) / radius - 1) / 0.16) ** 2))
        _blend(photograph, 0.35 * ring, (1.0, 0.98, 0.96))
        glint = np.exp(-((_distance(photograph, centre - radius / 2) / radius * 5) ** 2))
        _blend(photograph, 0.7 * glint, (1.0, 1.0, 1.0))


def _put_ruler(rng: np.random.Generator, photograph: Photograph) -> None:
    """Draw a scale along one edge: a mark at each millimetre, and a longer one at each fifth."""
    height, width = photograph.shape[:2]
    heading = rng.integers(4) * math.pi / 2 + rng.normal(0, 0.12)
    along = np.array((math.cos(heading), math.sin(heading)))
    inward = np.array((-along[1], along[0]))
    start = np.array((width, height)) / 2 - inward * (abs(inward) * (width, height)).sum() * rng.uniform(0.38, 0.46)
    spacing = height * rng.uniform(0.04, 0.07)
    lines = []
    for number in range(-20, 21):
        mark = start + along * spacing * number
        length = spacing * (1.3 if number % 5 == 0 else 0.7)
        lines.append(np.stack((mark, mark + inward * length)))
    _blend(photograph, 0.8 * _draw_lines(photograph, lines, 1), (0.06, 0.06, 0.08))


def _put_rim(rng: np.random.Generator, photograph: Photograph) -> None:
    """Draw the dark rim of the microscope's tube."""
    field = np.array(photograph.shape[1::-1])
    distance = _distance(photograph, field * (0.5 + rng.uniform(-0.04, 0.04, 2)))
    edge, soft = math.hypot(*field) / 2 * rng.uniform(0.78, 1.0), field[1] * rng.uniform(0.008, 0.05)
    _blend(photograph, np.clip((distance - edge) / soft + 0.5, 0, 1), (0.03, 0.025, 0.03))
