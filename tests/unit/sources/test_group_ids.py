"""Ids of lesions and patients: one spelling, and no ties between strangers."""

from __future__ import annotations

import pandas as pd

from melanoma_ray.sources.group_ids import find_scopes, unify_groups


def unify(patients: list[str | None], sources: str, scopes: dict[str, str]) -> tuple[list[str | None], list[str]]:
    frame = pd.DataFrame({"source": list(sources), "patient_id": patients, "lesion_id": None}, dtype=object)
    found, notes = unify_groups(frame, scopes)
    return found["patient_id"].tolist(), notes


def test_case_and_a_spreadsheet_s_point_zero_make_no_new_patient() -> None:
    ids, notes = unify(["P0", "p0", "2.0", "2", "P3", None], "aaaaaa", {"a": "a"})
    assert ids == ["P0", "P0", "2.0", "2.0", "P3", None]
    assert notes == [
        "patient ids that differ only in case, leading zeros or a trailing .0 are one patient: 2.0 and 2, P0 and p0"
    ]


def test_equal_ids_of_sources_without_a_common_table_are_two_patients_and_it_is_said() -> None:
    ids, [note] = unify(["P1", "P1", "P2"], "abb", {"a": "/x/a", "b": "/x/b"})
    assert ids == ["P1", "P1 in /x/b", "P2"]
    assert note.startswith("1 patient ids stand in several sources that no table ties (P1)")


def test_the_archive_s_ids_mean_one_patient_everywhere() -> None:
    assert unify(["IP_1234567", "IP_1234567"], "ab", {"a": "a", "b": "b"}) == (["IP_1234567", "IP_1234567"], [])


def test_sources_that_share_a_table_share_their_ids() -> None:
    scopes = find_scopes(
        {"a": frozenset({"given.csv"}), "b": frozenset({"given.csv"}), "c": frozenset({"c/meta.csv"})},
        {"a": "a", "b": "b", "c": "c"},
    )
    assert scopes == {"a": "a", "b": "a", "c": "c"}
    assert unify(["P1", "P1", "P1"], "abc", scopes)[0] == ["P1", "P1", "P1 in c"]


def unify_lesions(lesions: list[str], patients: list[str]) -> tuple[list[str], list[str]]:
    frame = pd.DataFrame({"source": "a", "patient_id": patients, "lesion_id": lesions}, dtype=object)
    found, notes = unify_groups(frame, {"a": "a"})
    return found["lesion_id"].tolist(), notes


def test_lesions_that_are_numbered_within_each_patient_tie_no_patients() -> None:
    lesions, [note] = unify_lesions(["1", "1", "2", "1", "1"], ["P1", "P1", "P1", "P2", "P3"])
    assert lesions == ["1 of P1", "1 of P1", "2 of P1", "1 of P2", "1 of P3"]
    assert note == "lesion ids such as 1 stand with several patients: they count within each patient"


def test_a_single_lesion_of_two_patients_is_told_and_stays_one() -> None:
    lesions, [note] = unify_lesions(["L1", "L1", "L2", "L3"], ["P1", "P2", "P1", "P2"])
    assert lesions == ["L1", "L1", "L2", "L3"]
    assert note == "1 lesion ids are of several patients, whose images stay together: L1"
