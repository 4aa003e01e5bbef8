"""The items of STARD-AI (Sounderajah 2025, doi:10.1038/s41591-025-03953-8) for a model as a diagnostic test.

Most of them ask what an item of TRIPOD+AI asks for too; these have its text.
"""

from __future__ import annotations

from collections import Counter

from melanoma_ray.documents.evidence import Evidence
from melanoma_ray.documents.guidelines.items import Guideline, Item
from melanoma_ray.evaluation.wording import Words, short


def describe_software(evidence: Evidence) -> str:
    """Return the versions of the libraries that the model was made with."""
    versions = evidence.subject.manifest.versions
    listed = ", ".join(f"{name} {version}" for name, version in versions.items())
    return f"Made with {listed}."


def _devices(evidence: Evidence) -> str:
    return f"{describe_software(evidence)} Which devices took the images isn't known to the program."


def _reference_categories(evidence: Evidence) -> str:
    scored = evidence.scored
    words = Words.of(scored.about)
    return f"Counted as {words.many}: {', '.join(scored.referred)}; every other diagnosis isn't."


def _blinding(evidence: Evidence) -> str:
    uses = evidence.subject.manifest.experiment.model.uses_metadata
    given = "the pixels, age, sex and site" if uses else "the pixels alone"
    return f"The model was given {given}; the true diagnosis was joined to its answers afterwards."


def _indeterminate(evidence: Evidence) -> str:
    referral, figures = evidence.figures.referral, evidence.figures
    return (
        f"Unassessable images ({short(referral.unassessable)}) count as not referred in the sensitivity and "
        "specificity on top; both are given as if they were referred, and without them. "
        f"{figures.num_unanswered:,} images without an answer count as wrong."
    )


def _variability(evidence: Evidence) -> str:
    names = [one.title.lower() for one in evidence.subgroups]
    done = [f"subgroups ({', '.join(names)})"] if names else []
    done += ["agreement of views and networks"] if evidence.robustness is not None else []
    done += ["changed images"] if evidence.shortcuts is not None else []
    return f"{', '.join(done).capitalize()}. The program doesn't know whether they were planned." if done else ""


def _baseline(evidence: Evidence) -> str:
    counts = evidence.subject.dataset.info.count_by_diagnosis()
    rows = "; ".join(f"{name} {'/'.join(f'{number:,}' for number in by.values())}" for name, by in counts.items())
    return f"Images in train/val/test by diagnosis: {rows}. Subgroups of the evaluated ones are in report.html."


def _alternatives(evidence: Evidence) -> str:
    scored = evidence.scored
    counts = Counter(scored.truth[~scored.is_melanoma].tolist()).most_common()
    return ", ".join(f"{name} {number:,}" for name, number in counts)


def _cross_tabulation(evidence: Evidence) -> str:
    by = evidence.figures.referral.by_decision
    return "; ".join(
        f"{decision}: {', '.join(f'{name} {number:,}' for name, number in counts.items())}"
        for decision, counts in by.items()
        if counts
    )


def _audit(evidence: Evidence) -> str:
    return (
        f"predictions.parquet has the answer for each image, by checkpoint {evidence.subject.predictor.checkpoint_id}; "
        "report.json has the figures."
    )


STARD_AI = Guideline(
    name="STARD-AI",
    source="Sounderajah 2025, doi:10.1038/s41591-025-03953-8",
    items=(
        Item("STARD-AI 1", "Title: AI, diagnostic accuracy, and a measure of it", like="1"),
        Item("STARD-AI 2", "Abstract", like="2"),
        Item("STARD-AI 3", "Background, intended use, place in the workflow", like="3a"),
        Item("STARD-AI 4", "Objectives", like="4"),
        Item("STARD-AI 5", "Prospective or retrospective"),
        Item("STARD-AI 6", "Ethical approval", like="17"),
        Item("STARD-AI 7", "Eligibility of participants and of data", like="6b"),
        Item("STARD-AI 8", "How participants were identified"),
        Item("STARD-AI 9", "Setting, place and dates", like="6a"),
        Item("STARD-AI 10", "Consecutive, random or convenience series"),
        Item("STARD-AI 11", "Source of the data, and what they were collected for", like="5a"),
        Item("STARD-AI 12", "Who annotated the data, and how", like="8b"),
        Item("STARD-AI 13", "Devices and software", _devices),
        Item("STARD-AI 14", "Acquisition and preprocessing", like="7"),
        Item("STARD-AI 15a", "The model, to be replicated", like="22"),
        Item("STARD-AI 15b", "How the model was developed", like="12c"),
        Item("STARD-AI 15c", "Thresholds of the model, fixed before or not", like="15"),
        Item("STARD-AI 15d", "Users and the expertise they need", like="27b"),
        Item("STARD-AI 16a", "Reference standard, to be replicated", like="8a"),
        Item("STARD-AI 16b", "Why this reference standard"),
        Item("STARD-AI 16c", "Categories of the reference standard", _reference_categories),
        Item("STARD-AI 17a", "What the model was told", _blinding),
        Item("STARD-AI 17b", "What those who set the reference were told", like="8c"),
        Item("STARD-AI 18", "Statistical methods", like="12e"),
        Item("STARD-AI 19", "Indeterminate results", _indeterminate),
        Item("STARD-AI 20", "Missing data", like="11"),
        Item("STARD-AI 21", "Analyses of variability", _variability),
        Item("STARD-AI 22", "Sample size", like="10"),
        Item("STARD-AI 23", "Analysis of errors, bias and fairness", like="14"),
        Item("STARD-AI 24", "Flow of participants", like="20a"),
        Item("STARD-AI 25", "Characteristics of training, validation and test sets", _baseline),
        Item("STARD-AI 26a", "Severity of disease"),
        Item("STARD-AI 26b", "Other diagnoses among those without it", _alternatives),
        Item("STARD-AI 27", "Time and treatment between test and reference"),
        Item("STARD-AI 28", "Whether the data are like the intended population"),
        Item("STARD-AI 29", "How external data differ from those of development", like="16"),
        Item("STARD-AI 30", "The model's results by those of the reference", _cross_tabulation),
        Item("STARD-AI 31", "Accuracy with its precision", like="23a"),
        Item("STARD-AI 32", "Adverse events"),
        Item("STARD-AI 33", "Limitations", like="26"),
        Item("STARD-AI 34", "Implications for practice", like="25"),
        Item("STARD-AI 35", "Ethics and fairness of its use"),
        Item("STARD-AI 36", "Registration", like="18d"),
        Item("STARD-AI 37", "Protocol", like="18c"),
        Item("STARD-AI 38", "Funding", like="18a"),
        Item("STARD-AI 39", "Commercial interests", like="18b"),
        Item("STARD-AI 40a", "Availability of data and code", like="18e"),
        Item("STARD-AI 40b", "Whether outputs are kept and can be audited", _audit),
    ),
)
"""All 40 items with their parts."""
