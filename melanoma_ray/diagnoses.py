"""Diagnoses and all words for them: the nine of the ISIC set that this project began with, or those of a table.

The order of ``DIAGNOSES`` must not change: the i-th output of a network trained on all nine is ``DIAGNOSES[i]``.
"""

from __future__ import annotations

import csv
import difflib
import io
import re
import unicodedata
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from typing import Literal

import numpy as np
from jaxtyping import Int64

from melanoma_ray.errors import DataError


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """One class that a network may predict."""

    name: str
    is_melanoma: bool = False
    is_malignant: bool = False
    """Whether it is a cancer, as a melanoma always is."""


MELANOMA = "melanoma"
NINE: tuple[Diagnosis, ...] = (
    Diagnosis("actinic keratosis"),  # pre-malignant, and not counted as malignant
    Diagnosis("basal cell carcinoma", is_malignant=True),
    Diagnosis("dermatofibroma"),
    Diagnosis(MELANOMA, is_melanoma=True, is_malignant=True),
    Diagnosis("nevus"),
    Diagnosis("pigmented benign keratosis"),
    Diagnosis("seborrheic keratosis"),
    Diagnosis("squamous cell carcinoma", is_malignant=True),
    Diagnosis("vascular lesion"),
)
DIAGNOSES: tuple[str, ...] = tuple(diagnosis.name for diagnosis in NINE)
BENIGN_OR_MALIGNANT = (Diagnosis("benign"), Diagnosis("malignant", is_malignant=True))
MELANOMA_OR_OTHER = (Diagnosis("other"), Diagnosis(MELANOMA, is_melanoma=True, is_malignant=True))

ReferredFor = Literal["melanoma", "malignancy"]
"""What is to be referred: melanoma, or any malignancy."""

_TAXONOMY = "taxonomy.csv"
_COLUMNS = ("name", "diagnosis")
_NO_MELANOMA = frozenset(
    {"other", "others", "not melanoma", "non melanoma", "notmelanoma", "nonmelanoma", "no melanoma"}
)
_COARSE = _NO_MELANOMA | {"benign", "malignant"}
"""Words that state at most whether a lesion is malignant, so that any finer word takes precedence."""
_YES, _NO = frozenset({"yes", "true", "1"}), frozenset({"no", "false", "0"})


@dataclass(frozen=True, slots=True)
class Taxonomy:
    """The diagnoses that words for a lesion mean; ``load_taxonomy`` and ``two_way`` make one.

    Attributes:
        diagnoses: All classes, in the order of a network's outputs.
        meanings: Name of the diagnosis of each normalised word; none: the word is known, but means none of them.
        wider: All diagnoses that a normalised word may mean, where that is more than one.
        malignancy: Whether a lesion of each normalised word is malignant, where the word implies it.
        origin: Path of the user's own table; nothing where there is none.
    """

    diagnoses: tuple[Diagnosis, ...]
    meanings: Mapping[str, str | None]
    wider: Mapping[str, tuple[str, ...]]
    malignancy: Mapping[str, bool]
    origin: str = ""

    def parse(self, name: str) -> str | None:
        """Return the diagnosis for a word in any case, with any separator; none: it is known, but none of these.

        Raises:
            DataError: The word is unknown; the message lists the known ones.

        >>> load_taxonomy().parse("Melanocytic_Nevi")
        'nevus'
        """
        found = self._look_up(name)
        if found is not None:
            return self.meanings[found]
        names = [diagnosis.name for diagnosis in self.diagnoses]
        near = self.nearest(name)
        hint = f"; did you mean {' or '.join(map(repr, near))}?" if near else ""
        msg = (
            f"diagnosis {name!r} is unknown: expected one of {', '.join(names)}, or one of the other "
            f"{len(self.meanings) - len(names)} words of taxonomy.csv{hint}; a taxonomy table can add it"
        )
        raise DataError(msg)

    def nearest(self, name: str) -> list[str]:
        """Return the known words that are spelled most like an unknown one."""
        return difflib.get_close_matches(normalize_word(name), list(self.meanings), n=3, cutoff=0.75)

    def covers(self, name: str) -> tuple[str, ...]:
        """Return every diagnosis that a word may mean: HAM10000's ``akiec`` is also Bowen's disease, a carcinoma."""
        meaning = self.parse(name)
        found = self._look_up(name) or ""
        return self.wider.get(found, () if meaning is None else (meaning,))

    def knows(self, name: str) -> bool:
        """Return whether a word is known."""
        return self._look_up(name) is not None

    def is_fine(self, name: str) -> bool:
        """Return whether a word means one of the diagnoses, and not only benign, malignant or other."""
        return self.knows(name) and self.parse(name) is not None and normalize_word(name) not in _COARSE

    def says_malignant(self, name: str) -> bool | None:
        """Return whether a word means a malignant lesion, also where it means no class; none: it doesn't say.

        >>> [load_taxonomy().says_malignant(word) for word in ("malignant", "nevus", "indeterminate")]
        [True, False, None]
        """
        return self.malignancy.get(self._look_up(name) or "")

    def says_melanoma(self, name: str) -> bool | None:
        """Return whether a word means melanoma, also where it means no class; none: it may, or may not.

        >>> [load_taxonomy().says_melanoma(word) for word in ("mel", "benign", "kaposi sarcoma", "malignant")]
        [True, False, False, None]
        """
        word = self._look_up(name) or ""
        meaning = self.meanings.get(word)
        if meaning is not None or word in _NO_MELANOMA:
            return _is_melanoma(self, meaning)
        return None if word == "malignant" or self.malignancy.get(word) is None else False

    def contradicts(self, coarse: str, fine: str) -> bool:
        """Return whether benign, malignant or other can't be true of what a finer word means.

        >>> load_taxonomy().contradicts("benign", "mel"), load_taxonomy().contradicts("malignant", "akiec")
        (True, False)
        """
        word = self._look_up(fine) or ""
        classes = {one.name: one for one in self.diagnoses}
        meant = [classes[name] for name in self.covers(fine) if name in classes]
        if normalize_word(coarse) in _NO_MELANOMA:
            return bool(meant) and all(one.is_melanoma for one in meant)
        flags = {one.is_malignant for one in meant} if word in self.wider else {self.malignancy.get(word)}
        return None not in flags and (normalize_word(coarse) == "malignant") not in flags

    def _look_up(self, name: str) -> str | None:
        """Return the word under which a name is known: itself, its American spelling, or one of their singulars."""
        spellings = _spellings(normalize_word(name))
        return next((word for one in spellings for word in (one, *_singulars(one)) if word in self.meanings), None)


def load_taxonomy(text: str | bytes | None = None) -> Taxonomy:
    """Return the built-in taxonomy (melanoma_ray/taxonomy.csv), extended and overridden by a table of the user.

    Args:
        text: A CSV with the columns name and diagnosis (empty: leave such images out), and, if a word may mean
            several diagnoses, covers (``actinic keratosis|squamous cell carcinoma``). With a column is_melanoma or
            is_malignant (yes or no) the table defines classes of its own: its diagnoses are the classes then, in
            the order in which they first appear, in place of the nine. Bytes may be UTF-8 with or without a byte
            order mark, UTF-16 or Latin-1; columns may be divided by commas, semicolons or tabs.

    Raises:
        DataError: The table has no such columns, or names a diagnosis that isn't among the classes.
    """
    built_in, _ = _read_rows(_built_in_text())
    own, defines_classes = (
        ([], False) if text is None else _read_rows(text if isinstance(text, str) else decode_text(text))
    )
    diagnoses = _own_diagnoses(own) if defines_classes else NINE
    names = {diagnosis.name for diagnosis in diagnoses}
    if defines_classes:
        built_in = [row.within(names) for row in built_in]
    for row in own:
        for diagnosis in {*row.covers, *filter(None, [row.diagnosis])} - names:
            msg = (
                f"taxonomy table: {row.word!r} is said to be {diagnosis!r}: expected one of "
                f"{', '.join(sorted(names))}; "
                "a table with a column is_malignant (yes or no) defines diagnoses of its own"
            )
            raise DataError(msg)
    _refuse_contradictions(own)
    rows = {row.word: row for row in [*built_in, *own]}
    malignant = {diagnosis.name: diagnosis.is_malignant for diagnosis in diagnoses}
    return Taxonomy(
        diagnoses=diagnoses,
        meanings={word: row.diagnosis for word, row in rows.items()} | {name: name for name in names},
        wider={word: row.covers for word, row in rows.items() if row.covers},
        malignancy={
            word: malignant[row.diagnosis] if row.diagnosis else bool(row.is_malignant)
            for word, row in rows.items()
            if row.diagnosis or row.is_malignant is not None
        },
    )


def two_way(taxonomy: Taxonomy, diagnoses: tuple[Diagnosis, Diagnosis]) -> Taxonomy:
    """Return the taxonomy in which every word means one of two classes, or none where the word doesn't imply one.

    Args:
        taxonomy: Finer taxonomy, whose words imply whether a lesion is malignant or a melanoma.
        diagnoses: ``BENIGN_OR_MALIGNANT`` or ``MELANOMA_OR_OTHER``.
    """
    negative, positive = (diagnosis.name for diagnosis in diagnoses)
    meanings: dict[str, str | None] = {}
    for word, meaning in taxonomy.meanings.items():
        is_malignant = taxonomy.malignancy.get(word)
        is_positive = is_malignant
        if diagnoses == MELANOMA_OR_OTHER and is_malignant is not None:
            is_positive = None if word == "malignant" else _is_melanoma(taxonomy, meaning)
        if diagnoses == MELANOMA_OR_OTHER and word in _NO_MELANOMA:
            is_positive = False
        meanings[word] = None if is_positive is None else positive if is_positive else negative
    return Taxonomy(
        diagnoses, meanings | {negative: negative, positive: positive}, {}, taxonomy.malignancy, taxonomy.origin
    )


def _is_melanoma(taxonomy: Taxonomy, name: str | None) -> bool:
    return any(diagnosis.is_melanoma for diagnosis in taxonomy.diagnoses if diagnosis.name == name)


def is_coarse(name: str) -> bool:
    """Return whether a word means no more than benign, malignant or other."""
    return normalize_word(name) in _COARSE


@dataclass(frozen=True, kw_only=True, slots=True)
class _Row:
    word: str
    """The word, normalised."""
    diagnosis: str | None
    covers: tuple[str, ...]
    is_melanoma: bool | None
    is_malignant: bool | None

    def within(self, names: Collection[str]) -> _Row:
        """Return the row in a taxonomy of other diagnoses: it keeps a meaning only if that is one of them."""
        kept = self.diagnosis if self.diagnosis in names else None
        return _Row(word=self.word, diagnosis=kept, covers=(), is_melanoma=None, is_malignant=self.is_malignant)


def _own_diagnoses(rows: Sequence[_Row]) -> tuple[Diagnosis, ...]:
    """Return the classes that a table defines, in the order in which they first appear."""
    nine = {diagnosis.name: diagnosis for diagnosis in NINE}
    found = []
    for name in dict.fromkeys(row.diagnosis for row in rows if row.diagnosis):
        own = [row for row in rows if row.diagnosis == name]
        known = nine.get(name, Diagnosis(name))
        is_melanoma = _agreed(name, "is_melanoma", [row.is_melanoma for row in own], known.is_melanoma)
        told = [row.is_malignant for row in own]
        is_malignant = _agreed(name, "is_malignant", told, known.is_malignant or is_melanoma)
        if is_melanoma and not is_malignant:
            msg = f"taxonomy table: {name!r} has is_melanoma yes and is_malignant no: a melanoma is always malignant"
            raise DataError(msg)
        found.append(Diagnosis(name, is_melanoma=is_melanoma, is_malignant=is_malignant))
    return tuple(found)


def _refuse_contradictions(rows: Sequence[_Row]) -> None:
    """Refuse a word of two meanings, and names of diagnoses that differ only in case."""
    meanings: dict[str, str | None] = {}
    spellings: dict[str, str] = {}
    for row in rows:
        if meanings.setdefault(row.word, row.diagnosis) != row.diagnosis:
            both = f"{meanings[row.word]!r} and {row.diagnosis!r}"
            msg = f"taxonomy table: {row.word!r} is said to be {both}: say one of them"
            raise DataError(msg)
        name = row.diagnosis or ""
        if spellings.setdefault(normalize_word(name), name) != name:
            both = f"{spellings[normalize_word(name)]!r} and {name!r}"
            msg = f"taxonomy table: {both} are spellings of one diagnosis: use one"
            raise DataError(msg)


def _agreed(name: str, column: str, flags: Sequence[bool | None], default: bool) -> bool:  # noqa: FBT001
    """Return what all rows of a diagnosis say that say anything; refuse rows that contradict each other."""
    told = {flag for flag in flags if flag is not None}
    if len(told) > 1:
        msg = f"taxonomy table: rows of {name!r} have {column} yes and no: say one of them"
        raise DataError(msg)
    return told.pop() if told else default


@lru_cache(maxsize=1)
def _built_in_text() -> str:
    return (resources.files("melanoma_ray") / _TAXONOMY).read_text(encoding="utf-8")


def decode_text(content: bytes) -> str:
    """Return a table's text: UTF-8 or UTF-16 with or without a byte order mark, or else Latin-1."""
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        return content.decode("utf-16", errors="replace")
    head = content[:64]
    for first, codec in ((1, "utf-16-le"), (0, "utf-16-be")):
        if len(head) > 1 and not any(head[first::2]) and all(head[1 - first :: 2]):
            return content.decode(codec, errors="replace")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("latin-1")


def _read_rows(text: str) -> tuple[list[_Row], bool]:
    """Return a table's rows, and whether it has a column of which diagnoses are melanoma or malignant."""
    header = text.partition("\n")[0]
    delimiter = max(",;\t", key=header.count)
    reader = csv.DictReader(io.StringIO(text.removeprefix("\ufeff")), delimiter=delimiter)
    fields = [str(name).strip().lower() for name in reader.fieldnames or ()]
    if not set(_COLUMNS) <= set(fields):
        msg = f"taxonomy table: has columns {', '.join(fields) or 'none'}; expected name and diagnosis"
        raise DataError(msg)
    reader.fieldnames = fields
    rows = [_read_row(row) for row in reader if (row["name"] or "").strip()]
    return rows, bool({"is_melanoma", "is_malignant"} & set(fields))


def _read_row(row: Mapping[str, str | None]) -> _Row:
    covers = tuple(part.strip() for part in (row.get("covers") or "").split("|") if part.strip())
    diagnosis = " ".join((row["diagnosis"] or "").split())
    return _Row(
        word=normalize_word(row["name"] or ""),
        diagnosis=(diagnosis.lower() if diagnosis.lower() in DIAGNOSES else diagnosis) or None,
        covers=covers,
        is_melanoma=_flag(row, "is_melanoma"),
        is_malignant=_flag(row, "is_malignant"),
    )


def _flag(row: Mapping[str, str | None], name: str) -> bool | None:
    value = (row.get(name) or "").strip().lower()
    if value and value not in _YES | _NO:
        msg = f"taxonomy table: {row['name']!r} has {name}={value!r}: expected yes or no"
        raise DataError(msg)
    return value in _YES if value else None


def normalize_word(name: str) -> str:
    """Return what different spellings of a word have in common: case, separators, Unicode's forms.

    >>> normalize_word("Basal_Cell-Carcinoma")
    'basal cell carcinoma'
    """
    plain = unicodedata.normalize("NFC", name).strip().lower().replace("’", "'")
    return " ".join(re.split(r"[\s_\-,()]+", plain)).strip()


def _spellings(normal: str) -> Iterable[str]:
    """Yield a word as it is and in the American spelling: naevus, nävus, haemangioma, seborrhoeic."""
    american = normal
    for other, ours in (("naev", "nev"), ("näv", "nev"), ("haem", "hem"), ("rrhoe", "rrhe")):
        american = american.replace(other, ours)
    return dict.fromkeys((normal, american))


def _singulars(normal: str) -> Iterable[str]:
    """Yield the singulars that a plural may have: nevi, keratoses, carcinomas, lesions, naevi."""
    for plural, singular in (("evi", "evus"), ("oses", "osis"), ("omata", "oma"), ("s", "")):
        if normal.endswith(plural) and len(normal) > len(plural):
            yield normal[: -len(plural)] + singular


def parse_diagnosis(name: str) -> str:
    """Return one of the nine diagnoses for a word, by the built-in taxonomy.

    HAM10000's ``akiec`` (actinic keratosis or Bowen's disease) becomes actinic keratosis and its
    ``bkl`` (solar lentigo, seborrheic or lichen-planus-like keratosis) pigmented benign keratosis,
    as in the ISIC archive's own nine-class set (Tschandl 2018, doi:10.1038/sdata.2018.161).

    Args:
        name: The word, such as ``Actinic_Keratosis``, ``akiec`` or ``MEL``.

    Raises:
        DataError: The word is unknown, or none of the nine; the message lists the known ones.

    >>> parse_diagnosis("akiec")
    'actinic keratosis'
    """
    diagnosis = load_taxonomy().parse(name)
    if diagnosis is None:
        msg = f"diagnosis {name!r} is none of the nine: expected one of {', '.join(DIAGNOSES)}"
        raise DataError(msg)
    return diagnosis


def sort_diagnoses(names: Iterable[str], order: Sequence[Diagnosis] = NINE) -> tuple[str, ...]:
    """Return the distinct names in the order of a taxonomy's diagnoses; names that aren't among them are left out."""
    present = set(names)
    return tuple(diagnosis.name for diagnosis in order if diagnosis.name in present)


def referred_diagnoses(
    diagnoses: Sequence[Diagnosis], refer_for: ReferredFor = "melanoma"
) -> tuple[ReferredFor, tuple[str, ...]]:
    """Return what is to be referred among some diagnoses, and which of them.

    Args:
        diagnoses: The diagnoses.
        refer_for: What is wanted; if none of the diagnoses is melanoma, malignancy is meant in either case.

    >>> referred_diagnoses(BENIGN_OR_MALIGNANT)
    ('malignancy', ('malignant',))
    """
    melanomas = tuple(diagnosis.name for diagnosis in diagnoses if diagnosis.is_melanoma)
    if melanomas and refer_for == "melanoma":
        return "melanoma", melanomas
    malignant = tuple(diagnosis.name for diagnosis in diagnoses if diagnosis.is_malignant)
    return ("malignancy" if malignant else "melanoma"), malignant


def class_numbers(names: Iterable[str], diagnoses: Sequence[str]) -> Int64[np.ndarray, " image"]:
    """Return the class number of each diagnosis: its position among a model's, or -1 for one that it doesn't have.

    >>> class_numbers(["nevus", "melanoma", "dermatofibroma"], ("melanoma", "nevus")).tolist()
    [1, 0, -1]
    """
    number_of = {diagnosis: number for number, diagnosis in enumerate(diagnoses)}
    return np.array([number_of.get(name, -1) for name in names], np.int64)
