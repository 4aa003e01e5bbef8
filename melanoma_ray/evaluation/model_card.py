"""model_card.md: a label of facts about the model, then every item of TRIPOD+AI, filled or named as not done."""

from __future__ import annotations

import html
from collections.abc import Mapping

from melanoma_ray.api import NOTICE, SYNTHETIC_NOTICE
from melanoma_ray.errors import ConfigError
from melanoma_ray.evaluation.evidence import Evidence
from melanoma_ray.evaluation.tripod import ITEMS
from melanoma_ray.evaluation.wording import Words, describe_unseen, of_a_hundred

NOT_DONE = "Not done."


def check_statements(statements: Mapping[str, object]) -> None:
    """Refuse statements for items that TRIPOD+AI doesn't have, or that aren't text.

    Raises:
        ConfigError: A key is no number of an item, or its value isn't text.
    """
    numbers = {item.number for item in ITEMS}
    for number, text in statements.items():
        if number not in numbers:
            expected = ", ".join(item.number for item in ITEMS)
            msg = f"statements: {number!r} is no item of TRIPOD+AI; expected one of {expected}"
            raise ConfigError(msg)
        if not isinstance(text, str):
            msg = f"statements: {number} = {text!r}: expected text"
            raise ConfigError(msg)


def write_model_card(evidence: Evidence, statements: Mapping[str, str]) -> str:
    """Return the card as Markdown.

    Args:
        evidence: What was evaluated, and its figures.
        statements: The publisher's own words by number of an item, such as ``18a``; they stand after what the program
            says.
    """
    lines = [*_label(evidence), "", "## TRIPOD+AI", "", "| item | what it asks | here |", "|---|---|---|"]
    for item in ITEMS:
        said = [item.fill(evidence)] if item.fill else []
        said += [statements[item.number]] if item.number in statements else []
        text = " ".join(said) or NOT_DONE
        lines.append(f"| {item.number} | {item.title} | {_escape(text)} |")
    num_open = sum(line.endswith(f"| {NOT_DONE} |") for line in lines)
    lines += [
        "",
        f"{num_open} of {len(ITEMS)} parts are not done. Items: Collins 2024, doi:10.1136/bmj-2023-078378. What only "
        "the publisher can say comes from `jobs.evaluate --statements FILE.toml`.",
    ]
    return "\n".join(lines) + "\n"


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
