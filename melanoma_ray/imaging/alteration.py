"""Changes of a crop that a model of lesions should bear, or shouldn't: no border, no hair, no colour, no lesion.

Each returns the changed crop, of the size of the given one, or none where the change doesn't apply to it.
"""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import Bool, UInt8

_KEPT = 0.8
"""Share of the side that is kept when the border is cut off."""
_HAIR_WIDTH = 0.04
"""Largest width of a hair, as a share of the side: the black-hat's kernel."""
_HAIR_DARKER = 16
"""How much darker than its surroundings a hair is at least, grey levels of 255."""
_HAIR_LENGTH = 0.15
"""Smallest extent of a hair, as a share of the side; shorter dark spots belong to the lesion."""
_HAIR_FILL = 0.3
"""Largest share of the rectangle around hairs that they fill."""
_LEAST_HAIR = 0.005
"""Smallest share of the pixels that is worth being called hair."""
_SIDE = 128
"""Side of the small copy that is segmented, pixels."""
_AREA = (0.01, 0.6)
"""Smallest and largest share of the crop that is believed to be a lesion."""
_LEAST_CONTRAST = 12.0
"""Smallest difference of the mean grey levels of lesion and skin, of 255, that is believed."""
_MOST_OF_FRAME = 0.3
"""Largest share of the outermost pixels that may belong to a lesion; with more it isn't seen whole."""
_MARGIN = 0.04
"""Width by which the mask is grown beyond the segmented edge, as a share of the side."""


def cut_border(pixels: UInt8[np.ndarray, "side side 3"]) -> UInt8[np.ndarray, "side side 3"]:
    """Return the middle of a crop, enlarged to its size: no corners, rulers and ink at the edge."""
    side = pixels.shape[0]
    start = round(side * (1 - _KEPT) / 2)
    middle = pixels[start : side - start, start : side - start]
    return np.asarray(cv2.resize(middle, (side, side), interpolation=cv2.INTER_LINEAR))


def turn_grey(pixels: UInt8[np.ndarray, "side side 3"]) -> UInt8[np.ndarray, "side side 3"]:
    """Return a crop without colours."""
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    return np.asarray(cv2.cvtColor(grey, cv2.COLOR_GRAY2RGB))


def remove_hair(pixels: UInt8[np.ndarray, "side side 3"]) -> UInt8[np.ndarray, "side side 3"] | None:
    """Return a crop whose dark hairs are painted over from their surroundings; none: there are hardly any.

    As DullRazor does, hairs are what a morphological closing fills; long thin ones count. Light hairs aren't found, and
    long dark streaks of a lesion may be taken for hair.

    References:
        Lee 1997, doi:10.1016/S0010-4825(97)00020-6; inpainting: Telea 2004, doi:10.1080/10867651.2004.10487596.
    """
    is_hair = find_hair(pixels)
    if is_hair.mean() < _LEAST_HAIR:
        return None
    grown = cv2.dilate(is_hair.astype(np.uint8), np.ones((3, 3), np.uint8))
    return np.asarray(cv2.inpaint(pixels, grown, 3, cv2.INPAINT_TELEA))


def find_hair(pixels: UInt8[np.ndarray, "side side 3"]) -> Bool[np.ndarray, "side side"]:
    """Return which pixels are of dark hairs."""
    side = pixels.shape[0]
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    size = max(3, 2 * round(side * _HAIR_WIDTH / 2) + 1)
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))
    is_dark = (cv2.morphologyEx(grey, cv2.MORPH_BLACKHAT, kernel) >= _HAIR_DARKER).astype(np.uint8)
    _, number, stats, _ = cv2.connectedComponentsWithStats(is_dark, connectivity=8)
    sides = stats[:, [cv2.CC_STAT_WIDTH, cv2.CC_STAT_HEIGHT]]
    # Lines, crossed ones too, leave most of the rectangle around them empty, unless that is as thin as they are.
    is_thin = (stats[:, cv2.CC_STAT_AREA] <= _HAIR_FILL * sides.prod(axis=1)) | (sides.min(axis=1) <= size)
    is_line = (sides.max(axis=1) >= _HAIR_LENGTH * side) & is_thin
    is_line[0] = False  # the background
    return np.asarray(is_line[number])


def mask_lesion(pixels: UInt8[np.ndarray, "side side 3"]) -> UInt8[np.ndarray, "side side 3"] | None:
    """Return a crop whose lesion is painted over with the skin's median colour; none: no lesion was found.

    A lesion that is hardly darker than skin, or fills the picture, isn't found. Where one is, its edge may be wrong:
    nothing here compares it with a person's drawing.
    """
    is_lesion = find_lesion(pixels)
    if is_lesion is None:
        return None
    changed = pixels.copy()
    changed[is_lesion] = np.median(pixels[~is_lesion], axis=0).round().astype(np.uint8)
    return changed


def find_lesion(pixels: UInt8[np.ndarray, "side side 3"]) -> Bool[np.ndarray, "side side"] | None:
    """Return which pixels are of the lesion and a margin around it, by Otsu's threshold; none: none was found.

    Of the dark parts that aren't at a corner, the largest near the middle is the lesion.

    References:
        Otsu 1979, doi:10.1109/TSMC.1979.4310076; for lesions: Celebi 2009, doi:10.1016/j.compmedimag.2008.11.002.
    """
    small = cv2.resize(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
    smooth = cv2.GaussianBlur(small, (0, 0), 2)
    _, dark = cv2.threshold(smooth, 0, 1, cv2.THRESH_BINARY_INV + cv2.THRESH_OTSU)
    part = _choose(dark)
    if part is None:
        return None
    is_lesion = _fill(part)
    frame = np.concatenate([is_lesion[0], is_lesion[-1], is_lesion[:, 0], is_lesion[:, -1]])
    skin = smooth[dark == 0]
    contrast = float(skin.mean()) - float(smooth[is_lesion].mean())
    if not _AREA[0] <= is_lesion.mean() <= _AREA[1] or contrast < _LEAST_CONTRAST or frame.mean() > _MOST_OF_FRAME:
        return None
    size = 2 * round(_SIDE * _MARGIN) + 1
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))
    grown = cv2.dilate(is_lesion.astype(np.uint8), kernel)
    side = pixels.shape[0]
    return np.asarray(cv2.resize(grown, (side, side), interpolation=cv2.INTER_NEAREST) > 0)


def _choose(dark: UInt8[np.ndarray, "side side"]) -> Bool[np.ndarray, "side side"] | None:
    """Return the dark part that is most likely a lesion: large, and near the middle; a part at a corner isn't one."""
    _, number, stats, centroids = cv2.connectedComponentsWithStats(dark, connectivity=8)
    at_corner = {0, *(int(number[y, x]) for y in (0, -1) for x in (0, -1))}
    distance = np.hypot(*(centroids - _SIDE / 2).T) / _SIDE
    weight = stats[:, cv2.CC_STAT_AREA] * np.exp(-((distance / 0.25) ** 2))
    weight[list(at_corner)] = 0
    best = int(weight.argmax())
    return None if weight[best] == 0 else np.asarray(number == best)


def _fill(part: Bool[np.ndarray, "side side"]) -> Bool[np.ndarray, "side side"]:
    """Return a part without holes."""
    outlines, _ = cv2.findContours(part.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    filled = np.zeros(part.shape, np.uint8)
    cv2.drawContours(filled, outlines, -1, 1, cv2.FILLED)
    return np.asarray(filled > 0)
