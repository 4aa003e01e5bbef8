"""What is known of a patient (age, sex, site) as numbers for a network; what is missing is zero."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Float32
from torch import Tensor, nn

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
_WIDTHS = (64, 32)
"""Of the hidden layers."""


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


class MetadataEncoder(nn.Module):
    """Adds to the logits what the metadata say.

    The ISIC 2020 winners let a linear layer see the image's features beside those of a small perceptron over the
    metadata (arXiv:2010.05351); a linear layer over both is the sum of one over each, which is what is done here.
    """

    def __init__(self, num_diagnoses: int, dropout: float) -> None:
        """Build; the last layer starts at zero, so the image alone decides at first."""
        super().__init__()
        layers: list[nn.Module] = []
        for inputs, outputs in zip((NUM_FEATURES, *_WIDTHS), _WIDTHS, strict=False):
            layers += [nn.Linear(inputs, outputs), nn.SiLU()]
        self.layers = nn.Sequential(*layers, nn.Dropout(dropout), nn.Linear(_WIDTHS[-1], num_diagnoses))
        nn.init.zeros_(self.layers[-1].weight)  # type: ignore[arg-type]
        nn.init.zeros_(self.layers[-1].bias)  # type: ignore[arg-type]

    def forward(self, metadata: Float[Tensor, "image feature"]) -> Float[Tensor, "image diagnosis"]:
        """Return what is added to the logits."""
        return torch.as_tensor(self.layers(metadata))
