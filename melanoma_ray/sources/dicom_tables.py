"""What DICOM headers tell of their images, as a table under our column names: patient, lesion, age, sex and site.

The rule: a person's name is never read, a date of birth only becomes an age, and a word that isn't known for certain
stays unknown. A table counts before a header (``joining``).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache

import pandas as pd
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code
from pydicom.uid import UID

from melanoma_ray import storage
from melanoma_ray.imaging.dicom import DICOM_ENDINGS, is_annotated
from melanoma_ray.patients import find_site
from melanoma_ray.schema import Site
from melanoma_ray.sources.cells import clean, clean_group, describe_words, parse_age, parse_sex
from melanoma_ray.sources.containers import split_address
from melanoma_ray.sources.dicom_headers import MOST_HEADER_BYTES, HeaderTooLongError, begins_as_dicom, find_header
from melanoma_ray.sources.tables import COLUMNS
from melanoma_ray.wording import count

_NUM_READERS = 8
_MOST_LOOKS = 100_000
"""Images with another format's ending of which each is asked whether it is DICOM: in more that would take minutes."""
_LOOKS_AT_ONCE = 1000
_AGE = re.compile(r"(\d{1,3})([DWMY]?)")
_PER_YEAR = {"D": 365.25, "W": 52.18, "M": 12.0, "Y": 1.0, "": 1.0}
"""Units of Patient's Age (PS3.5, AS) in a year."""
_DERMOSCOPIC = UID("1.2.840.10008.5.1.4.1.1.77.1.7")
"""Dermoscopic Photography Image Storage."""
_SITE_SEQUENCES = ("AnatomicRegionSequence", "PrimaryAnatomicStructureSequence")
_DATES = ("StudyDate", "AcquisitionDate", "ContentDate")
_SAYS_NOTHING = frozenset(
    {
        *("skin", "structure", "of", "the", "entire", "region", "area", "surface", "part", "zone", "subcutaneous"),
        *("left", "right", "both", "bilateral", "side"),
    }
)
"""Words of a name of a site that don't change which of our sites it is."""
_SAYS_WHERE = frozenset(
    {
        *("upper", "lower", "anterior", "posterior", "lateral", "medial", "proximal", "distal", "dorsal", "ventral"),
        *("dorsum", "inner", "outer", "middle", "mid", "external"),
    }
)
"""Words for a part of a site; ``upper arm`` is asked for before ``arm``."""
_MORE_SITES: dict[str, Site] = {
    **dict.fromkeys(
        ("thorax", "thoracic", "chest wall", "hip", "sternum", "umbilicus", "umbilical", "pelvis"), "torso"
    ),
    **dict.fromkeys(
        ("areola", "nipple", "inguinal", "epigastric", "hypogastric", "sacral", "infraclavicular"), "torso"
    ),
    **dict.fromkeys(("sternal", "subclavicular", "supraclavicular", "gluteal fold"), "torso"),
    **dict.fromkeys(("finger", "thumb", "toe", "heel"), "palms/soles"),
    **dict.fromkeys(("upperarm", "cubital fossa", "antecubital fossa"), "upper extremity"),
    **dict.fromkeys(("lowerleg", "upperleg", "popliteal fossa"), "lower extremity"),
    **dict.fromkeys(("eyebrow", "skull", "jaw", "jawline", "mandible", "canthus", "philtrum", "pinna"), "head/neck"),
    **dict.fromkeys(("nuchal", "occipital", "parietal", "temporal", "preauricular", "postauricular"), "head/neck"),
    **dict.fromkeys(
        ("penis", "vulva", "scrotum", "perineum", "perianal", "anus", "labium", "clitoris"), "oral/genital"
    ),
    "tongue": "oral/genital",
}
"""Words of DICOM's sites of the body (PS3.16, CID 4029 and 4031; Body Part Examined) that no table has."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Headers:
    """What the headers of a source's DICOM images tell."""

    rows: pd.DataFrame
    """Indexed as the images, with all of ``tables.COLUMNS``; null where a header doesn't tell, or there is none."""
    notes: tuple[str, ...]
    """What a person should know of them, a sentence each."""


def read_headers(frame: pd.DataFrame) -> Headers | None:
    """Return what DICOM headers tell of the images; none: there is no DICOM file among them.

    A file with another format's ending is asked, too, if its first bytes are DICOM's; for these it is opened only on
    a local disk, and in a source with no more than ``_MOST_LOOKS`` of them. Images in HDF5 and Parquet files aren't
    asked.

    Args:
        frame: One row an image, with path, ending, num_bytes and modified_ns.
    """
    with ThreadPoolExecutor(_NUM_READERS) as pool:
        asked = frame.loc[_find_asked(frame, pool), ["path", "num_bytes", "modified_ns"]]
        if asked.empty:
            return None
        found = list(pool.map(_read_told, asked["path"], asked["num_bytes"], asked["modified_ns"]))
    told = {place: one for place, one in zip(asked.index, found, strict=True) if one is not None}
    has_issuers = len({one.issuer for one in told.values() if one.issuer}) > 1
    records = [one.as_row(has_issuers=has_issuers) for one in told.values()]
    rows = pd.DataFrame(records, index=list(told), columns=list(COLUMNS), dtype=object).reindex(frame.index)
    return Headers(rows=rows.where(rows.notna(), None), notes=tuple(_describe(list(told.values()))))


def _find_asked(frame: pd.DataFrame, pool: ThreadPoolExecutor) -> pd.Series:
    """Tell the rows whose header is read: by their ending, or by their first bytes."""
    is_file = pd.Series([not split_address(path)[0] for path in frame["path"]], frame.index, dtype=bool)
    is_named = frame["ending"].isin(["", *DICOM_ENDINGS])
    looked_at = frame[is_file & ~is_named & frame["path"].map(storage.is_local)]
    is_asked = is_file & is_named
    if len(looked_at) <= _MOST_LOOKS:
        files = list(zip(looked_at["path"], looked_at["num_bytes"], looked_at["modified_ns"], strict=True))
        blocks = [files[start : start + _LOOKS_AT_ONCE] for start in range(0, len(files), _LOOKS_AT_ONCE)]
        found = [one for block in pool.map(_are_dicom, blocks) for one in block]
        is_asked |= pd.Series(found, looked_at.index, dtype=bool).reindex(frame.index, fill_value=False)
    return is_asked


def _are_dicom(files: list[tuple[str, int, int]]) -> list[bool]:
    """Tell local DICOM files by their first bytes, each given with its size and time of change."""
    found = []
    for file in files:
        try:
            found.append(_look_once(*file))
        except OSError:
            found.append(False)
    return found


@lru_cache(maxsize=_MOST_LOOKS)  # as below
def _look_once(path: str, _num_bytes: int, _modified_ns: int) -> bool:
    return begins_as_dicom(path)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Told:
    """What one header tells."""

    patient_id: str | None = None
    issuer: str | None = None
    """Who gave the patient's id."""
    lesion_id: str | None = None
    age: float | None = None
    sex: str | None = None
    site: Site | None = None
    unknown_site: str | None = None
    """The word for a site that means none of ours."""
    image_type: str | None = None
    is_annotated: bool = False
    is_too_long: bool = False
    """Whether the header is longer than what is read of one, so that nothing is known of it."""

    def as_row(self, *, has_issuers: bool) -> dict[str, object]:
        """Return our columns; where there are several issuers, a patient's id has its own with it."""
        names_issuer = has_issuers and self.patient_id and self.issuer
        return {
            "patient_id": f"{self.patient_id} of {self.issuer}" if names_issuer else self.patient_id,
            "lesion_id": self.lesion_id,
            "age": self.age,
            "sex": self.sex,
            "site": self.site,
            "image_type": self.image_type,
        }


def _read_told(path: str, num_bytes: int, modified_ns: int) -> _Told | None:
    """Return what the header of a file tells that has this size and time of change; none: it has none."""
    try:
        return _read_once(path, num_bytes, modified_ns)
    except OSError:
        return None


@lru_cache(maxsize=100_000)  # a watched folder is read again for each image that arrives; an error isn't remembered
def _read_once(path: str, _num_bytes: int, _modified_ns: int) -> _Told | None:
    try:
        header = find_header(path)
    except HeaderTooLongError:
        return _Told(is_too_long=True)
    if header is None:
        return None
    words = list(_site_words(header))
    site = next((one for one in map(site_of_words, words) if one is not None), None)
    return _Told(
        patient_id=clean_group(_text(header, "PatientID")),
        issuer=clean(_text(header, "IssuerOfPatientID")),
        lesion_id=find_lesion(header),
        age=find_age(header),
        sex=parse_sex(_text(header, "PatientSex")),
        site=site,
        unknown_site=words[0] if words and site is None else None,
        image_type="dermoscopic" if header.get("SOPClassUID") == _DERMOSCOPIC else None,
        is_annotated=is_annotated(header),
    )


def _describe(told: list[_Told]) -> list[str]:
    notes = describe_words("DICOM headers", "site", (one.unknown_site for one in told if one.unknown_site))
    number = sum(one.is_annotated for one in told)
    if number:
        notes.append(
            f"{count(number, 'DICOM image says', 'DICOM images say')} that text is burnt in: look whether it names a "
            "person, since nothing here removes it"
        )
    if number := sum(one.is_too_long for one in told):
        notes.append(
            f"{count(number, 'DICOM header is', 'DICOM headers are')} longer than {MOST_HEADER_BYTES} bytes and not "
            "read, so that patient, age, sex and site are unknown: give them in a table"
        )
    return notes


def find_age(header: Dataset) -> float | None:
    """Return the patient's age, years: as it is stated, or else from the dates of birth and of the study."""
    stated = _AGE.fullmatch(_text(header, "PatientAge"))
    if stated:
        return parse_age(f"{int(stated[1]) / _PER_YEAR[stated[2]]:.2f}")
    born = _date(_text(header, "PatientBirthDate"))
    taken = next(filter(None, (_date(_text(header, name)) for name in _DATES)), None)
    return None if born is None or taken is None else parse_age(str(int((taken - born).days / _PER_YEAR["D"])))


def find_lesion(header: Dataset) -> str | None:
    """Return the identifier of the lesion that is followed, or else of the specimen; none: there is neither."""
    specimens = header.get("SpecimenDescriptionSequence") or [Dataset()]
    given = [
        *(_text(header, name) for name in ("TrackingID", "TrackingUID")),
        *(_text(specimens[0], name) for name in ("SpecimenIdentifier", "SpecimenUID")),
    ]
    return next(filter(None, map(clean_group, given)), None)


def _site_words(header: Dataset) -> Iterator[str]:
    """Yield the words that a header has for the site, the most telling first; a code says DICOM's own word."""
    for name in _SITE_SEQUENCES:
        for item in header.get(name) or ():
            value, scheme = _text(item, "CodeValue"), _text(item, "CodingSchemeDesignator")
            meaning = _meaning_of(value, scheme)
            yield from (word for word in (meaning, clean(_text(item, "CodeMeaning"))) if word)
    if (part := clean(_text(header, "BodyPartExamined"))) is not None:
        yield part


@lru_cache(maxsize=1024)
def _meaning_of(value: str, scheme: str) -> str | None:
    """Return DICOM's English word for a code of a site in SNOMED, whatever language the header has it in."""
    if not value or not scheme:
        return None
    asked = Code(value, scheme, "")
    return next((code.meaning for code in _site_codes() if code == asked), None)


@lru_cache(maxsize=1)
def _site_codes() -> tuple[Code, ...]:
    """Return the sites of DICOM: of dermatology (CID 4029) and in general (CID 4031)."""
    return tuple(code for group in (codes.cid4029, codes.cid4031) for code in group.concepts.values())


def site_of_words(words: str) -> Site | None:
    """Return the one of our sites that a name of a site of the body means; none: it means none of them for certain.

    >>> site_of_words("Skin of left upper arm"), site_of_words("LOWERLEG"), site_of_words("wing")
    ('upper extremity', 'lower extremity', None)
    """
    bare = [word for word in re.split(r"[^a-z/]+", re.sub(r"\(.*?\)", "", words.lower())) if word]
    telling = [word for word in bare if word not in _SAYS_NOTHING]
    coarse = [word for word in telling if word not in _SAYS_WHERE]
    if "mucosa" in bare:
        return "oral/genital"
    if "and" in bare:  # such as neck and chest
        return _site_of([bare])
    ends = [named[start:] for named in (telling, coarse) for start in range(len(named))]
    return _site_of([bare, *ends])  # the last words say of what the others are a part


def _site_of(names: list[list[str]]) -> Site | None:
    """Return the first site that is called so."""
    spelled = [" ".join(words) for words in names]
    return next(filter(None, (find_site(name) or _MORE_SITES.get(name) for name in spelled)), None)


def _date(text: str) -> datetime | None:
    try:
        return datetime.strptime(text, "%Y%m%d")  # noqa: DTZ007 - only the days between two of them count
    except ValueError:
        return None


def _text(header: Dataset, name: str) -> str:
    """Return an element as text; empty where it isn't there."""
    value = header.get(name)
    return "" if value is None else str(value).strip()
