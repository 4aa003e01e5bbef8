"""The order of a worklist, its pages, and the lesion that sticks out."""

from __future__ import annotations

import numpy as np
import pandas as pd

from melanoma_ray.triage.ranking import find_ugly_ducklings, rank_images, split_pages


def build_answers(*rows: tuple[str, float | None, str | None, str | None, str | None]) -> pd.DataFrame:
    """Images as path, probability, decision, patient and lesion."""
    frame = pd.DataFrame(rows, columns=["path", "melanoma_probability", "decision", "patient_id", "lesion_id"])
    error = [None if isinstance(decision, str) else "truncated" for decision in frame["decision"]]
    return frame.assign(image_id=frame["path"], error=pd.Series(error, dtype=object))


def test_what_needs_eyes_now_comes_first_and_within_it_the_more_probable() -> None:
    answers = build_answers(
        ("calm", 0.1, "routine", None, None),
        ("calm-but-higher", 0.4, "routine", None, None),
        ("broken", None, None, None, None),
        ("strange", 0.3, "unassessable", None, None),
        ("urgent", 0.9, "refer", None, None),
        ("less-urgent", 0.5, "refer", None, None),
    )
    assert list(rank_images(answers)["path"]) == ["urgent", "less-urgent", "strange", "calm-but-higher", "calm"]


def test_a_patient_stands_at_the_place_of_their_highest_lesion_and_a_lesion_at_that_of_its_highest_image() -> None:
    answers = build_answers(
        ("alone", 0.8, "refer", None, None),
        ("p1-high", 0.9, "refer", "P1", "A"),
        ("p1-low", 0.1, "routine", "P1", "A"),
        ("p1-other", 0.7, "refer", "P1", "B"),
        ("p2-same-lesion-id", 0.85, "refer", "P2", "A"),
    )
    expected = ["p1-high", "p1-low", "p1-other", "p2-same-lesion-id", "alone"]
    assert list(rank_images(answers)["path"]) == expected
    assert list(rank_images(answers.iloc[::-1])["path"]) == expected


def with_shares(*rows: tuple[str, str, str | None, float]) -> pd.DataFrame:
    """Images as path, patient, lesion and the probability of melanoma, the rest being nevus."""
    frame = build_answers(*((path, share, "refer", patient, lesion) for path, patient, lesion, share in rows))
    return frame.assign(
        probability_melanoma=frame["melanoma_probability"], probability_nevus=1 - frame["melanoma_probability"]
    )


def ducklings(frame: pd.DataFrame) -> set[str]:
    found = find_ugly_ducklings(frame, ["probability_melanoma", "probability_nevus"])
    return set(frame["path"][found])


def test_the_ugly_duckling_is_the_lesion_that_differs_from_the_patient_s_others_in_all_its_images() -> None:
    frame = with_shares(
        ("a", "P1", "A", 0.02),
        ("b1", "P1", "B", 0.6),
        ("b2", "P1", "B", 0.5),
        ("c", "P1", "C", 0.03),
        ("d", "P2", "A", 0.9),
        ("e", "P2", "B", 0.8),
        ("f", "P2", None, 0.01),
    )
    assert ducklings(frame) == {"b1", "b2", "f"}


def test_two_lesions_or_equal_ones_have_no_ugly_duckling() -> None:
    two = with_shares(("a", "P1", "A", 0.02), ("b", "P1", "B", 0.9))
    equal = with_shares(("c", "P2", "A", 0.2), ("d", "P2", "B", 0.2), ("e", "P2", "C", 0.2))
    assert ducklings(two) == ducklings(equal) == set()
    unknown = build_answers(("x", 0.5, "refer", None, None)).assign(p=0.5)
    assert not find_ugly_ducklings(unknown, ["p"]).any()


def test_pages_hold_every_image_once_and_cut_no_patient_who_fits() -> None:
    rows = [(f"{patient}-{i}", 0.5, "refer", patient, None) for patient in ("P1", "P2", "P3") for i in range(3)]
    ranked = rank_images(build_answers(*rows))
    assert split_pages(ranked, 4) == [(0, 3), (3, 6), (6, 9)]
    assert split_pages(ranked, 2) == [(0, 2), (2, 3), (3, 5), (5, 6), (6, 8), (8, 9)]
    assert split_pages(ranked, 9) == [(0, 9)]
    covered = np.concatenate([np.arange(begin, end) for begin, end in split_pages(ranked, 4)])
    assert list(covered) == list(range(9))
