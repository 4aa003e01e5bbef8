"""The sentences and words that every page shares, so that no two pages say it differently."""

from __future__ import annotations

from melanoma_ray.api import DECISION_WORDS, Decision


def describe_decision(decision: Decision) -> str:
    """Return the decision in words."""
    return DECISION_WORDS[decision]
