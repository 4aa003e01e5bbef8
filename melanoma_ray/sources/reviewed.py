"""Readers' words as diagnoses of a collection: the reader's beside pathology's, and by which rules they are settled.

- *the collection counts*: what a folder, a table or a container says of an image counts before any reader's word, since
  it may rest on pathology. Where the readers say something else, that is told, and the collection's word stays.
- *readers agree*: an image of which nothing else is known has the diagnosis that all its readers give.
- *most readers*: where they differ, it has the diagnosis that more than half of those who gave one have given.
- *readers disagree*: where there is none, the image is left out.

A reading without a diagnosis is no word. A reader's word counts for a copy of the picture like a folder's: where it
contradicts another's claim, and no table settles that, all copies are dropped (``preparation/labels.py``).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import pandas as pd

from melanoma_ray.diagnoses import Taxonomy
from melanoma_ray.sources.readings import NO_CLASS, Reading, match_readings, take_latest
from melanoma_ray.wording import count

Rule = Literal["readers agree", "most readers", "readers disagree"]
_OTHER = "other"
"""Word of the taxonomy for a lesion that is none of the diagnoses."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Settled:
    """A source's images with their readers' words."""

    frame: pd.DataFrame
    """As it was given, with ``word`` where only readers have one."""
    num_filled: int
    """Images that have their diagnosis from readers alone."""
    notes: tuple[str, ...]
    """How many images were settled by which rule, a sentence each."""


def settle_readings(frame: pd.DataFrame, readings: Sequence[Reading], taxonomy: Taxonomy) -> Settled:
    """Give readers' words to images of which nothing else is known.

    Args:
        frame: One row an image: path, image_id and word, the collection's own claim or None.
        readings: Rows of all reviewed.csv.
        taxonomy: What words mean.
    """
    if not readings:
        return Settled(frame=frame, num_filled=0, notes=())
    rows = match_readings(readings, frame)
    latest = take_latest([(int(row), one) for row, one in zip(rows, readings, strict=True) if row >= 0])
    votes: dict[int, list[str]] = {}
    for (_, row), reading in latest.items():
        if reading.diagnosis is not None:
            votes.setdefault(row, []).append(reading.diagnosis)
    settled = {row: settle_votes(words) for row, words in votes.items()}
    words = [word if isinstance(word, str) else None for word in frame["word"]]
    rules: Counter[Rule] = Counter()
    contradicted = num_filled = 0
    for row, (diagnosis, rule) in settled.items():
        own = words[row]
        if own is not None:
            contradicted += diagnosis is not None and taxonomy.knows(own) and diagnosis not in _meant(own, taxonomy)
            continue
        rules[rule] += 1
        words[row] = _word_for(diagnosis, taxonomy)
        num_filled += words[row] is not None
    filled = frame.assign(word=pd.Series(words, index=frame.index, dtype=object))
    return Settled(frame=filled, num_filled=num_filled, notes=_describe(rules, contradicted, int((rows < 0).sum())))


def settle_votes(diagnoses: Sequence[str]) -> tuple[str | None, Rule]:
    """Return the diagnosis that several readers' words come to, none where they disagree, and the rule.

    >>> settle_votes(["nevus", "nevus", "melanoma"]), settle_votes(["nevus", "melanoma"])
    (('nevus', 'most readers'), (None, 'readers disagree'))
    """
    (first, number), *others = Counter(diagnoses).most_common()
    if not others:
        return first, "readers agree"
    return (first, "most readers") if 2 * number > len(diagnoses) else (None, "readers disagree")


def _meant(word: str, taxonomy: Taxonomy) -> tuple[str, ...]:
    return taxonomy.covers(word) or (NO_CLASS,)


def _word_for(diagnosis: str | None, taxonomy: Taxonomy) -> str | None:
    """Return a word of the taxonomy; none where it has none for a lesion of no class."""
    if diagnosis == NO_CLASS:
        return _OTHER if taxonomy.knows(_OTHER) else None
    return diagnosis


def _describe(rules: Counter[Rule], contradicted: int, num_unmatched: int) -> tuple[str, ...]:
    told = [f"{number:,} by the rule '{rule}'" for rule, number in rules.items()]
    notes = [f"{count(rules.total(), 'image')} without any other word were settled by readers: {', '.join(told)}"]
    if contradicted:
        notes.append(f"readers contradict the collection about {count(contradicted, 'image')}: the collection counts")
    if num_unmatched:
        notes.append(f"{count(num_unmatched, 'reading is', 'readings are')} of no image here, or of several of a name")
    return tuple(notes if rules else notes[1:])
