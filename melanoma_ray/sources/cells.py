"""What a cell of a table says: a missing value, an age, a sex, a split; what isn't certain stays unknown."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from functools import lru_cache

from melanoma_ray.wording import count

_MISSING = frozenset(
    {
        *("", "-", "--", "---", "—", "?", "??", ".", "..", "/", "*", "…", "na", "n/a", "#n/a", "nan", "nat", "none"),
        *(
            "null",
            "#null!",
            "(null)",
            "\\n",
            "#value!",
            "#ref!",
            "#div/0!",
            "nil",
            "<na>",
            "unk",
            "unknown",
            "undefined",
        ),
        *(
            "missing",
            "blank",
            "empty",
            "leer",
            "tbd",
            "tba",
            "to be determined",
            "n.a.",
            "n. a.",
            "n.d.",
            "k.a.",
            "k. a.",
        ),
        *("keine angabe", "not available", "not applicable", "not specified", "unspecified", "not known", "not given"),
        *("not reported", "not recorded", "no data", "unbekannt", "inconnu", "inconnue", "desconocido", "desconocida"),
        *("sconosciuto", "onbekend"),
    }
)
"""Words for a value that isn't known, in any case. For a diagnosis, ``unknown`` and ``unk`` are words of their own:
ISIC 2019 and 2020 mean "none of the others" by them."""
_DIAGNOSIS_WORDS = frozenset({"unknown", "unk"})
_NOBODY = frozenset({"anonymous", "anonymised", "anonymized", "anon", "-1", "-1.0", "xxx"})
"""Further placeholders for who or what an image is of: many images would seem to be of one patient."""
_SEXES = {
    **dict.fromkeys(("female", "f", "fem", "woman", "women", "girl", "w", "weiblich", "weibl", "frau"), "female"),
    **dict.fromkeys(("femme", "féminin", "mujer", "femenino", "femminile", "donna", "feminino", "vrouw"), "female"),
    **dict.fromkeys(("male", "m", "man", "men", "boy", "männlich", "männl", "maennlich", "mann"), "male"),
    **dict.fromkeys(("homme", "masculin", "hombre", "masculino", "maschile", "uomo"), "male"),
}
_YEARS = r"y|yo|y/o|yr|yrs|years?|years? old|year-old|j|jahre?|jahre alt|ans?|años?|anni"
_AGE = re.compile(rf"^(?:>=?|≥)?\s*(\d{{1,3}}(?:[.,]\d+)?)\s*(?:\+|{_YEARS})?\.?$")
_AGE_RANGE = re.compile(
    rf"^(?:(\d{{1,3}})\s*(?:-|–|to|bis)\s*(\d{{1,3}})|[\[(](\d{{1,3}})\s*[,-]\s*(\d{{1,3}})[\])])\s*(?:{_YEARS})?\.?$"
)
_AGE_MONTHS = re.compile(r"^(\d{1,3})\s*(?:mo|mos|months?|months? old|monate?)\.?$")
_NUMBER = re.compile(r"^-?\d+(?:[.,]\d+)?$")
_OLDEST = 120.0
_NO_AGES = frozenset({0.0, -1.0, -9.0, -99.0, -999.0, 888.0, 998.0, 999.0, 9999.0})
SPLIT_WORDS = {
    **dict.fromkeys(("train", "training", "trainset"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "valset", "validierung"), "val"),
    **dict.fromkeys(("test", "testing", "testset"), "test"),
}
"""Words for a split, in small letters."""
_BESIDE_A_SPLIT = frozenset(
    {
        *("set", "sets", "data", "dataset", "split", "splits", "image", "images", "img", "imgs", "picture", "pictures"),
        *("photo", "photos", "folder", "files"),
    }
)
"""Words that may stand beside one for a split and change nothing: ``training_set``, ``Test images``."""


def clean(value: object) -> str | None:
    """Return a text without spaces around it, or none for a placeholder such as ``N/A``.

    >>> clean(" Male "), clean("N/A"), clean("k.A."), clean(float("nan"))
    ('Male', None, None, None)
    """
    text = "" if value is None or value != value else str(value).strip()  # noqa: PLR0124 - NaN
    return None if text.lower() in _MISSING else text


def clean_diagnosis(value: object) -> str | None:
    """Return a word for a lesion, or none; ``unknown`` is a word."""
    text = "" if value is None or value != value else str(value).strip()  # noqa: PLR0124 - NaN
    return text if text.lower() in _DIAGNOSIS_WORDS else clean(text)


def clean_group(value: object) -> str | None:
    """Return the id of a lesion or a patient, or none for a placeholder, such as ``anonymous``."""
    text = clean(value)
    return None if text is None or text.lower() in _NOBODY else text


def parse_sex(value: object) -> str | None:
    """Return female or male; none for a word that isn't certain.

    >>> parse_sex("Weiblich"), parse_sex("M."), parse_sex("1")
    ('female', 'male', None)
    """
    return _SEXES.get((clean(value) or "").lower().rstrip("."))


def parse_age(value: object) -> float | None:
    """Return years; none for what isn't an age of a person: 0, -1, 999, words.

    >>> parse_age("85+"), parse_age("45 Jahre"), parse_age("40-49"), parse_age("18 months"), parse_age("fifty")
    (85.0, 45.0, 44.5, 1.5, None)
    """
    text = (clean(value) or "").lower()
    if (one := _AGE.match(text)) is not None:
        years = float(one[1].replace(",", "."))
    elif (ends := _AGE_RANGE.match(text)) is not None:
        years = sum(float(end) for end in ends.groups() if end) / 2
    elif (months := _AGE_MONTHS.match(text)) is not None:
        years = float(months[1]) / 12
    else:
        return None
    return years if 0 < years <= _OLDEST else None


def is_no_age(value: object) -> bool:
    """Tell a number by which tables say that an age isn't known; a year of birth is none.

    >>> is_no_age("-1"), is_no_age("999.0"), is_no_age("1980")
    (True, True, False)
    """
    text = (clean(value) or "").replace(",", ".")
    return _NUMBER.match(text) is not None and float(text) in _NO_AGES


@lru_cache(maxsize=4096)
def parse_split(word: object, beside: frozenset[str] = frozenset()) -> str | None:
    """Return train, val or test for a word or a name that says one of them and nothing else.

    Args:
        word: Of a column, or a folder's or a file's name.
        beside: Further words that may stand in it and change nothing.

    >>> parse_split("Training set"), parse_split("test_images"), parse_split("ISIC_2019_Training_Input")
    ('train', 'test', None)
    """
    tokens = split_tokens(word)
    telling = [token for token in tokens if token not in _BESIDE_A_SPLIT and token not in beside]
    return SPLIT_WORDS.get(telling[0]) if len(telling) == 1 else None


@lru_cache(maxsize=4096)
def split_tokens(word: object) -> tuple[str, ...]:
    """Return the words in a name, in small letters: at separators, at digits and where capitals begin a new one."""
    parted = re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=\d)(?=[A-Za-z])|(?<=[A-Za-z])(?=\d)", " ", str(word))
    return tuple(token for token in re.split(r"[\W_]+", parted.lower()) if token)


def describe_words(name: str, what: str, words: Iterable[object]) -> list[str]:
    """Say which words of a column weren't understood and how many they are; nothing where all were.

    >>> describe_words("a/meta.csv", "sex", ["x", "divers", "x"])
    ["meta.csv: 3 rows have a sex that isn't understood, and counts as unknown: 'x' (2), 'divers' (1)"]
    """
    counts = Counter(map(str, words))
    if not counts:
        return []
    told = ", ".join(f"{word!r} ({count:,})" for word, count in counts.most_common(5))
    more = f" and {len(counts) - 5} more words" if len(counts) > 5 else ""
    rows = count(counts.total(), "row has", "rows have")
    table = name.rsplit("/", 1)[-1]
    article = "an" if what[0] in "aeiou" else "a"
    return [f"{table}: {rows} {article} {what} that isn't understood, and counts as unknown: {told}{more}"]
