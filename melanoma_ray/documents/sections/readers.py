"""How the model and the people who read the same images agree."""

from __future__ import annotations

from melanoma_ray.documents.sections.rows import Row
from melanoma_ray.evaluation.readers import PairFigures, ReaderFigures, Readers
from melanoma_ray.evaluation.wording import SPARSE_NOTE, Words, short
from melanoma_ray.reports.evaluation import Section, Table
from melanoma_ray.wording import count


def readers(found: Readers | None, words: Words) -> Section | None:
    """Return the agreement with each reader, and between readers; none where no readings were given."""
    if found is None:
        return None
    return Section(
        anchor="readers",
        title="Do the model and its readers agree?",
        paragraphs=[
            f"Here the reader's own diagnosis stands in place of the truth: sensitivity is the share of what the "
            f"reader holds for {words.many} that the model refers. Readers who saw the model's answer first are drawn "
            "to it. Kappa is 1 for perfect agreement and 0 for what chance alone would make.",
            SPARSE_NOTE,
        ],
        points=_describe_unused(found),
        tables=[
            Table(
                caption="The model and each reader",
                heads=("Reader", "Read", "Agree", "Disagree", "Unsure", "Diagnosed", "Sensitivity", "Specificity", "κ"),
                rows=[_reader_row(one) for one in found.readers],
            ),
            *([_pairs(found.pairs)] if found.pairs else []),
        ],
    )


def _describe_unused(found: Readers) -> list[str]:
    said = []
    if found.num_unmatched:
        said.append(f"{count(found.num_unmatched, 'reading')} of {found.num_readings:,}: of no evaluated image.")
    if found.num_superseded:
        said.append(f"{count(found.num_superseded, 'reading')}: replaced by a later one of the same reader.")
    return said


def _reader_row(one: ReaderFigures) -> Row:
    verdicts = (f"{one.verdicts.get(name, 0):,}" for name in ("agree", "disagree", "unsure"))
    figures = (short(value) for value in (one.sensitivity, one.specificity, one.kappa))
    return one.reader, f"{one.num_images:,}", *verdicts, f"{one.num_diagnosed:,}", *figures


def _pairs(pairs: tuple[PairFigures, ...]) -> Table:
    return Table(
        caption="Readers with each other",
        heads=("Readers", "Images", "κ"),
        rows=[(f"{one.first} and {one.second}", f"{one.num_images:,}", short(one.kappa)) for one in pairs],
    )
