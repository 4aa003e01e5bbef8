"""What becomes of each attribute of a DICOM header: the Basic Application Level Confidentiality Profile.

Table E.1-1 of PS3.15 (edition 2026c) is that of the package dicom-anonymizer; what is done by it is done here, because
sequences must be gone through, too. What the table doesn't have is kept only if pixels, geometry or a reader need it,
and if it can't name anybody: numbers and code strings about the image, and a short list. All other texts and dates are
emptied, UIDs that the standard doesn't define are replaced, and the rest is taken out.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import zip_longest
from typing import Literal

from dicomanonymizer.dicomfields_selector import dicom_anonymization_database_selector
from pydicom.datadict import dictionary_has_tag, dictionary_VR, keyword_for_tag
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code
from pydicom.tag import BaseTag, Tag
from pydicom.uid import UID

from melanoma_ray.deidentification.codes import settle_code
from melanoma_ray.imaging.dicom import HEADER_ERRORS

EDITION = "2026c"
Action = Literal["remove", "empty", "replace", "go into", "keep", "keep terms"]
_ACTIONS: Mapping[str, Action] = {
    "D_TAGS": "replace",
    "Z_D_TAGS": "replace",
    "X_D_TAGS": "replace",
    "X_Z_D_TAGS": "replace",
    "U_TAGS": "replace",
    "Z_TAGS": "empty",
    "X_Z_TAGS": "empty",
    "X_Z_U_STAR_TAGS": "go into",
    "X_TAGS": "remove",
}
"""What is done for each code of the table; where it leaves a choice, the one with which an image stays valid."""
_IMAGE_GROUPS = frozenset(
    {
        *(0x0008, 0x0018, 0x0020, 0x0022, 0x0028, 0x0040, 0x0048, 0x0052, 0x0054, 0x0062, 0x0070, 0x2050, 0x5200),
        0x7FE0,
    }
)
"""Groups whose numbers and code strings are of an image, of how it was taken, or of how it is shown."""
_KEPT = frozenset(
    {
        *("SOPClassUID", "ReferencedSOPClassUID", "RelatedGeneralSOPClassUID", "OriginalSpecializedSOPClassUID"),
        *("CodingSchemeUID", "ContextUID", "MappingResourceUID"),
        *("Manufacturer", "ManufacturerModelName", "SoftwareVersions"),
        *("PixelData", "ICCProfile", "LUTData", "BlendingLookupTableData"),
        *(
            f"{kind}{band}PaletteColorLookupTableData"
            for kind in ("", "Segmented")
            for band in ("Red", "Green", "Blue")
        ),
        *("CodeValue", "LongCodeValue", "CodingSchemeDesignator", "CodingSchemeVersion", "CodeMeaning"),
    }
)
"""Attributes that no table names and that stay whatever they have; ``codes`` goes through the last line's."""
_KEPT_TERMS = frozenset({"RescaleType", "ModalityLUTType"})
"""Texts of which the defined terms stay (PS3.3, C.11.1.1.2)."""
_REPLACED = frozenset({"TrackingID", "OpticalPathIdentifier", "ReferencedOpticalPathIdentifier", "StackID"})
"""Texts that tell that two things are the same."""
_NUMBERS = frozenset({"US", "SS", "UL", "SL", "UV", "SV", "FL", "FD", "IS", "DS", "AT"})
_BYTES = frozenset({"OB", "OD", "OF", "OL", "OV", "OW"})
_FORMS = {"AS": re.compile(r"\d{3}[DWMY]"), **dict.fromkeys(("DS", "IS"), re.compile(r"[-+.eE\d]{1,16}"))}
_TERM_OF_TEXT = re.compile("HU|HU_MOD|US|OD|MGML|Z_EFF|ED|EDW|PCT")
_TERM = re.compile(r"[A-Z0-9_ ]{1,16}")
_IMAGE_TYPES = frozenset(
    {
        *("ORIGINAL", "DERIVED", "MIXED", "PRIMARY", "SECONDARY", "OTHER", "NONE", "AXIAL", "LOCALIZER", "MPR"),
        *("LABEL", "OVERVIEW", "THUMBNAIL", "VOLUME", "RESAMPLED", "REFORMATTED", "PROJECTION IMAGE", "SINGLE PLANE"),
        *("BIPLANE A", "BIPLANE B", "STATIC", "DYNAMIC", "GATED", "WHOLE BODY", "TOMO", "RECON TOMO", "M", "P", "R"),
        *("I", "M_FFE", "PHASE MAP", "STEREO_L", "STEREO_R", "COLOR", "DOSE", "PORTAL", "DRR", "CLINICAL"),
    }
)
"""Terms of Image Type that the standard or custom has; its two first ones are of the first line."""
_IMAGE_TYPE_WORDS = frozenset({"ImageType", "FrameType"})
_NO_IMAGE_TYPE = ("DERIVED", "SECONDARY")
"""What stands where the two first terms, which an image must have, are others."""
_TEXTS = frozenset({"AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UT"})
_DUMMIES: Mapping[str, object] = {
    "DA": "19000101",
    "TM": "000000",
    "DT": "19000101000000",
    "AS": "000Y",
    "DS": "0",
    "IS": "0",
    **dict.fromkeys(("FD", "FL", "SL", "SS", "SV", "UL", "US", "UV"), 0),
}
CHARACTERISTICS = (
    *("PatientSex", "PatientAge", "PatientSize", "PatientWeight", "EthnicGroup", "SmokingStatus", "PregnancyStatus"),
)
"""What the Retain Patient Characteristics Option keeps."""
_BASIC_PROFILE = Code("113100", "DCM", "Basic Application Confidentiality Profile")
_CHARACTERISTICS_OPTION = Code("113108", "DCM", "Retain Patient Characteristics Option")
_PSEUDONYM_LETTERS = 16
"""The longest that every kind of text allows; 64 bits, so that two of a million values hardly ever share one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Profile:
    """How headers are de-identified."""

    secret: bytes
    """Key of all replacements."""
    keeps_characteristics: bool = False
    """Whether age, sex and the like are kept (PS3.15, E.3.6)."""


def deidentify(dataset: Dataset, profile: Profile) -> None:
    """Take out of a data set, in place, what tells who somebody is, and say so in it.

    Raises:
        ValueError: A value is damaged; so do other errors of pydicom's.
    """
    _go_through(dataset, profile)
    dataset.SpecificCharacterSet = "ISO_IR 192"  # what is left has been decoded
    methods = [_BASIC_PROFILE, *([_CHARACTERISTICS_OPTION] if profile.keeps_characteristics else [])]
    dataset.PatientIdentityRemoved = "YES"
    dataset.LongitudinalTemporalInformationModified = "REMOVED"
    dataset.DeidentificationMethod = f"melanoma_ray: PS3.15 {EDITION}, Table E.1-1"
    dataset.DeidentificationMethodCodeSequence = [_to_item(code) for code in methods]


def replace_uid(value: str, profile: Profile) -> UID:
    """Return the UID that stands for another one."""
    return UID(f"2.25.{int.from_bytes(_digest(value, profile)[:16], 'big')}")


def replace_text(value: str, profile: Profile) -> str:
    """Return the pseudonym of a text."""
    return _digest(value, profile).hex()[:_PSEUDONYM_LETTERS].upper()


def action_of(tag: BaseTag, representation: str, profile: Profile) -> Action:
    """Return what is done with an attribute.

    Args:
        tag: Its tag.
        representation: Its value representation, such as PN.
        profile: Whether characteristics are kept.
    """
    if profile.keeps_characteristics and tag in _characteristic_tags():
        return "keep"
    if tag.is_private or not dictionary_has_tag(tag) or representation == "UN":
        return "remove"
    exact, masked = _read_table()
    if tag in exact:
        return exact[tag]
    for group, element, group_mask, element_mask, action in masked:
        if tag.group & group_mask == group and tag.element & element_mask == element:
            return action
    return _action_without_table(tag, representation)


def _action_without_table(tag: BaseTag, representation: str) -> Action:
    """Return what is done with an attribute that no table names: it is kept only where it is certain to tell nobody."""
    keyword = keyword_for_tag(tag)
    if keyword in _KEPT:
        return "keep"
    if keyword in _REPLACED or representation == "UI":
        return "replace"
    if representation == "SQ":
        return "go into"
    is_of_image = tag.group in _IMAGE_GROUPS
    if representation in _NUMBERS:
        return "keep" if is_of_image else "remove"
    if keyword in _KEPT_TERMS or (representation == "CS" and is_of_image):
        return "keep terms"
    return "remove" if representation in _BYTES else "empty"


def _go_through(dataset: Dataset, profile: Profile) -> None:
    for element in _read_elements(dataset):
        action = action_of(element.tag, element.VR, profile)
        if action == "remove" or element.keyword == "SpecificCharacterSet":
            del dataset[element.tag]
        elif action == "empty" or (action == "replace" and element.VR == "SQ"):
            element.value = [] if element.VR == "SQ" else None
        elif element.VR == "SQ":
            for item in element.value:
                _go_through(item, profile)
        elif action in {"replace", "go into"}:
            _replace(dataset, element, profile)
        elif not element.is_empty:
            element.value = _find_kept(element, action)
    settle_code(dataset, partial(replace_text, profile=profile))


def _read_elements(dataset: Dataset) -> list[DataElement]:
    """Return all elements, decoded; those that can't be read are taken out, since nobody knows what is in them."""
    elements = []
    for tag in sorted(dataset.keys()):
        try:
            elements.append(dataset[tag])
        except HEADER_ERRORS:
            del dataset[tag]
    return elements


def _find_kept(element: DataElement, action: Action) -> object:
    """Return the value that is kept: nothing in the place of a text that isn't a number or a term as it should be."""
    term = _TERM_OF_TEXT if element.keyword in _KEPT_TERMS else _TERM
    form = term if action == "keep terms" else _FORMS.get(element.VR)
    if form is None:
        return element.value
    values = [str(one).strip() for one in (element.value if element.VM > 1 else [element.value])]
    if element.keyword in _IMAGE_TYPE_WORDS:
        terms = [one if one in _IMAGE_TYPES else "" for one in values]
        kept = [one or must for one, must in zip_longest(terms[:2], _NO_IMAGE_TYPE)] + terms[2:]
    elif all(map(form.fullmatch, values)):
        return element.value
    else:
        kept = [one if form.fullmatch(one) else "" for one in values]
    return kept if len(kept) > 1 else kept[0] or None


def _replace(dataset: Dataset, element: DataElement, profile: Profile) -> None:
    """Put a value in another one's place, or take out what has no harmless one; nothing stays nothing."""
    if element.is_empty:
        return
    values = element.value if element.VM > 1 else [element.value]
    if "UI" in {element.VR, dictionary_VR(element.tag)}:  # whatever the file says that it is
        element.VR = "UI"
        replaced: list[object] = [one if _is_standard(str(one)) else replace_uid(str(one), profile) for one in values]
    elif element.VR in _TEXTS:
        replaced = [replace_text(str(one), profile) for one in values]
    elif element.VR in _DUMMIES:
        replaced = [_DUMMIES[element.VR]] * len(values)
    else:
        del dataset[element.tag]
        return
    element.value = replaced if len(replaced) > 1 else replaced[0]


def _is_standard(value: str) -> bool:
    """Tell a UID that the standard itself defines, such as that of a transfer syntax."""
    return UID(value).name != value


def _digest(value: str, profile: Profile) -> bytes:
    return hmac.digest(profile.secret, value.strip().encode(), hashlib.sha256)


@lru_cache(maxsize=1)
def _characteristic_tags() -> frozenset[BaseTag]:
    return frozenset(map(Tag, CHARACTERISTICS))


_Masked = tuple[int, int, int, int, Action]
"""Group and element, their masks, and what is done: for repeating groups, such as overlays."""


@lru_cache(maxsize=1)
def _read_table() -> tuple[dict[BaseTag, Action], list[_Masked]]:
    table = dicom_anonymization_database_selector(f"dicomfields_{EDITION}")
    exact: dict[BaseTag, Action] = {}
    masked: list[_Masked] = []
    for code, action in _ACTIONS.items():
        for tag in table[code]:
            if len(tag) == 2:
                exact[Tag(*tag)] = action
            elif tag[0] % 2 == 0:  # private groups are removed anyhow
                masked.append((*tag, action))
    return exact, masked


def _to_item(code: Code) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = code.value, code.scheme_designator, code.meaning
    return item
