"""What is known of a patient (age, sex, site) as numbers for a network; what is missing is zero.

The rule: no torch here, since every task that loads images imports this.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from jaxtyping import Float32

from melanoma_ray.schema import SEXES, SITES

_FINER_WORDS = {
    "head/neck": ("scalp", "face", "ear", "neck"),
    "torso": ("anterior torso", "posterior torso", "lateral torso", "trunk", "back", "chest", "abdomen"),
    "palms/soles": ("acral", "hand", "foot"),
    "oral/genital": ("genital",),
}
"""Of HAM10000 and of ISIC 2019 and 2024."""
_SITE_OF_WORD = {site: site for site in SITES} | {word: site for site, words in _FINER_WORDS.items() for word in words}
NUM_FEATURES = 2 + len(SEXES) + len(SITES)
"""Whether the age is known; age, centuries from 50 years on; one for each sex and site."""


def encode_metadata(table: pd.DataFrame) -> Float32[np.ndarray, "image feature"]:
    """Return one row an image, ``NUM_FEATURES`` wide.

    Args:
        table: With age (years), sex (one of ``SEXES``) and site (one of ``SITES``, or a collection's word for one);
            each may be null, and another word counts as unknown.
    """
    age = pd.to_numeric(table["age"], errors="coerce").to_numpy(np.float64, na_value=np.nan)
    known = ~np.isnan(age)
    sex = table["sex"].astype(object)
    site = table["site"].astype(object).map(lambda word: _SITE_OF_WORD.get(str(word).lower()))
    columns = [
        known,
        np.where(known, (age - 50) / 100, 0.0),
        *((sex == name).to_numpy() for name in SEXES),
        *((site == name).to_numpy() for name in SITES),
    ]
    return np.stack([np.asarray(column, np.float32) for column in columns], axis=1)


def nothing_known(num_images: int) -> Float32[np.ndarray, "image feature"]:
    """Return the rows of images without metadata."""
    return np.zeros((num_images, NUM_FEATURES), np.float32)
