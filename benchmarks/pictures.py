"""Pictures that no classifier of lesions should call routine: pictures of something else, and damaged ones of lesions.

All are drawn from a seed, but for the photographs, which are crops of the two that scikit-learn ships.
"""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont
from sklearn.datasets import load_sample_images

Picture = UInt8[np.ndarray, "side side 3"]
_WORDS = ("referral", "letter", "lesion", "on", "the", "left", "forearm", "since", "spring", "itches", "please")


def draw_others(kind: str, number: int, side: int) -> UInt8[np.ndarray, "image side side 3"]:
    """Return pictures of a kind that are no lesions.

    Args:
        kind: One of ``OTHERS``.
        number: Number of pictures.
        side: Width and height, pixels.
    """
    draw = OTHERS[kind]
    return np.stack([draw(np.random.default_rng([number, seed]), side) for seed in range(number)])


def damage(kind: str, crops: UInt8[np.ndarray, "image side side 3"]) -> UInt8[np.ndarray, "image side side 3"]:
    """Return copies of crops that are damaged in one way.

    Args:
        kind: One of ``DAMAGES``.
        crops: The crops, RGB.
    """
    change = DAMAGES[kind]
    return np.stack([change(crop) for crop in crops])


def _white(random: np.random.Generator, side: int) -> Picture:
    return np.full((side, side, 3), random.integers(245, 256), np.uint8)


def _black(random: np.random.Generator, side: int) -> Picture:
    return np.full((side, side, 3), random.integers(0, 11), np.uint8)


def _plain(random: np.random.Generator, side: int) -> Picture:
    return np.broadcast_to(random.integers(0, 256, 3, np.uint8), (side, side, 3)).copy()


def _noise(random: np.random.Generator, side: int) -> Picture:
    grain = int(random.choice([1, 2, 4, 8]))
    small = random.integers(0, 256, (-(-side // grain), -(-side // grain), 3), np.uint8)
    return np.asarray(cv2.resize(small, None, fx=grain, fy=grain, interpolation=cv2.INTER_NEAREST)[:side, :side])


def _text(random: np.random.Generator, side: int) -> Picture:
    size = int(random.integers(max(8, side // 16), max(9, side // 6)))
    ink, paper = (255, 20) if random.random() < 0.2 else (20, 250)
    page = Image.new("RGB", (side, side), (paper,) * 3)
    for top in range(2, side, size + 3):
        line = " ".join(random.permutation(_WORDS))
        ImageDraw.Draw(page).text((3, top), line, (ink,) * 3, font=ImageFont.load_default(size))
    return np.asarray(page)


def _photograph(random: np.random.Generator, side: int) -> Picture:
    whole = load_sample_images().images[random.integers(2)]
    length = int(random.integers(side, min(whole.shape[:2])))
    top, left = (int(random.integers(0, whole.shape[axis] - length)) for axis in (0, 1))
    cut = whole[top : top + length, left : left + length]
    return np.asarray(cv2.resize(cut, (side, side), interpolation=cv2.INTER_AREA))


def _blurred(crop: Picture) -> Picture:
    return np.asarray(cv2.GaussianBlur(crop, (0, 0), len(crop) / 16))


def _dark(crop: Picture) -> Picture:
    return (crop * 0.15).astype(np.uint8)


def _hue_turned(crop: Picture) -> Picture:
    hsv = cv2.cvtColor(crop, cv2.COLOR_RGB2HSV)
    hsv[..., 0] = (hsv[..., 0].astype(int) + 90) % 180  # OpenCV's hues are half degrees: by 180°
    return np.asarray(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB))


def _cut_off(crop: Picture) -> Picture:
    half = len(crop) // 2
    return np.asarray(cv2.resize(crop[:half, :half], crop.shape[:2], interpolation=cv2.INTER_LINEAR))


def _jpeg(crop: Picture) -> Picture:
    encoded = cv2.imencode(".jpg", crop[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 3])[1]
    return np.asarray(cv2.imdecode(encoded, cv2.IMREAD_COLOR))[..., ::-1]


OTHERS = {
    "white": _white,
    "black": _black,
    "one colour": _plain,
    "noise": _noise,
    "text": _text,
    "photograph": _photograph,
}
DAMAGES = {
    "blurred (σ 1/16 of the side)": _blurred,
    "dark (15 % of the light)": _dark,
    "hue turned by 180°": _hue_turned,
    "cut off (a corner quarter)": _cut_off,
    "JPEG quality 3": _jpeg,
}
