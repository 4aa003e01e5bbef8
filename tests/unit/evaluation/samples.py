"""Scored images for tests of the report."""

from __future__ import annotations

import numpy as np

from melanoma_ray.evaluation.scored import Scored
from melanoma_ray.inference.predictor import Predictions


def draw_scored(num_images: int, seed: int = 0) -> Scored:
    """Return images of a model that tells melanomas, though not surely."""
    random = np.random.default_rng(seed)
    truth = random.choice(["melanoma", "nevus", "basal cell carcinoma"], num_images, p=[0.3, 0.5, 0.2])
    melanoma = np.clip((truth == "melanoma") * 0.4 + random.random(num_images) * 0.6, 0, 1).astype(np.float32)
    probability = np.stack([(1 - melanoma) / 2, melanoma, (1 - melanoma) / 2], axis=1)
    return Scored(
        predictions=Predictions(
            probability=probability,
            melanoma_probability=melanoma,
            diagnosis=probability.argmax(axis=1),
            decision=tuple("refer" if p >= 0.5 else "routine" for p in melanoma),
        ),
        truth=truth.astype(object),
        group=np.arange(num_images) // 2,
        diagnoses=("basal cell carcinoma", "melanoma", "nevus"),
        malignant=("basal cell carcinoma", "melanoma"),
    )
