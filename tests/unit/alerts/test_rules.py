"""Which answers make which alerts."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from melanoma_ray.alerts.rules import Alert, Answer, make_alerts
from melanoma_ray.alerts.settings import AlertSettings, FileSink, Rule
from melanoma_ray.api import DECISIONS
from tests.unit.alerts.samples import NOW, ORIGIN, build_answer, build_settings

LOG = FileSink(name="log", kind="file", path="/none")


def alerts_of(rule: Rule, *answers: Answer, details: AlertSettings | None = None) -> list[Alert]:
    settings = details or build_settings(Path("/none"), LOG, rules=(rule,))
    return make_alerts(settings, answers, ORIGIN, now=NOW, fingerprint=lambda one: str(one.path))


def rule_with(**changes: object) -> Rule:
    return Rule(**{"name": "melanoma", "sinks": ("log",)} | changes)  # type: ignore[arg-type]


def answer(path: str, probability: float | None = 0.75, decision: str | None = "refer", **changes: object) -> Answer:
    return build_answer(path=path, melanoma_probability=probability, decision=decision, **changes)


def reasons(alerts: list[Alert]) -> list[str]:
    return [one.body["reason"] for one in alerts]


def test_what_a_person_must_look_at_makes_an_alert_and_what_is_routine_none() -> None:
    found = alerts_of(
        rule_with(per="image"),
        answer("a", 0.1, "routine"),
        answer("b", 0.1, "unassessable"),
        answer("c", None, None, error="truncated"),
        answer("d"),
    )
    assert reasons(found) == ["refer", "unassessable", "unreadable"]


def test_a_rule_may_look_at_some_answers_only() -> None:
    found = alerts_of(rule_with(when=("refer",), per="image"), answer("a", 0.1, "unassessable"), answer("b"))
    assert reasons(found) == ["refer"]


@pytest.mark.parametrize("probability", [math.nan, math.inf, -math.inf, -0.1, 1.1, None])
def test_an_answer_that_is_no_probability_meets_every_rule_and_is_json(probability: float | None) -> None:
    rule = rule_with(when=("unreadable",), min_age=99, unknown="differs", sites=("palms/soles",))
    (found,) = alerts_of(rule, answer("a", probability, "routine"))
    assert reasons([found]) == ["unusable"]
    assert found.body["melanoma_probability"] is None
    json.dumps(found.body, allow_nan=False)


def test_an_answer_without_a_decision_meets_every_rule() -> None:
    assert reasons(alerts_of(rule_with(), answer("a", 0.1, None), answer("b", 0.1, "maybe"))) == ["unusable"]


def test_an_image_that_was_read_and_has_no_answer_meets_every_rule() -> None:
    rule = rule_with(when=("refer",), min_age=99, unknown="differs")
    no_answer = answer("a", None, "unassessable", error="the network's answer isn't finite")
    assert reasons(alerts_of(rule, no_answer, answer("b", None, None, error="truncated"))) == ["unusable"]


@given(st.floats() | st.none(), st.sampled_from([*DECISIONS, None, "other"]), st.none() | st.text())
def test_only_a_routine_answer_in_0_to_1_makes_no_alert(
    probability: float | None, decision: str | None, error: str | None
) -> None:
    found = alerts_of(rule_with(), answer("a", probability, decision, error=error))
    is_fine = probability is not None and 0 <= probability <= 1 and decision == "routine" and error is None
    assert len(found) == (0 if is_fine else 1)


@pytest.mark.parametrize(
    ("condition", "age", "site", "is_met"),
    [
        ({"min_age": 60}, 61.0, None, True),
        ({"min_age": 60}, 59.9, None, False),
        ({"max_age": 18}, 18.0, None, True),
        ({"max_age": 18}, 19.0, None, False),
        ({"min_age": 60}, None, None, True),
        ({"min_age": 60}, math.nan, None, True),
        ({"min_age": 60, "unknown": "differs"}, None, None, False),
        ({"sites": ("torso", "palms/soles")}, None, "torso", True),
        ({"sites": ("palms/soles",)}, None, "torso", False),
        ({"sites": ("palms/soles",)}, None, None, True),
        ({"sites": ("palms/soles",), "unknown": "differs"}, None, None, False),
        ({"sites": ("torso",), "min_age": 60}, 61.0, "torso", True),
        ({"sites": ("torso",), "min_age": 60}, 30.0, "torso", False),
        ({"unknown": "differs"}, None, None, True),
    ],
)
def test_a_rule_may_be_for_some_ages_and_sites(
    condition: dict[str, object],
    age: float | None,
    site: str | None,
    is_met: bool,  # noqa: FBT001
) -> None:
    assert len(alerts_of(rule_with(**condition), answer("a", age=age, site=site))) == is_met


def test_the_highest_patients_of_a_batch_are_told_whatever_the_decision() -> None:
    answers = [
        answer("a1", 0.10, "routine", patient_id="A"),
        answer("a2", 0.15, "routine", patient_id="A"),
        answer("b", 0.12, "routine", patient_id="B"),
        answer("c", 0.05, "routine", patient_id="C"),
        answer("d", 0.11, "routine", patient_id=None),
    ]
    found = alerts_of(rule_with(when=(), top_patients=2), *answers)
    assert [(one.body["patient_rank"], one.body["melanoma_probability"]) for one in found] == [(1, 0.15), (2, 0.12)]
    assert reasons(found) == ["top_patient", "top_patient"]
    assert found[0].images == ("a2", "a1")


def test_a_single_request_has_no_ranks() -> None:
    settings = build_settings(Path("/none"), LOG, rules=(rule_with(top_patients=3),))
    origin = replace(ORIGIN, source="service")
    routine = answer("a", 0.1, "routine")
    assert make_alerts(settings, [routine], origin, now=NOW, fingerprint=str) == []


def test_patients_of_equal_probability_share_a_rank_and_none_is_left_out() -> None:
    answers = [answer(name, 0.1, "routine", patient_id=name) for name in "abc"]
    found = alerts_of(rule_with(when=(), top_patients=1), *answers)
    assert [one.body["patient_rank"] for one in found] == [1, 1, 1]


def test_a_patient_is_one_alert_about_the_gravest_of_their_images() -> None:
    found = alerts_of(
        rule_with(),
        answer("a", 0.3, patient_id="A"),
        answer("b", 0.9, patient_id="A"),
        answer("c", 0.5, patient_id="B"),
        answer("d", 0.4, patient_id=None),
        answer("e", 0.4, patient_id=None),
    )
    assert [one.images for one in found] == [("b", "a"), ("c",), ("d",), ("e",)]
    assert (found[0].body["num_images"], found[0].body["melanoma_probability"]) == (2, 0.9)


def test_the_same_images_make_the_same_alert_and_another_image_makes_another() -> None:
    first = alerts_of(rule_with(), answer("a", patient_id="A"), answer("b", patient_id="A"))
    again = alerts_of(rule_with(), answer("b", patient_id="A"), answer("a", patient_id="A"))
    more = alerts_of(rule_with(), *(answer(name, patient_id="A") for name in "abc"))
    changed = alerts_of(rule_with(), answer("a", 0.1, "unassessable", patient_id="A"), answer("b", patient_id="A"))
    assert first[0].alert_id == again[0].alert_id
    assert len({one[0].alert_id for one in (first, more, changed)}) == 3


def test_an_alert_says_of_persons_and_files_only_what_is_allowed() -> None:
    (found,) = alerts_of(rule_with(), build_answer())
    text = json.dumps(found.body)
    assert not [word for word in ("DOE", "MRN", "61.5", "female", "torso", ".jpg") if word in text]
    settings = build_settings(Path("/none"), LOG, rules=(rule_with(),), details=("patient_id", "age"))
    (found,) = alerts_of(rule_with(), build_answer(), details=settings)
    assert found.body["details"] == [{"patient_id": "MRN-4711", "age": 61.5}]
    (found,) = alerts_of(rule_with(), build_answer(age=math.nan), details=settings)
    assert found.body["details"] == [{"patient_id": "MRN-4711", "age": None}]


def test_the_reason_of_an_unreadable_image_stays_here_since_it_may_name_the_file() -> None:
    (found,) = alerts_of(rule_with(), answer("a", None, None, error="/images/DOE_JANE_1.jpg: truncated"))
    assert "DOE" not in json.dumps(found.body)
