"""Masks that no file name gives away: two-valued pictures next to a photograph of the same name."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
from jaxtyping import Bool

from melanoma_ray.dataset.shards import read_thumbnails

_MAX_COLOUR = 1.0
"""Difference of the mean red, green and blue of a picture that counts as grey, of 255."""
_NEAR_EXTREME = 16
"""Distance to the darkest or brightest value that still counts as that value: thumbnails are smoothed, of 255."""
_MIN_EXTREME_FRACTION = 0.8
_MIN_CONTRAST = 100
"""Between the two values, of 255."""


def find_masks(index: pd.DataFrame, shards_uri: str) -> Bool[np.ndarray, " image"]:
    """Tell the images that are masks.

    Args:
        index: With image_id, red, green, blue, shard and row.
        shards_uri: Directory of the shards, which have the thumbnails.
    """
    is_grey = ((index["red"] - index["green"]).abs() < _MAX_COLOUR) & (
        (index["green"] - index["blue"]).abs() < _MAX_COLOUR
    )
    photographs = set(index.loc[~is_grey, "image_id"])
    is_beside = np.array([any(part in photographs for part in _beginnings(name)) for name in index["image_id"]], bool)
    is_mask = np.zeros(len(index), bool)
    candidates = np.flatnonzero(is_grey.to_numpy() & is_beside)
    if len(candidates):
        chosen = index.iloc[candidates]
        thumbnails = read_thumbnails(shards_uri, list(chosen["shard"]), list(chosen["row"])).astype(np.int16)
        low, high = (end(thumbnails, axis=(1, 2), keepdims=True) for end in (np.min, np.max))
        is_extreme = (thumbnails - low < _NEAR_EXTREME) | (high - thumbnails < _NEAR_EXTREME)
        is_two_valued = is_extreme.mean(axis=(1, 2)) > _MIN_EXTREME_FRACTION
        is_mask[candidates] = is_two_valued & ((high - low)[:, 0, 0] > _MIN_CONTRAST)
    return is_mask


def _beginnings(name: str) -> list[str]:
    """Return a name and its beginnings up to each underscore or hyphen: ISIC_1_mask, ISIC_1, ISIC."""
    return [name, *(name[: found.start()] for found in re.finditer(r"[_-]", name) if found.start())]
