"""The diagnosis that a folder's name tells, plain or numbered and decorated; what isn't certain tells none.

``1. Melanoma``, ``melanoma_photos`` and ``5. Melanocytic Nevi (NV) - 7970`` each say one diagnosis.
``Melanoma Skin Cancer Nevi and Moles`` and ``suspected melanoma`` don't.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from itertools import combinations

from melanoma_ray.diagnoses import Taxonomy, is_coarse
from melanoma_ray.sources.joining import most_telling
from melanoma_ray.sources.matching import Parts, without_copy

_NUMBER_BEFORE = re.compile(r"^\s*\d+\s*[.)_\-:\s]\s*")
_COUNT_BEHIND = re.compile(
    r"[\s_\-–(]+(?:n\s*=\s*)?\d+(?:[.,]\d+)?\s*k?\s*(?:images?|imgs?|pictures?|photos?)?\)?\s*$", re.IGNORECASE
)
_PARENTHESES = re.compile(r"^(.*?)\s*[(\[]([^()\[\]]+)[)\]]\s*$")
_NEUTRAL = frozenset(
    {
        *("image", "images", "img", "imgs", "photo", "photos", "picture", "pictures", "pics", "scans", "dermoscopy"),
        *("dermoscopic", "cases", "samples", "jpg", "jpeg", "png", "cropped", "resized", "bilder", "fotos"),
    }
)
"""Words beside a diagnosis that don't change it. ``dataset`` isn't among them: one about a diagnosis has others too."""


def folder_words(folders: Iterable[Parts], taxonomy: Taxonomy) -> tuple[dict[Parts, str | None], list[str]]:
    """Return the word for the lesion of each path of folders, and what to know of it.

    The innermost folder that is a diagnosis counts, but a fine word before a coarse one. A folder below which other
    diagnoses lie is named after its subject, such as ``melanoma/benign``, and tells none.
    """
    told = {
        one: [(one[: depth + 1], word) for depth, name in enumerate(one) if (word := diagnosis_in(name, taxonomy))]
        for one in set(folders)
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
    ]


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
