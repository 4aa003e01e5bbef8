"""The diagnosis that a folder's name tells, plain or numbered and decorated; what isn't certain tells none.

``1. Melanoma``, ``melanoma_photos`` and ``5. Melanocytic Nevi (NV) - 7970`` each say one diagnosis.
``Melanoma Skin Cancer Nevi and Moles`` and ``suspected melanoma`` don't.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import combinations

from melanoma_ray.diagnoses import Taxonomy, is_coarse
from melanoma_ray.sources.joining import most_telling
from melanoma_ray.sources.matching import Parts, without_copy

_NUMBER_BEFORE = re.compile(r"^\s*\d+\s*[.)_\-:\s]\s*")
_COUNT_BEHIND = re.compile(
    r"[\s_\-–(]+(?:n\s*=\s*)?\d+(?:[.,]\d+)?\s*k?\s*(?:images?|imgs?|pictures?|photos?)?\)?\s*$", re.IGNORECASE
)
_SIZE = re.compile(r"^\s*[<>~]?\s*\d+(?:[.,]\d+)?\s*-?\s*mm\s*$", re.IGNORECASE)
"""``5 mm`` is a size; ``mm`` alone may be malignant melanoma."""
_LONGEST_CODE = 3
"""Letters of the longest word that may be a code (``ak``, ``mel``) or somebody's initials."""
_PARENTHESES = re.compile(r"^(.*?)\s*[(\[]([^()\[\]]+)[)\]]\s*$")
_NEUTRAL = frozenset(
    {
        *("image", "images", "img", "imgs", "photo", "photos", "picture", "pictures", "pics", "scans", "dermoscopy"),
        *("dermoscopic", "cases", "samples", "jpg", "jpeg", "png", "cropped", "resized", "bilder", "fotos"),
    }
)
"""Words beside a diagnosis that don't change it. ``dataset`` isn't among them: one about a diagnosis has others too."""


def folder_words(folders: Sequence[Parts], taxonomy: Taxonomy) -> tuple[dict[Parts, str | None], list[str]]:
    """Return the word for the lesion of each path of folders, and what to know of it.

    The innermost folder that is a diagnosis counts, but a fine word before a coarse one. A folder below which other
    diagnoses lie is named after its subject, such as ``melanoma/benign``, and tells none.
    """
    all_folders = {one[: depth + 1] for one in folders for depth in range(len(one))}
    word_of = {one: diagnosis_in(one[-1], taxonomy) for one in all_folders}
    initials = _find_initials(word_of, taxonomy)
    told = {
        one: [
            (path, word)
            for depth in range(len(one))
            if (path := one[: depth + 1]) not in initials and (word := word_of[path]) is not None
        ]
        for one in {*folders}
    }
    subjects = {
        outer[0]
        for words in told.values()
        for outer, inner in combinations(words, 2)
        if _differ(outer[1], inner[1], taxonomy)
    }
    found = {
        one: most_telling([word for path, word in reversed(words) if path not in subjects], taxonomy)
        for one, words in told.items()
    }
    return found, [
        f"the folder {path[-1]} has images of other diagnoses below it, so its name tells none of them"
        for path in sorted(subjects)
    ] + _describe_initials(initials) + _describe_contradictions(told, taxonomy)


def _find_initials(word_of: Mapping[Parts, str | None], taxonomy: Taxonomy) -> set[Parts]:
    """Return the folders called like the code of a diagnosis, below another's, and beside folders of no word."""
    is_mixed = {path[:-1] for path, word in word_of.items() if word is None}
    found = set()
    for path, word in word_of.items():
        above = next((one for depth in range(len(path) - 1, 0, -1) if (one := word_of[path[:depth]]) is not None), None)
        if word is None or above is None or is_coarse(above) or len(path[-1]) > _LONGEST_CODE:
            continue
        if path[:-1] in is_mixed and _differ(above, word, taxonomy):
            found.add(path)
    return found


def _describe_initials(initials: Iterable[Parts]) -> list[str]:
    names = sorted({path[-1] for path in initials})
    if not names:
        return []
    told = ", ".join(names)
    return [f"folders below one of a diagnosis, among others of no diagnosis, aren't taken for codes: {told}"]


def _describe_contradictions(told: Mapping[Parts, Sequence[tuple[Parts, str]]], taxonomy: Taxonomy) -> list[str]:
    """Say which folders lie in one that says the opposite of malignancy."""
    pairs = {
        f"{outer[0][-1]}/{inner[0][-1]}"
        for words in told.values()
        for outer, inner in combinations(words, 2)
        if is_coarse(outer[1]) and not is_coarse(inner[1]) and taxonomy.contradicts(outer[1], inner[1])
    }
    if not pairs:
        return []
    return [f"folders lie in one that can't be true of them, so the inner ones count: {', '.join(sorted(pairs))}"]


def _differ(outer: str, inner: str, taxonomy: Taxonomy) -> bool:
    """Tell whether a folder's diagnosis can't be that of a folder above it."""
    if is_coarse(outer):
        return False
    if is_coarse(inner):
        return taxonomy.contradicts(inner, outer)
    meant = set(taxonomy.covers(outer)), set(taxonomy.covers(inner))
    return all(meant) and not set.intersection(*meant)


def diagnosis_in(name: str, taxonomy: Taxonomy) -> str | None:
    """Return the word for a lesion in a folder's name, or none."""
    if _SIZE.match(name):
        return None
    if taxonomy.knows(name):
        return None if name.strip().isdigit() else name
    return next((word for word in _undecorate(name) if taxonomy.knows(word) and _is_agreed(name, word, taxonomy)), None)


def _bare(name: str) -> str:
    """Return a name without the number before it, the count behind it, and what a copy is called."""
    return _COUNT_BEHIND.sub("", _NUMBER_BEFORE.sub("", without_copy(name.strip()))).strip(" _-.")


@lru_cache(maxsize=4096)
def _undecorate(name: str) -> tuple[str, ...]:
    """Return what may be left of a name without number, count, parentheses and neutral words."""
    bare = _bare(name)
    inner = _PARENTHESES.match(bare)
    forms = [bare, *([inner[1]] if inner else [])]
    tokens = [[one for one in re.split(r"[\s_\-]+", form) if one] for form in forms]
    forms += [" ".join(one for one in words if one.lower() not in _NEUTRAL) for words in tokens]
    return tuple(dict.fromkeys(form for form in forms if form and not form.isdigit()))


def _is_agreed(name: str, word: str, taxonomy: Taxonomy) -> bool:
    """Tell whether parentheses say the same as the word before them; what they say must be known."""
    bare = _bare(name)
    inner = _PARENTHESES.match(bare)
    if inner is None or taxonomy.knows(bare):
        return True
    if not taxonomy.knows(inner[2]):
        return False
    if is_coarse(inner[2]) and not is_coarse(word):
        return not taxonomy.contradicts(inner[2], word)
    return bool(set(taxonomy.covers(word)) & set(taxonomy.covers(inner[2])))
