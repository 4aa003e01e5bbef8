"""model_card.md: a label of facts about the model, then the items of TRIPOD+AI, STARD-AI and CLAIM 2024.

Each item is filled by what was found and what the publisher states, or named as not done.
"""

from __future__ import annotations

import html
from collections.abc import Mapping

from melanoma_ray.api import NOTICE, SYNTHETIC_NOTICE
from melanoma_ray.documents.evidence import Evidence
from melanoma_ray.documents.guidelines.claim import CLAIM
from melanoma_ray.documents.guidelines.items import Guideline, Item
from melanoma_ray.documents.guidelines.stard import STARD_AI
from melanoma_ray.documents.guidelines.tripod import TRIPOD_AI
from melanoma_ray.errors import ConfigError
from melanoma_ray.evaluation.wording import Words, describe_unseen, of_a_hundred

NOT_DONE = "Not done."
GUIDELINES = (TRIPOD_AI, STARD_AI, CLAIM)
_BY_NUMBER = {item.number: item for item in TRIPOD_AI.items}


def check_statements(statements: Mapping[str, object]) -> None:
    """Refuse statements for items that no checklist here has, or that aren't text.

    Raises:
        ConfigError: A key is no number of an item, or its value isn't text.
    """
    numbers = [item.number for guideline in GUIDELINES for item in guideline.items]
    for number, text in statements.items():
        if number not in numbers:
            names = ", ".join(guideline.name for guideline in GUIDELINES)
            msg = f"statements: {number!r} is no item of {names}; expected one of {', '.join(numbers)}"
            raise ConfigError(msg)
        if not isinstance(text, str):
            msg = f"statements: {number} = {text!r}: expected text"
            raise ConfigError(msg)


def write_model_card(evidence: Evidence, statements: Mapping[str, str]) -> str:
    """Return the card as Markdown.

    Args:
        evidence: What was evaluated, and its figures.
        statements: The publisher's own words by number of an item, such as ``18a`` or ``STARD-AI 5``; they stand after
            what the program says, and where another checklist asks for the same.
    """
    lines = _label(evidence)
    for guideline in GUIDELINES:
        lines += ["", *_list_items(guideline, evidence, statements)]
    lines += ["", "What only the publisher can say comes from `jobs.evaluate --statements FILE.toml`."]
    return "\n".join(lines) + "\n"


def _list_items(guideline: Guideline, evidence: Evidence, statements: Mapping[str, str]) -> list[str]:
    """Return a checklist as a table, and how many of its items are open."""
    said = {item.number: fill_item(item, evidence, statements) or NOT_DONE for item in guideline.items}
    rows = [f"| {item.number} | {item.title} | {_escape(said[item.number])} |" for item in guideline.items]
    num_open = sum(text == NOT_DONE for text in said.values())
    closing = f"{num_open} of {len(rows)} parts are not done. Items, in our own words: {guideline.source}."
    return [
        f"## {guideline.name}",
        "",
        *([guideline.note, ""] if guideline.note else []),
        "| item | what it asks | here |",
        "|---|---|---|",
        *rows,
        "",
        closing,
    ]


def fill_item(item: Item, evidence: Evidence, statements: Mapping[str, str]) -> str:
    """Return what the program and the publisher say to an item; empty: nothing.

    Args:
        item: The item.
        evidence: What was evaluated, and its figures.
        statements: As for ``write_model_card``.
    """
    asked = [_BY_NUMBER[item.like], item] if item.like else [item]
    told = [one.fill(evidence) for one in asked if one.fill is not None]
    told += [statements[one.number] for one in asked if one.number in statements]
    return " ".join(text for text in told if text)


def _label(evidence: Evidence) -> list[str]:
    """Return the model-facts label (Sendak 2020, doi:10.1038/s41746-020-0253-3)."""
    subject, figures = evidence.subject, evidence.figures
    manifest, words = subject.manifest, Words.of(evidence.scored.about)
    sensitivity, specificity = figures.estimates.get("sensitivity"), figures.estimates.get("specificity")
    facts = {
        "Model": f"{manifest.experiment.model.network}, checkpoint {subject.predictor.checkpoint_id}",
        "Recalibrated" if manifest.parent else "Trained": manifest.created_at
        + (f", from checkpoint {manifest.parent}" if manifest.parent else ""),
        "What it is for": f"Ranking and referring images of skin lesions; refers for {manifest.referred_for}.",
        "How it works": "A neural network looks at one image"
        + (", age, sex and site." if manifest.experiment.model.uses_metadata else "."),
        "Evaluated on": f"{figures.num_images:,} images, {int(evidence.scored.is_melanoma.sum()):,} {words.many}",
        "Were they new to it?": describe_unseen(subject)[0],
        f"{words.many.capitalize()} referred": "not defined" if sensitivity is None else of_a_hundred(sensitivity),
        "Other images left": "not defined" if specificity is None else of_a_hundred(specificity),
        "Don't use it": "to rule out cancer; on images that aren't dermoscopic, if it learnt from dermoscopic ones; "
        "without a person who looks at what it refers and at what it can't assess.",
        "Notice": NOTICE,
    }
    warning = [f"**{SYNTHETIC_NOTICE}**", ""] if subject.dataset.info.is_synthetic or manifest.is_synthetic else []
    rows = [f"| {name} | {_escape(value)} |" for name, value in facts.items()]
    return ["# Model card", "", *warning, "| | |", "|---|---|", *rows]


def _escape(text: str) -> str:
    return html.escape(text, quote=False).replace("|", "\\|").replace("\n", " ")
