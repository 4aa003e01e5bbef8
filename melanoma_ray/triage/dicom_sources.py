"""What an answer as DICOM takes over from the header of its image: only what the standard allows there.

Texts are decoded from whatever character set the header names, as pydicom can, and are UTF-8 (ISO_IR 192) from then
on, which holds them all. A value that breaks the standard stays away, and so does the answer where nothing can stand
for it.
"""

from __future__ import annotations

import re
import warnings

from pydicom import config
from pydicom.datadict import dictionary_VM
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.uid import UID
from pydicom.valuerep import validate_value

from melanoma_ray.imaging.dicom import HEADER_ERRORS

CHARACTER_SET = "ISO_IR 192"
_UIDS = {
    "StudyInstanceUID": "Study Instance UID",
    "SeriesInstanceUID": "Series Instance UID",
    "SOPInstanceUID": "SOP Instance UID",
    "SOPClassUID": "SOP Class UID",
}
"""Attributes without which nothing can refer to an image, and their names."""
_MAY_BE_EMPTY = (
    *("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID", "StudyDate"),
    *("StudyTime", "ReferringPhysicianName"),
)
"""Attributes that an object of the study must have, if only empty (type 2)."""
_DATE = re.compile(r"\d{4}(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])")
_FORMS = {
    "PatientBirthDate": _DATE,
    "StudyDate": _DATE,
    "PatientSex": re.compile("[MFO]"),
    "StudyTime": re.compile(r"\d{2}(\d{2}(\d{2}(\.\d{1,6})?)?)?"),
}
"""What these attributes look like; highdicom asks for more than the standard."""
_NUMBERS_AS_TEXT = frozenset({"DS", "IS"})
_TEXTS = frozenset({"LO", "LT", "PN", "SH", "ST", "UC", "UT"})
_ESCAPE = re.compile(r"\x1b(\$[()]?|[()\-])[A-Z]")
"""What changes the character set within a text; of ISO 2022 IR 58 pydicom leaves it there."""
_PIXEL_GROUP = 0x7FE0


def find_fault(header: Dataset) -> str | None:
    """Return why nothing can refer to an image, for a sentence such as "2 have …"; none: something can.

    No value is quoted, since a UID is an identifier.
    """
    for keyword, name in _UIDS.items():
        value = _value_of(header, keyword)
        if not value:
            return f"no {name}"
        if isinstance(value, MultiValue):
            return f"{_with_article(name)} of {len(value)} values, where 1 is allowed"
        if not UID(str(value)).is_valid:
            return f"{_with_article(name)} of {len(str(value))} letters that is none (digits and dots, 64 at most)"
    known = UID(str(header.SOPClassUID))
    return f"{_with_article(_UIDS['SOPClassUID'])} that the standard doesn't have" if known.name == known else None


def complete(header: Dataset) -> Dataset:
    """Return what is valid in a header, in UTF-8, with what an object of its study must have, if only empty."""
    source = Dataset()
    with warnings.catch_warnings():  # they would quote the header
        warnings.simplefilter("ignore")
        for tag in sorted(header.keys()):
            element = None if tag.is_private or tag.group == _PIXEL_GROUP else _find_valid(header, tag)
            if element is not None:
                source.add(element)
    for name in _MAY_BE_EMPTY:
        if source.get(name) is None or not _has_form(source, name):
            setattr(source, name, "")
    source.Modality = source.get("Modality") or "OT"
    source.SpecificCharacterSet = CHARACTER_SET
    return source


def _with_article(name: str) -> str:
    return f"an {name}" if name.startswith("SOP") else f"a {name}"


def _value_of(header: Dataset, keyword: str) -> object:
    try:
        return header.get(keyword)
    except HEADER_ERRORS:
        return None


def _has_form(source: Dataset, name: str) -> bool:
    return name not in _FORMS or _FORMS[name].fullmatch(str(source.get(name))) is not None


def _find_valid(header: Dataset, tag: int) -> DataElement | None:
    """Return an element with its texts decoded; none: it can't be read, or it or one within it breaks the standard."""
    try:
        element = header[tag]
        if element.VR == "SQ":
            return DataElement(element.tag, "SQ", [_decode_item(item) for item in element.value])
        _check(element)
        return DataElement(element.tag, element.VR, _decode(element))
    except HEADER_ERRORS:
        return None


def _decode(element: DataElement) -> object:
    """Return a value whose texts aren't tied to a character set any more."""
    if element.VR not in _TEXTS or element.is_empty:
        return element.value
    values = [_ESCAPE.sub("", str(one)) for one in (element.value if element.VM > 1 else [element.value])]
    return values if len(values) > 1 else values[0]


def _decode_item(item: Dataset) -> Dataset:
    """Return an item of a sequence, decoded.

    Raises:
        ValueError: An element of it breaks the standard.
    """
    decoded = Dataset()
    for tag in sorted(item.keys()):
        if tag.is_private or item[tag].keyword == "SpecificCharacterSet":
            continue
        if (element := _find_valid(item, tag)) is None:
            msg = f"{tag}: breaks the standard"
            raise ValueError(msg)
        decoded.add(element)
    return decoded


def _check(element: DataElement) -> None:
    """Refuse a value, or several where one is allowed, that breaks the standard.

    Raises:
        ValueError: It does; KeyError: the dictionary doesn't know the element.
    """
    if element.VM > 1 and dictionary_VM(element.tag) == "1":
        msg = f"{element.tag}: {element.VM} values, where 1 is allowed"
        raise ValueError(msg)
    if element.is_empty:
        return
    for value in element.value if element.VM > 1 else [element.value]:
        is_text = element.VR in _NUMBERS_AS_TEXT or not isinstance(value, bytes | int | float)
        validate_value(element.VR, str(value) if is_text else value, config.RAISE)
