"""Age, sex and site of a patient's lesion as numbers for a network, in which an unknown value is zero.

The rule: no torch here, because every task that loads images imports this module.
"""

from __future__ import annotations

import math
import re

import numpy as np
import pandas as pd
from jaxtyping import Float32

from melanoma_ray.schema import SEXES, SITES, Site

_FINER_WORDS: dict[Site, tuple[str, ...]] = {
    "head/neck": (
        *(
            "scalp",
            "face",
            "ear",
            "neck",
            "head",
            "head neck",
            "head and neck",
            "head neck face",
            "nose",
            "lip",
            "forehead",
        ),
        *("cheek", "chin", "eyelid", "temple"),
    ),
    "torso": (
        *("anterior torso", "posterior torso", "lateral torso", "trunk", "back", "chest", "abdomen", "flank", "breast"),
        *("buttock", "buttocks", "shoulder", "axilla", "groin"),
    ),
    "upper extremity": ("upper limb", "upper limbs", "arm", "forearm", "upper arm", "elbow", "wrist"),
    "lower extremity": ("lower limb", "lower limbs", "leg", "thigh", "calf", "knee", "shin", "ankle"),
    "palms/soles": ("acral", "hand", "foot", "hands", "feet", "palm", "sole", "palms", "soles", "palms and soles"),
    "oral/genital": (
        *("genital", "genital areas", "genitalia", "anogenital", "anogenital region", "oral", "mouth", "mucosa"),
        *("oral and genital", "oral genital"),
    ),
}
"""Words for each site in HAM10000, ISIC 2019 to 2026, PAD-UFES-20, Derm7pt and MILK10k, as ``_normalize`` returns
them."""


def _normalize(word: object) -> str:
    return " ".join(re.split(r"[\s_/]+", str(word).strip().lower()))


_SITE_OF_WORD: dict[str, Site] = {_normalize(site): site for site in SITES} | {
    word: site for site, words in _FINER_WORDS.items() for word in words
}
NUM_FEATURES = 2 + len(SEXES) + len(SITES)
"""Number of features: whether the age is known, (age - 50 years) / 100 years, and a 0 or 1 for each sex and site."""


def encode_metadata(table: pd.DataFrame) -> Float32[np.ndarray, "image feature"]:
    """Return a row of ``NUM_FEATURES`` numbers for each image.

    Args:
        table: Table with the columns age (years), sex (one of ``SEXES``) and site (one of ``SITES``, or a collection's
            word for one). Null, and any other word, counts as unknown.
    """
    age = pd.to_numeric(table["age"], errors="coerce").to_numpy(np.float64, na_value=np.nan)
    known = ~np.isnan(age)
    sex = table["sex"].astype(object)
    site = table["site"].astype(object).map(find_site)
    columns = [
        known,
        np.where(known, (age - 50) / 100, 0.0),
        *((sex == name).to_numpy() for name in SEXES),
        *((site == name).to_numpy() for name in SITES),
    ]
    return np.stack([np.asarray(column, np.float32) for column in columns], axis=1)


def encode_patient(age: float | None, sex: str | None, site: str | None) -> Float32[np.ndarray, " feature"]:
    """Return the row of ``encode_metadata`` for one patient; a table of one row would take a thousand times as long.

    Args:
        age: Age, years; none: unknown.
        sex: One of ``SEXES``; none, and any other word, is unknown.
        site: One of ``SITES``, or a collection's word for one; none, and any other word, is unknown.
    """
    known_age = None if age is None or math.isnan(age) else age
    known_site = None if site is None else find_site(site)
    features = [known_age is not None, 0.0 if known_age is None else (known_age - 50) / 100]
    return np.array([*features, *(sex == name for name in SEXES), *(known_site == name for name in SITES)], np.float32)


def nothing_known(num_images: int) -> Float32[np.ndarray, "image feature"]:
    """Return the rows of ``encode_metadata`` for images without metadata."""
    return np.zeros((num_images, NUM_FEATURES), np.float32)


def find_site(word: object) -> Site | None:
    """Return the site of the body that a table's word means, one of ``SITES``; none: it means none of them.

    >>> find_site("Lower_extremity"), find_site("wing")
    ('lower extremity', None)
    """
    return _SITE_OF_WORD.get(_normalize(word))


def is_placed_site(word: str) -> bool:
    """Return whether a table's word for a site of the body means one of ``SITES``.

    >>> is_placed_site("Lower_extremity"), is_placed_site("wing")
    (True, False)
    """
    return find_site(word) is not None
