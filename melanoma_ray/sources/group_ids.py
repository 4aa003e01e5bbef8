"""Ids of lesions and patients: one spelling for each, and no tie between sources that have nothing in common.

The rule: within a source, and between sources that one table tells of, equal ids are one lesion or patient. ``P1`` of
two hospitals are two patients; the ids of the ISIC archive and of HAM10000 mean one lesion wherever they stand.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import pandas as pd

GROUPS = {"lesion_id": "lesion", "patient_id": "patient"}
_KNOWN = re.compile(r"^(?:ham|il|ip|bcn)_\d+$")
"""Ids of HAM10000, the ISIC archive (lesions and patients) and BCN20000, which no other collection gives."""


_MOST_SHARED, _MANY_PATIENTS = 0.5, 3
"""Share of the patients who have a lesion id that others have too, above which ids are rather numbers within a patient;
and patients of one lesion id, below which it is rather an error."""


def group_key(value: object) -> str | None:
    """Return what spellings of one id have in common: ``P2`` and ``p2.0``, ``007`` and ``7`` (spreadsheets do that).

    >>> group_key(" P2 "), group_key("p2.0"), group_key("007"), group_key(None)
    ('p2', 'p2', '7', None)
    """
    if value is None or value != value:  # noqa: PLR0124 - NaN
        return None
    key = re.sub(r"\.0+$", "", str(value).strip().casefold())
    return str(int(key)) if key.isascii() and key.isdigit() else key


def unify_groups(frame: pd.DataFrame, scope_of: Mapping[str, str]) -> tuple[pd.DataFrame, list[str]]:
    """Return the images with one spelling of each id, different for different scopes, and what to know of it.

    Args:
        frame: With source, lesion_id and patient_id.
        scope_of: Scope of each source; sources of one scope share their ids.
    """
    notes = []
    for column, what in GROUPS.items():
        given = frame[column]
        key = given.map(group_key).astype(object)
        scope = frame["source"].map(scope_of).where(~key.map(_is_known).astype(bool), "")
        ids = pd.DataFrame({"key": key, "scope": scope, "given": given}).dropna(subset=["key"])
        spelled = ids.groupby("key")["given"].nunique()
        several = [ids.loc[ids["key"] == one, "given"].unique() for one in spelled.index[spelled > 1][:3]]
        if several:
            told = ", ".join(" and ".join(map(str, one)) for one in several)
            notes.append(f"{what} ids that differ only in case, leading zeros or a trailing .0 are one {what}: {told}")
        first = ids.groupby(["key", "scope"], sort=False)["given"].first().reset_index()
        number = first.groupby("key").cumcount()
        first["name"] = first["given"].where(number == 0, first["given"] + " in " + first["scope"])
        if (number > 0).any():
            shared = sorted(first.loc[number > 0, "given"].unique())
            notes.append(
                f"{len(shared):,} {what} ids stand in several sources that no table ties ({', '.join(shared[:5])}"
                f"{' …' if len(shared) > 5 else ''}): they are taken for different {what}s; if they are the same, give "
                "one table of all with --metadata"
            )
        names = ids.merge(first[["key", "scope", "name"]], on=["key", "scope"], how="left").set_index(ids.index)["name"]
        frame = frame.assign(**{column: names.reindex(frame.index).astype(object)})
        frame[column] = frame[column].where(frame[column].notna(), None)
    return _number_within_patients(frame, notes)


def _number_within_patients(frame: pd.DataFrame, notes: list[str]) -> tuple[pd.DataFrame, list[str]]:
    """Return the images with lesions that are told apart by their patients, where ids count within each patient.

    A lesion is one person's. Where single ids are of several people, that is told; where many are, they are numbers.
    """
    known = frame.dropna(subset=list(GROUPS))
    known = known[~known["lesion_id"].map(group_key).map(_is_known).astype(bool)]
    patients = known.groupby("lesion_id")["patient_id"].nunique()
    shared = patients[patients > 1]
    if shared.empty:
        return frame, notes
    told = ", ".join(map(str, shared.index[:5]))
    sharing = known.loc[known["lesion_id"].isin(shared.index), "patient_id"].nunique()
    if shared.max() < _MANY_PATIENTS or sharing <= _MOST_SHARED * known["patient_id"].nunique():
        return frame, [
            *notes,
            f"{len(shared):,} lesion ids are of several patients, whose images stay together: {told}",
        ]
    lesion = frame["lesion_id"].astype(object)
    lesion.loc[known.index] = known["lesion_id"] + " of " + known["patient_id"]
    note = f"lesion ids such as {told} stand with several patients: they count within each patient"
    return frame.assign(lesion_id=lesion), [*notes, note]


def _is_known(key: object) -> bool:
    return isinstance(key, str) and _KNOWN.match(key) is not None


def find_scopes(tables_of: Mapping[str, frozenset[str]], kin_of: Mapping[str, str]) -> dict[str, str]:
    """Return the scope of each source: those that share a table, directly or through others, share their ids.

    Args:
        tables_of: Names of the tables that bring lesions or patients to a source.
        kin_of: A name that sources of one collection share, such as the folder above Train and Test; else its own.
    """
    scope = dict(kin_of)
    for name in {table for tables in tables_of.values() for table in tables}:
        joined = {scope[source] for source, tables in tables_of.items() if name in tables}
        scope = {source: min(joined) if one in joined else one for source, one in scope.items()}
    return scope
