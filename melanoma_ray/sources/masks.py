"""Masks among the images of a source: by their names, and where a name is doubtful by the picture itself.

The rule: ``x_segmentation.png`` is a mask whatever is in it; ``x_roi.png`` only beside ``x.jpg``, and if it has but a
few values. A photograph is no mask, whatever it or its folder is called. Two-valued pictures whose names tell nothing
are found when they are decoded (``preparation/masks.py``).
"""

from __future__ import annotations

import io
import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import PurePosixPath

import numpy as np
from PIL import Image

from melanoma_ray import storage

_CERTAIN_STEM = re.compile(
    r"(?:^|[_\-. ])(?:segmentations?|superpixels?|masks?|attribute_\w+)$|^masks?[_\-. ]"
    r"|^IMD\d+_(?:lesion|roi|R\d+_Label\d*)$",
    re.IGNORECASE,
)
"""Of ISIC 2016 to 2018, HAM10000 and PH2, and what people call their own."""
_DOUBTFUL_STEM = re.compile(r"[_\-. ](?:seg|roi|gt|annotations?|(?:r\d+_)?label\d*)$", re.IGNORECASE)
_CERTAIN_FOLDER = re.compile(
    r"^.*(?:mask|segmentation|superpixel|_roi)s?$|^masks?[_\- ]|^IMD\d+_lesion$", re.IGNORECASE
)
_DOUBTFUL_FOLDER = re.compile(r"^(?:annotations?|labels?|ground[ _-]?truths?|gt|rois?)$", re.IGNORECASE)
_MAX_LOOKED_AT = 3
"""Pictures of a folder that is called after masks."""
_SIDE = 64
"""Of the sample of a picture's pixels that is looked at."""
_MAX_VALUES = 16
"""Distinct colours in the sample of a map of labels."""
_NEAR_EXTREME, _MIN_EXTREME_FRACTION, _MIN_CONTRAST = 16, 0.9, 100
"""A JPEG of two values has others along their edges: of 255, share of the pixels, and of 255."""


def find_masks(paths: Sequence[str], inside: Sequence[str]) -> list[bool]:
    """Tell the images that are masks.

    Args:
        paths: Of the images, local or remote.
        inside: The same, below the source.
    """
    parts = [PurePosixPath(one) for one in inside]
    masks = {place for place, one in enumerate(parts) if _CERTAIN_STEM.search(one.stem)}
    masks |= _find_in_folders(paths, parts, masks)
    stems: dict[str, set[int]] = defaultdict(set)
    for place in set(range(len(parts))) - masks:
        stems[parts[place].stem.lower()].add(place)
    doubtful = [place for place, one in enumerate(parts) if place not in masks and _is_doubtful(one)]
    masks |= {
        place
        for place in doubtful
        if _has_sibling(place, parts[place].stem.lower(), stems) and is_mask_like(paths[place])
    }
    return [place in masks for place in range(len(parts))]


def _find_in_folders(paths: Sequence[str], parts: Sequence[PurePosixPath], known: set[int]) -> set[int]:
    """Return the images in folders that are called after masks; unless one of the first is a photograph."""
    folders = defaultdict(list)
    for place, one in enumerate(parts):
        if place not in known and any(_CERTAIN_FOLDER.search(name) for name in one.parts[:-1]):
            folders[one.parent].append(place)
    found: set[int] = set()
    for places in folders.values():
        if all(is_mask_like(paths[place]) is not False for place in places[:_MAX_LOOKED_AT]):
            found.update(places)
    return found


def _is_doubtful(inside: PurePosixPath) -> bool:
    return bool(_DOUBTFUL_STEM.search(inside.stem)) or any(_DOUBTFUL_FOLDER.search(name) for name in inside.parts[:-1])


def _has_sibling(place: int, stem: str, stems: dict[str, set[int]]) -> bool:
    """Tell an image beside which another one has the same name, or its beginning up to a separator."""
    names = [stem, *(stem[: found.start()] for found in re.finditer(r"[_\-. ]", stem) if found.start())]
    return any(stems.get(name, set()) - {place} for name in names)


def is_mask_like(path: str) -> bool | None:
    """Tell a picture of a few values from a photograph; none: it can't be read."""
    try:
        with Image.open(io.BytesIO(storage.read_bytes(path))) as image:
            image.draft("RGB", (_SIDE, _SIDE))
            sample = np.asarray(image.convert("RGB").resize((_SIDE, _SIDE), Image.Resampling.NEAREST), np.int16)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
    if len(np.unique(sample.reshape(-1, 3), axis=0)) <= _MAX_VALUES:
        return True
    if (sample.max(axis=2) - sample.min(axis=2)).mean() > _NEAR_EXTREME:
        return False  # colours
    low, high = int(sample.min()), int(sample.max())
    is_extreme = (sample - low < _NEAR_EXTREME) | (high - sample < _NEAR_EXTREME)
    return high - low > _MIN_CONTRAST and bool(is_extreme.mean() > _MIN_EXTREME_FRACTION)
