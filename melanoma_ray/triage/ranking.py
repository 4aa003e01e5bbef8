"""In which order a reader sees the images, and which lesion of a patient is the ugly duckling."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from jaxtyping import Bool

_LEAST_LESIONS = 3
"""Lesions that a patient must have before one of them can differ from the others."""
_LEAST_PROBABILITY = 1e-4
"""Probabilities below count as this, so that no logarithm is dominated by what the network holds for impossible."""


def rank_images(answers: pd.DataFrame) -> pd.DataFrame:
    """Return the images that have an answer, most urgent first; those of a patient stand together, and of a lesion.

    Referred and unassessable images come before routine ones, since a person must look at both now, and within each
    the higher melanoma probability comes first. A patient stands at the place of their most urgent image, and so does
    a lesion within its patient.

    Args:
        answers: path, image_id, melanoma_probability, decision, error, patient_id and lesion_id (None: unknown).
    """
    answered = answers[answers["error"].isna()]
    urgency = answered.assign(is_routine=answered["decision"] == "routine", share=-answered["melanoma_probability"])
    ranked = urgency.sort_values(["is_routine", "share", "image_id", "path"], ignore_index=True)
    place = pd.Series(np.arange(len(ranked)))
    of_lesion: pd.Series = place.groupby(_lesion_keys(ranked)).transform("min")
    of_patient = of_lesion.groupby(_patient_keys(ranked)).transform("min")
    order = np.lexsort([place, of_lesion, of_patient])
    return ranked.drop(columns=["is_routine", "share"]).iloc[order].reset_index(drop=True)


def find_ugly_ducklings(ranked: pd.DataFrame, columns: Sequence[str]) -> Bool[np.ndarray, " image"]:
    """Tell the images of the lesion that differs most from the others of its patient.

    A lesion is the mean of its images' log probabilities, and it differs by the Euclidean distance to the mean of the
    patient's other lesions. Patients with fewer than three lesions have none, and neither have those whose lesions all
    differ alike. An image of an unknown lesion counts as a lesion of its own.

    Args:
        ranked: From ``rank_images``, with the columns of the probabilities.
        columns: Names of these columns.

    References:
        Grob & Bonerandi 1998, doi:10.1001/archderm.134.1.103-a.
    """
    known = ranked[ranked["patient_id"].notna()]
    if known.empty:
        return np.zeros(len(ranked), bool)
    lesion = _lesion_keys(known)
    shares = known[list(columns)].astype(float).clip(lower=_LEAST_PROBABILITY)
    lesions = shares.apply(np.log).groupby(lesion).mean()
    patient = known["patient_id"].groupby(lesion).first()
    size = patient.groupby(patient).transform("size")
    # The distance to the mean of the others is that to the mean of all, times n / (n - 1): the same order.
    squares = (lesions - lesions.groupby(patient).transform("mean")) ** 2
    distance = squares.sum(axis=1) ** 0.5
    by_patient = distance.groupby(patient)
    sticks_out = (distance == by_patient.transform("max")) & (distance > by_patient.transform("min") + 1e-6)
    ducklings = lesions.index[(size >= _LEAST_LESIONS) & sticks_out]
    found = pd.Series(data=False, index=ranked.index)
    found[known.index] = lesion.isin(ducklings)
    return found.to_numpy()


def split_pages(ranked: pd.DataFrame, most: int) -> list[tuple[int, int]]:
    """Return where each page begins and ends; a patient isn't cut in two unless they alone fill a page.

    Args:
        ranked: From ``rank_images``.
        most: Largest number of images of a page.
    """
    patient = _patient_keys(ranked)
    starts = np.flatnonzero((patient != patient.shift()).to_numpy())
    pages, begin = [], 0
    while begin < len(ranked):
        end = min(begin + most, len(ranked))
        if end < len(ranked):
            whole = starts[(starts > begin) & (starts <= end)]
            end = int(whole[-1]) if len(whole) else end
        pages.append((begin, end))
        begin = end
    return pages


def _lesion_keys(frame: pd.DataFrame) -> pd.Series:
    """Return what images of one lesion share; equal lesion ids of two patients are two lesions."""
    alone = "image " + frame["path"].astype(str)
    known = "lesion " + frame["patient_id"].fillna("").astype(str) + " / " + frame["lesion_id"].astype(str)
    return known.where(frame["lesion_id"].notna(), alone)


def _patient_keys(frame: pd.DataFrame) -> pd.Series:
    """Return what images of one patient share; where nobody knows the patient, of one lesion."""
    known = "patient " + frame["patient_id"].astype(str)
    return known.where(frame["patient_id"].notna(), _lesion_keys(frame))
