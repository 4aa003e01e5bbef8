"""The sentences and words that every page shares, so that no two pages say it differently."""

from __future__ import annotations

from melanoma_ray.api import DECISION_WORDS, Decision


def describe_decision(decision: Decision) -> str:
    """Return the decision in words for a person."""
    return DECISION_WORDS[decision]


def describe_share(value: float) -> str:
    """Return a share as ``63.2 %``; only exactly none and all are 0 and 100, near ones say so."""
    if 0 < value < 0.001:
        return "< 0.1 %"
    if 0.999 < value < 1:
        return "> 99.9 %"
    return f"{100 * value:.1f} %"
