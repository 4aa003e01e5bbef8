"""From answers to alerts: which answers meet which rule, and what the alert may say. Pure, without files or network."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Literal

from melanoma_ray.alerts.settings import AlertSettings, Rule
from melanoma_ray.api import DECISIONS, NOTICE

Reason = Literal["unusable", "refer", "unassessable", "unreadable", "top_patient"]
_REASONS: tuple[Reason, ...] = ("unusable", "refer", "unassessable", "unreadable", "top_patient")
"""From the gravest to the least grave, for an alert about several images."""
REASON_WORDS: dict[Reason, str] = {
    "unusable": "The answer isn't a probability: a person must look",
    "refer": "Refer to a dermatologist",
    "unassessable": "Can't be assessed: a person must look",
    "unreadable": "The image can't be read: a person must look",
    "top_patient": "Among the patients with the highest probability",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """What a model answered about one image, or why it couldn't."""

    image_id: str | None
    path: str | None
    """Path of the image; none: it came in a request."""
    melanoma_probability: float | None
    decision: str | None
    """Refer, routine or unassessable; none: the image couldn't be read."""
    error: str | None = None
    """Reason why there is no answer; none: there is one."""
    probabilities: Mapping[str, float] = field(default_factory=dict)
    """Probability of each diagnosis, as far as it is known."""
    patient_id: str | None = None
    lesion_id: str | None = None
    age: float | None = None
    """Age of the patient, years; none: unknown."""
    sex: str | None = None
    site: str | None = None
    """Site of the lesion, one of ``schema.SITES``; none: unknown."""

    @property
    def is_usable(self) -> bool:
        """Return whether an image that was read has a decision and a probability in [0, 1]."""
        value = self.melanoma_probability
        return self.decision in DECISIONS and value is not None and math.isfinite(value) and 0 <= value <= 1

    @property
    def reason(self) -> Reason | None:
        """Return what is to be told about it; none: it is routine."""
        if self.error is not None and self.decision is None:
            return "unreadable"
        if self.error is not None or not self.is_usable:
            return "unusable"
        return None if self.decision == "routine" else self.decision  # type: ignore[return-value]  # a decision is one

    @property
    def rank(self) -> float:
        """Return the probability as a number to sort by: what has none, or an unusable one, is above all others."""
        return self.melanoma_probability if self.is_usable and self.melanoma_probability is not None else 2.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Origin:
    """Where answers come from."""

    source: Literal["batch", "watch", "service"]
    checkpoint_id: str
    decision_threshold: float
    """Melanoma probability from which an image is referred."""
    referred_for: str
    """What the probability is of: melanoma or malignancy."""
    is_synthetic: bool
    worklist: str | None = None
    """Address of the page with the images."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AlertPart:
    """What an alert says of one image."""

    key: str
    """The same whenever the same image is to be told of for the same reason; a hash, since paths are in it."""
    image: str
    """Path or id of the image; it stays in the outbox."""
    said: Mapping[str, Any]
    """What the alert says if this is its gravest image."""
    details: Mapping[str, Any]
    """What it may say of a person and of files."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Alert:
    """One thing that a person must be told, about one image or several of one patient."""

    rule: str
    created_at: float
    """Seconds since 1970."""
    is_urgent: bool
    sinks: tuple[str, ...]
    acknowledge_by: float | None
    """Time by which somebody must acknowledge it, seconds since 1970; none: nobody must."""
    escalate_to: tuple[str, ...]
    patient_rank: int | None
    """Rank of the patient by probability, from 1; none: not ranked."""
    parts: tuple[AlertPart, ...]
    """Its images, one or more, the gravest first."""

    @property
    def alert_id(self) -> str:
        """Return what is the same whenever the same rule meets the same images: made twice, it is one alert."""
        keys = sorted(part.key for part in self.parts)
        return hashlib.sha256(json.dumps([self.rule, keys]).encode()).hexdigest()[:32]

    @property
    def images(self) -> tuple[str, ...]:
        """Return paths or ids of its images; they stay in the outbox."""
        return tuple(part.image for part in self.parts)

    @property
    def body(self) -> dict[str, Any]:
        """Return what sinks get, as JSON: nothing of a person but what ``details`` allows."""
        return {
            "alert_id": self.alert_id,
            "rule": self.rule,
            "created_at": as_iso(self.created_at),
            "acknowledge_by": None if self.acknowledge_by is None else as_iso(self.acknowledge_by),
            "is_urgent": self.is_urgent,
            **self.parts[0].said,
            "num_images": len(self.parts),
            "patient_rank": self.patient_rank,
            "details": [dict(part.details) for part in self.parts if part.details],
        }

    def without(self, told: Container[str]) -> Alert | None:
        """Return the alert about its images that nobody was told of; none: there are none left.

        Args:
            told: Keys of images that an earlier alert of the same rule was about.
        """
        fresh = tuple(part for part in self.parts if part.key not in told)
        return replace(self, parts=fresh) if fresh else None


def make_alerts(
    settings: AlertSettings,
    answers: Sequence[Answer],
    origin: Origin,
    *,
    now: float,
    fingerprint: Callable[[Answer], str],
) -> list[Alert]:
    """Return the alerts about some answers.

    Args:
        settings: Rules and details.
        answers: All answers of a batch, or the one of a request.
        origin: Where they come from.
        now: Time, seconds since 1970.
        fingerprint: Returns text that is the same for the same image in the same place, such as its path and content;
            asked only for images that meet a rule.
    """
    maker = _Maker(settings=settings, origin=origin, now=now, fingerprint=fingerprint)
    alerts: list[Alert] = []
    for rule in settings.rules:
        has_ranks = rule.top_patients and origin.source == "batch"  # a single image has no ranks
        ranks = _rank_patients(answers) if has_ranks else {}
        met = [(one, reason) for one in answers if (reason := _reason_to_tell(rule, one, ranks)) is not None]
        alerts += [maker.make(rule, one, ranks.get(_patient_of(one[0][0]))) for one in _group(rule, met)]
    return alerts


def _reason_to_tell(rule: Rule, answer: Answer, ranks: Mapping[str, int]) -> Reason | None:
    """Return the reason why an answer meets a rule; none: it doesn't."""
    reason = answer.reason
    if reason == "unusable":  # a number that isn't finite is never a safe answer, whatever the rule is for
        return reason
    if not _is_meant(rule, answer):
        return None
    if reason in rule.when:
        return reason
    rank = ranks.get(_patient_of(answer))
    return "top_patient" if rank is not None and rank <= rule.top_patients else None


def _is_meant(rule: Rule, answer: Answer) -> bool:
    """Return whether age and site are those that a rule is for."""
    known = rule.unknown == "matches"
    age = answer.age if answer.age is not None and math.isfinite(answer.age) else None
    is_of_age = known if age is None else (rule.min_age or 0) <= age <= (rule.max_age or math.inf)
    is_on_site = known if answer.site is None else answer.site in rule.sites
    has_ages = rule.min_age is not None or rule.max_age is not None
    return (is_of_age or not has_ages) and (is_on_site or not rule.sites)


def _patient_of(answer: Answer) -> str:
    """Return text by which the images of one patient are known; an image of an unknown patient stands alone."""
    return f"patient {answer.patient_id}" if answer.patient_id else f"image {answer.path or answer.image_id}"


def _rank_patients(answers: Iterable[Answer]) -> dict[str, int]:
    """Return each patient's rank by their highest probability, from 1; patients of equal probability share a rank."""
    highest: dict[str, float] = {}
    for one in answers:
        if one.error is None and one.is_usable:
            patient = _patient_of(one)
            highest[patient] = max(one.rank, highest.get(patient, 0.0))
    values = sorted(highest.values(), reverse=True)
    first = {value: rank for rank, value in reversed(list(enumerate(values, 1)))}
    return {patient: first[value] for patient, value in highest.items()}


def _group(rule: Rule, met: list[tuple[Answer, Reason]]) -> list[list[tuple[Answer, Reason]]]:
    """Return the answers of each alert, the gravest first in each and among them."""
    groups: dict[object, list[tuple[Answer, Reason]]] = {}
    for number, one in enumerate(met):
        groups.setdefault(_patient_of(one[0]) if rule.per == "patient" else number, []).append(one)
    ordered = [sorted(group, key=_gravity) for group in groups.values()]
    return sorted(ordered, key=lambda group: _gravity(group[0]))


def _gravity(one: tuple[Answer, Reason]) -> tuple[int, float]:
    return _REASONS.index(one[1]), -one[0].rank


@dataclass(frozen=True, kw_only=True, slots=True)
class _Maker:
    """What the alerts of one batch have in common."""

    settings: AlertSettings
    origin: Origin
    now: float
    fingerprint: Callable[[Answer], str]

    def make(self, rule: Rule, group: Sequence[tuple[Answer, Reason]], patient_rank: int | None) -> Alert:
        """Return the alert about some answers, the first of which is the gravest."""
        minutes = rule.acknowledge_within_minutes
        return Alert(
            rule=rule.name,
            created_at=self.now,
            is_urgent=rule.urgent,
            sinks=tuple(dict.fromkeys(rule.sinks)),
            acknowledge_by=None if minutes is None else self.now + 60 * minutes,
            escalate_to=tuple(dict.fromkeys(rule.escalate_to)),
            patient_rank=patient_rank,
            parts=tuple(
                AlertPart(
                    key=hashlib.sha256(f"{why} {self.fingerprint(one)}".encode(errors="surrogateescape")).hexdigest(),
                    image=str(one.path or one.image_id),
                    said=self._describe(one, why),
                    details=self._details(one),
                )
                for one, why in group
            ),
        )

    def _describe(self, answer: Answer, reason: Reason) -> dict[str, Any]:
        origin = self.origin
        return {
            "reason": reason,
            "reason_text": REASON_WORDS[reason],
            "melanoma_probability": answer.melanoma_probability if answer.is_usable else None,
            "probabilities": _finite(answer.probabilities) if answer.is_usable else {},
            "decision": answer.decision,
            "decision_threshold": origin.decision_threshold,
            "referred_for": origin.referred_for,
            "source": origin.source,
            "worklist": origin.worklist,
            "checkpoint_id": origin.checkpoint_id,
            "is_synthetic": origin.is_synthetic,
            "notice": NOTICE,
        }

    def _details(self, answer: Answer) -> dict[str, Any]:
        """Return what alerts may say of a person and of files; a number that isn't finite counts as unknown."""
        found = {name: getattr(answer, name) for name in self.settings.details}
        return {name: None if isinstance(one, float) and not math.isfinite(one) else one for name, one in found.items()}


def _finite(probabilities: Mapping[str, float]) -> dict[str, float]:
    return {name: value for name, value in probabilities.items() if math.isfinite(value)}


def as_iso(moment: float) -> str:
    """Return a moment as text in UTC, by ISO 8601, to the second.

    >>> as_iso(0.5)
    '1970-01-01T00:00:00+00:00'
    """
    return datetime.fromtimestamp(int(moment), UTC).isoformat()
