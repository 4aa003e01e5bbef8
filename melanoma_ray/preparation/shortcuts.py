"""The shortcut baseline: how well a model that never sees the lesion predicts the diagnosis.

Sizes, mean colours and dark corners tell clinics and cameras apart. Where they predict the diagnosis,
a network can learn them instead of the lesion, and its figures on images of the same collection flatter it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float, Int
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.inspection import permutation_importance

from melanoma_ray.diagnoses import MELANOMA
from melanoma_ray.errors import MetricError
from melanoma_ray.metrics.intervals import Estimate
from melanoma_ray.metrics.multiclass import balanced_accuracy, estimate_balanced_accuracy
from melanoma_ray.metrics.proportions import estimate_accuracy
from melanoma_ray.metrics.ranking import estimate_auroc

_FEATURES = ("width", "height", "image_bytes", "red", "green", "blue", "corner_brightness", "border_fraction")
_MAX_TRAINED = 20_000
"""Images the model is fitted on, drawn with a fixed seed; more would change no digit that is shown."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ShortcutReport:
    """What can be told of the images outside the train split without looking at a lesion."""

    num_train: int
    """Images the model was fitted on."""
    num_test: int
    """Images of val and test that the figures are of."""
    figures: dict[str, Estimate]
    """accuracy, balanced_accuracy, melanoma_auroc; one that isn't defined is missing."""
    commonest_accuracy: float
    """Of always guessing the commonest diagnosis of the train split."""
    chance_balanced_accuracy: float
    """1 / number of diagnoses."""
    importance: dict[str, float]
    """Balanced accuracy lost when a feature is shuffled, the greatest first."""
    reason: str | None
    """Why there are no figures; none: there are."""


def measure_shortcuts(index: pd.DataFrame) -> ShortcutReport:
    """Fit gradient boosting on the train split's simple features and score it on val and test.

    Args:
        index: Kept images, with diagnosis, split, group_id and the columns of ``schema.MEASUREMENTS``.
    """
    train, test = index[index["split"] == "train"], index[index["split"].isin(["val", "test"])]
    test = test[test["diagnosis"].isin(train["diagnosis"].unique())]
    if train["diagnosis"].nunique() < 2 or test.empty:
        return _without_figures(train, test, "needs two diagnoses in the train split, and images outside it")
    if len(train) > _MAX_TRAINED:
        train = train.sample(_MAX_TRAINED, random_state=0)
    names, target_train = np.unique(train["diagnosis"].astype(str), return_inverse=True)
    target = np.searchsorted(names, test["diagnosis"].astype(str).to_numpy())
    model = HistGradientBoostingClassifier(max_iter=100, class_weight="balanced", random_state=0)
    model.fit(_features(train), target_train)
    probability = model.predict_proba(_features(test))
    loss = permutation_importance(
        model, _features(test), target, scoring=_score, n_repeats=3, random_state=0, max_samples=min(len(test), 2000)
    )
    ranked = sorted(
        zip([*_FEATURES, "aspect", "bytes_per_pixel"], loss.importances_mean, strict=True), key=lambda pair: -pair[1]
    )
    commonest = int(np.bincount(target_train).argmax())
    return ShortcutReport(
        num_train=len(train),
        num_test=len(test),
        figures=_figures(probability, target, test["group_id"].to_numpy(str), list(names)),
        commonest_accuracy=float((target == commonest).mean()),
        chance_balanced_accuracy=1 / len(names),
        importance={name: round(float(value), 4) for name, value in ranked},
        reason=None,
    )


def _score(model: HistGradientBoostingClassifier, features: np.ndarray, target: np.ndarray) -> float:
    return balanced_accuracy(model.predict(features), target, len(model.classes_))


def _features(index: pd.DataFrame) -> Float[np.ndarray, "image feature"]:
    values = index[list(_FEATURES)].to_numpy(np.float64)
    width, height, num_bytes = values[:, 0], values[:, 1], values[:, 2]
    return np.column_stack([values, width / height, num_bytes / (width * height)])


def _figures(
    probability: Float[np.ndarray, "image diagnosis"],
    target: Int[np.ndarray, " image"],
    group: np.ndarray,
    names: list[str],
) -> dict[str, Estimate]:
    predicted = probability.argmax(axis=1)
    figures = {
        "accuracy": estimate_accuracy(predicted, target, group),
        "balanced_accuracy": estimate_balanced_accuracy(predicted, target, group, len(names)),
    }
    if MELANOMA in names:
        melanoma = names.index(MELANOMA)
        try:
            figures["melanoma_auroc"] = estimate_auroc(probability[:, melanoma], target == melanoma, group)
        except MetricError:
            return figures  # no melanoma outside the train split, or nothing else
    return figures


def _without_figures(train: pd.DataFrame, test: pd.DataFrame, reason: str) -> ShortcutReport:
    return ShortcutReport(
        num_train=len(train),
        num_test=len(test),
        figures={},
        commonest_accuracy=0.0,
        chance_balanced_accuracy=0.0,
        importance={},
        reason=reason,
    )
