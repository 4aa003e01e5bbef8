"""Coded terms without free words: of a public scheme the code stays, with DICOM's own word; of any other a pseudonym.

A meaning is a text that anybody may have typed, and a scheme of a house names the house.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache

from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

PUBLIC_SCHEMES = frozenset(
    {
        *("DCM", "SCT", "SRT", "SNM3", "99SDM", "UCUM", "LN", "RADLEX", "FMA", "UMLS", "NCIt", "MSH"),
        *("I9", "I9C", "I10", "I10P", "I11", "ICDO3", "ISO3166_1", "ISO5218_1", "ISO639_1", "ISO639_2", "BI"),
    }
)
"""Designators of schemes that anybody may look up (PS3.16, 8)."""
_OLD_SNOMED = frozenset({"SRT", "SNM3", "99SDM"})
_CODE = re.compile(r"[!-~]{1,16}")
_HIERARCHY = re.compile(r" \([^()]*\)$")
"""What SNOMED says at a name's end of what kind it is, such as body structure."""
_LONGEST_MEANING = 64
_VALUES = ("CodeValue", "LongCodeValue", "URNCodeValue")


def settle_code(item: Dataset, replace: Callable[[str], str]) -> None:
    """Take the free words out of a coded term, in place; what is none stays as it is.

    Args:
        item: Item of a sequence.
        replace: Makes the pseudonym of a text, of 16 letters.
    """
    if not any(name in item for name in (*_VALUES, "CodingSchemeDesignator", "CodeMeaning")):
        return
    value = next((str(item.get(name)) for name in _VALUES if item.get(name)), "")
    scheme = str(item.get("CodingSchemeDesignator") or "")
    if scheme in PUBLIC_SCHEMES and _CODE.fullmatch(value):
        item.CodeMeaning = _choose_meaning(str(item.get("CodeMeaning") or ""), value, scheme)
        return
    for name in ("CodeValue", "LongCodeValue", "CodeMeaning"):
        if item.get(name):
            setattr(item, name, replace(str(item.get(name))))
    for name in ("URNCodeValue", "CodingSchemeVersion"):
        if name in item:
            del item[name]
    if scheme and scheme not in PUBLIC_SCHEMES:
        item.CodingSchemeDesignator = f"99{replace(scheme)[:14]}"


def _choose_meaning(given: str, value: str, scheme: str) -> str:
    """Return the given meaning if all its words are in DICOM's own, else that, else the code."""
    own = find_meaning(value, scheme)
    if own is None:
        return value
    if given and _words(given) <= _words(own):
        return given
    short = _HIERARCHY.sub("", own)
    return short if len(short) <= _LONGEST_MEANING else value


def _words(text: str) -> set[str]:
    return set(re.findall(r"\w+", text.lower()))


@lru_cache(maxsize=4096)
def find_meaning(value: str, scheme: str) -> str | None:
    """Return DICOM's own word for a code; none: its dictionary doesn't have it."""
    known = _known_codes()
    if (value, scheme) in known:
        return known[value, scheme]
    if scheme not in _OLD_SNOMED:
        return None
    asked = Code(value, scheme, "")  # equal to the same term's code in SCT
    return next((meaning for (code, of), meaning in known.items() if of == "SCT" and Code(code, of, "") == asked), None)


@lru_cache(maxsize=1)
def _known_codes() -> dict[tuple[str, str], str]:
    schemes = [getattr(codes, name) for name in codes.schemes()]
    found = [code for scheme in schemes for code in scheme.concepts.values()]
    return {(code.value, code.scheme_designator): code.meaning for code in found}
