"""Does the model do as well for everyone? Figures by sex, age, site, source, camera and skin tone, and tests of gaps.

The tests hold for all levels of all subgroups together: with a probability of 5 % at most a gap is called one anywhere
where there is none.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float64, Int64

from melanoma_ray.evaluation.attempts import Attempts
from melanoma_ray.evaluation.scored import Scored
from melanoma_ray.metrics.intervals import Estimate
from melanoma_ray.metrics.proportions import estimate_sensitivity, estimate_specificity
from melanoma_ray.metrics.ranking import estimate_auroc

ENOUGH = 30
"""Fewer groups with a melanoma in a level are too few to say how the model does there."""
UNKNOWN = "unknown"
MOST_LEVELS = 40
"""Of one subgroup; where free text has more values, the rarest ones are one level together."""
_AGES = (30, 50, 70)
"""Ages at which a band begins, years."""
_TONES = ((55.0, "very light"), (41.0, "light"), (28.0, "intermediate"), (10.0, "tan"), (-30.0, "brown"))
"""Smallest individual typology angle of each class of skin, degrees; below the last: dark (Chardon 1991,
doi:10.1111/j.1467-2494.1991.tb00561.x)."""
_NUM_DRAWS, _DRAWS_AT_ONCE = 5_000, 250


@dataclass(frozen=True, kw_only=True, slots=True)
class Level:
    """The images of one value of a subgroup, such as all women's."""

    name: str
    num_images: int
    num_melanomas: int
    is_sparse: bool
    """Whether fewer than ``ENOUGH`` groups of these images have a melanoma."""
    auroc: Estimate | None
    sensitivity: Estimate | None
    """Share of its melanomas that are referred, at the checkpoint's own threshold."""
    specificity: Estimate | None
    sensitivity_p: float | None
    """Probability of a gap of sensitivity as large as this anywhere, if there were none; none: untested."""
    specificity_p: float | None
    """The same for specificity."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Subgroup:
    """One way to divide the images."""

    name: str
    title: str
    note: str
    """What has to be known to read it; empty: nothing."""
    levels: tuple[Level, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Division:
    name: str
    title: str
    levels: Callable[[pd.DataFrame], pd.Series]
    note: str = ""


def _column(name: str) -> Callable[[pd.DataFrame], pd.Series]:
    return lambda images: images[name].astype(object).where(images[name].notna(), UNKNOWN)


def _age_bands(images: pd.DataFrame) -> pd.Series:
    names = [f"under {_AGES[0]}", *(f"{a} to {b - 1}" for a, b in pairwise(_AGES))]
    names.append(f"{_AGES[-1]} and over")
    bands = pd.cut(images["age"].astype(float), [-np.inf, *_AGES, np.inf], right=False, labels=names)
    return bands.astype(object).where(bands.notna(), UNKNOWN)


def _skin_tones(images: pd.DataFrame) -> pd.Series:
    angle = images["ita_degrees"].astype(float)
    tone = pd.Series("dark", images.index, object)
    for least, name in reversed(_TONES):
        tone[angle > least] = name
    return tone.where(angle.notna(), UNKNOWN)


def _sources(images: pd.DataFrame) -> pd.Series:
    """Return the end of each source's address, with as many folders as tell the sources apart."""
    parts = {source: source.rstrip("/").split("/") for source in images["source"].astype(str).unique()}
    for depth in range(1, 1 + max(map(len, parts.values()))):
        names = {source: "/".join(one[-depth:]) for source, one in parts.items()}
        if len(set(names.values())) == len(names):
            break
    return images["source"].astype(str).map(names)


_DIVISIONS = (
    _Division(name="sex", title="Sex", levels=_column("sex")),
    _Division(name="age", title="Age, years", levels=_age_bands),
    _Division(name="site", title="Site on the body", levels=_column("site")),
    _Division(name="source", title="Source", levels=_sources),
    _Division(name="attribution", title="Who took the images", levels=_column("attribution")),
    _Division(name="image_type", title="Kind of image", levels=_column("image_type")),
    _Division(
        name="skin_tone",
        title="Skin tone",
        levels=_skin_tones,
        note="Estimated from the skin around the lesion by its individual typology angle. Light, camera and white "
        "balance change that angle, so neighbouring classes overlap; it isn't a person's own skin type.",
    ),
)


def measure_subgroups(scored: Scored, images: pd.DataFrame) -> tuple[Subgroup, ...]:
    """Return the figures of every subgroup that divides the images.

    Args:
        scored: Predictions and true diagnoses.
        images: Index rows of the same images.
    """
    divided = [(division, _join_rare(division.levels(images)).to_numpy(object)) for division in _DIVISIONS]
    divided = [(division, level) for division, level in divided if len(set(level) - {UNKNOWN}) > 1]
    masks = [level == name for _, level in divided for name in sorted(set(level))]
    found, left = scored.is_referred, ~scored.is_referred
    melanoma = scored.is_melanoma
    p_values = zip(
        _test_gaps(found, melanoma, masks, scored.group), _test_gaps(left, ~melanoma, masks, scored.group), strict=True
    )
    levels = iter(zip(masks, p_values, strict=True))
    subgroups = []
    for division, level in divided:
        names = sorted(set(level))
        measured = tuple(_measure_level(name, scored, *next(levels)) for name in names)
        order = sorted(measured, key=lambda one: (one.name == UNKNOWN, -one.num_images))
        subgroups.append(Subgroup(name=division.name, title=division.title, note=division.note, levels=tuple(order)))
    return tuple(subgroups)


def _join_rare(level: pd.Series) -> pd.Series:
    """Return the levels, of which there are ``MOST_LEVELS`` at most beside the unknown one."""
    names = level[level != UNKNOWN].value_counts().index
    if len(names) <= MOST_LEVELS:
        return level
    rare = names[MOST_LEVELS - 1 :]
    return level.where(~level.isin(rare), f"{len(rare):,} others")


def _measure_level(
    name: str, scored: Scored, rows: Bool[np.ndarray, " image"], p_values: tuple[float | None, float | None]
) -> Level:
    part = scored.select(rows)
    answered = part.select(part.predictions.is_answered)
    attempt = Attempts().attempt
    melanoma = part.is_melanoma
    return Level(
        name=name,
        num_images=int(rows.sum()),
        num_melanomas=int(melanoma.sum()),
        is_sparse=len(np.unique(part.group[melanoma])) < ENOUGH,
        auroc=attempt("auroc", lambda: estimate_auroc(answered.score, answered.is_melanoma, answered.group)),
        sensitivity=attempt("sensitivity", lambda: estimate_sensitivity(part.is_referred, melanoma, part.group)),
        specificity=attempt("specificity", lambda: estimate_specificity(part.is_referred, melanoma, part.group)),
        sensitivity_p=p_values[0],
        specificity_p=p_values[1],
    )


def _test_gaps(
    is_success: Bool[np.ndarray, " image"],
    is_asked: Bool[np.ndarray, " image"],
    masks: Sequence[Bool[np.ndarray, " image"]],
    group: Int64[np.ndarray, " image"],
) -> list[float | None]:
    """Return for each level the probability of a gap as large as its own anywhere, if no level had one.

    Whole groups of images are given random signs (score-based wild bootstrap, Kline & Santos 2012,
    doi:10.1111/j.1368-423X.2012.00364.x), and each level is compared with the largest gap among all
    levels of each draw (Westfall & Young 1993).
    """
    if not is_asked.any() or not masks:
        return [None] * len(masks)
    _, number = np.unique(group[is_asked], return_inverse=True)
    residual = is_success[is_asked] - is_success[is_asked].mean()
    of_group = np.bincount(number, residual)
    parts = []
    for mask in masks:
        inside = mask[is_asked]
        parts.append(np.bincount(number, residual * inside, len(of_group)) - inside.mean() * of_group)
    share: Float64[np.ndarray, "group level"] = np.stack(parts, axis=1)
    size = np.sqrt((share**2).sum(axis=0))
    is_tested = size > 1e-9
    gap = np.abs(share.sum(axis=0)[is_tested] / size[is_tested])
    scaled = share[:, is_tested] / size[is_tested]
    random = np.random.default_rng(0)
    largest = np.concatenate(
        [
            np.abs(random.choice((-1.0, 1.0), (_DRAWS_AT_ONCE, len(scaled))) @ scaled).max(axis=1, initial=0.0)
            for _ in range(_NUM_DRAWS // _DRAWS_AT_ONCE)
        ]
    )
    p_values = iter([(1 + int((largest >= one - 1e-12).sum())) / (1 + _NUM_DRAWS) for one in gap])
    return [next(p_values) if tested else None for tested in is_tested]
