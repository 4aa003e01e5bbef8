"""Alerts as FHIR R4 resources, tagged as made by AI after HL7's guide AI Transparency on FHIR (1.0.0-ballot).

Of each alert: a Device (the checkpoint), an Observation (the probability), a DiagnosticReport, a Communication (the
alert itself) and a Provenance, in one transaction. What has an identifier is created only if the server doesn't have
it; a Provenance can have none, so it is put under an id of ours. The same message sent twice thus makes nothing twice.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from melanoma_ray.api import DECISION_WORDS, NOTICE, SYNTHETIC_NOTICE, describe_share

Resource = dict[str, Any]
Alert = Mapping[str, Any]
"""Body of an alert, with ``is_escalation``."""

_ALERT_SYSTEM = "urn:melanoma-ray:alert"
_CHECKPOINT_SYSTEM = "urn:melanoma-ray:checkpoint"
_CODE_SYSTEM = "urn:melanoma-ray:observation"
_TERMINOLOGY = "http://terminology.hl7.org/CodeSystem/"
_AI_TAG = {
    "system": _TERMINOLOGY + "v3-ObservationValue",
    "code": "AIAST",
    "display": "Artificial Intelligence asserted",
}
"""Security label that says a resource was asserted by AI (the guide's value set ProvenanceVS)."""
_AI_DEVICE = {
    "system": "http://hl7.org/fhir/uv/aitransparency/CodeSystem/AIdeviceTypeCS",
    "code": "Artificial-Intelligence",
}
"""Type of a Device that is an AI (the guide's value set AIdeviceTypeVS)."""
_ABSENT = {"unusable": "not-a-number", "unreadable": "error"}
"""Why there is no probability, by the alert's reason (data-absent-reason)."""


def build_bundle(alerts: Sequence[Alert], patient_system: str | None) -> Resource:
    """Return one transaction with the resources of some alerts.

    Args:
        alerts: The alerts.
        patient_system: Namespace of patient identifiers, a URI; none: nothing of the patient is said.
    """
    entries: dict[str, Resource] = {}
    for alert in alerts:
        for entry in _entries(alert, patient_system):
            entries.setdefault(entry["fullUrl"], entry)  # alerts of one checkpoint have one Device
    return {"resourceType": "Bundle", "type": "transaction", "entry": list(entries.values())}


def _entries(alert: Alert, patient_system: str | None) -> list[Resource]:
    resources = [
        build_device(alert),
        build_observation(alert, patient_system),
        build_report(alert, patient_system),
        build_communication(alert, patient_system),
    ]
    return [*(_create_once(one, alert) for one in resources), _put_provenance(build_provenance(alert), alert)]


def build_device(alert: Alert) -> Resource:
    """Return the checkpoint that answered."""
    checkpoint_id = alert["checkpoint_id"]
    return {
        "resourceType": "Device",
        "identifier": [{"system": _CHECKPOINT_SYSTEM, "value": checkpoint_id}],
        "status": "active",
        "deviceName": [{"name": "melanoma_ray", "type": "model-name"}],
        "type": {"coding": [_AI_DEVICE], "text": "Classifier of dermoscopic images"},
        "version": [{"value": checkpoint_id}],
        "note": _notes(alert),
    }


def build_observation(alert: Alert, patient_system: str | None) -> Resource:
    """Return the probability beside its threshold, or why there is none."""
    referred_for, probability = alert["referred_for"], alert["melanoma_probability"]
    value: Resource = {"valueQuantity": _ratio(probability)}
    if probability is None:
        value = {"dataAbsentReason": _coded("data-absent-reason", _ABSENT.get(alert["reason"], "unknown"))}
    return {
        **_frame("Observation", alert, patient_system),
        "status": "preliminary",  # no person has verified it
        "category": [_coded("observation-category", "imaging")],
        "code": {
            "coding": [{"system": _CODE_SYSTEM, "code": f"{referred_for}-probability"}],
            "text": f"Probability of {referred_for} in a dermoscopic image, by AI",
        },
        "effectiveDateTime": alert["created_at"],
        "issued": alert["created_at"],
        **value,
        "interpretation": [{"text": describe_decision(alert)}],
        "device": {"reference": _url("Device", alert)},
        "component": [
            {
                "code": {"coding": [{"system": _CODE_SYSTEM, "code": "decision-threshold"}]},
                "valueQuantity": _ratio(alert["decision_threshold"]),
            },
            {"code": {"coding": [{"system": _CODE_SYSTEM, "code": "images"}]}, "valueInteger": alert["num_images"]},
            *(
                {"code": {"text": f"Probability of {name}"}, "valueQuantity": _ratio(value)}
                for name, value in alert["probabilities"].items()
            ),
        ],
        "note": _notes(alert),
    }


def build_report(alert: Alert, patient_system: str | None) -> Resource:
    """Return the report, whose only result is the Observation."""
    return {
        **_frame("DiagnosticReport", alert, patient_system),
        "status": "preliminary",
        "category": [_coded("v2-0074", "IMG")],
        "code": {"text": "Triage of dermoscopic images by AI"},
        "effectiveDateTime": alert["created_at"],
        "issued": alert["created_at"],
        "result": [{"reference": _url("Observation", alert)}],
        "conclusion": f"{describe_decision(alert)}. {' '.join(note['text'] for note in _notes(alert))}",
    }


def build_communication(alert: Alert, patient_system: str | None) -> Resource:
    """Return the alert itself."""
    late = "Not acknowledged in time: " if alert["is_escalation"] else ""
    return {
        **_frame("Communication", alert, patient_system),
        "status": "completed",
        "category": [_coded("communication-category", "alert")],
        "priority": "urgent" if alert["is_urgent"] or alert["is_escalation"] else "routine",
        "about": [{"reference": _url("DiagnosticReport", alert)}],
        "sent": alert["created_at"],
        "sender": {"reference": _url("Device", alert)},
        "payload": [{"contentString": late + alert["reason_text"]}],
        "note": _notes(alert),
    }


def build_provenance(alert: Alert) -> Resource:
    """Return who made the Observation and the report: the Device."""
    return {
        "resourceType": "Provenance",
        "id": f"melanoma-ray-{alert['alert_id']}",
        "target": [{"reference": _url(kind, alert)} for kind in ("Observation", "DiagnosticReport")],
        "recorded": alert["created_at"],
        "activity": {"coding": [_AI_TAG]},
        "agent": [
            {"type": _coded("provenance-participant-type", "author"), "who": {"reference": _url("Device", alert)}}
        ],
    }


def describe_decision(alert: Alert) -> str:
    """Return an alert's reason and figures in words."""
    words = DECISION_WORDS.get(alert["decision"], alert["reason_text"])
    if alert["melanoma_probability"] is None:
        return str(words)
    share, threshold = describe_share(alert["melanoma_probability"]), describe_share(alert["decision_threshold"])
    return f"{words}: probability of {alert['referred_for']} {share}, threshold {threshold}"


def _frame(kind: str, alert: Alert, patient_system: str | None) -> Resource:
    """Return what Observation, DiagnosticReport and Communication have in common."""
    value = alert["alert_id"]
    if kind == "Communication" and alert["is_escalation"]:
        value += "-escalation"  # a second communication about the same alert
    patient_id = next((one["patient_id"] for one in alert["details"] if one.get("patient_id")), None)
    subject = {"subject": {"identifier": {"system": patient_system, "value": patient_id}}}
    return {
        "resourceType": kind,
        "meta": {"security": [_AI_TAG]},
        "identifier": [{"system": _ALERT_SYSTEM, "value": value}],
        **(subject if patient_system and patient_id else {}),
    }


def _notes(alert: Alert) -> list[Resource]:
    texts = [NOTICE, *([SYNTHETIC_NOTICE] if alert["is_synthetic"] else [])]
    return [{"text": text} for text in texts]


def _ratio(value: float) -> Resource:
    return {"value": value, "unit": "1", "system": "http://unitsofmeasure.org", "code": "1"}


def _coded(system: str, code: str) -> Resource:
    return {"coding": [{"system": _TERMINOLOGY + system, "code": code}]}


def _url(kind: str, alert: Alert) -> str:
    """Return the address of a resource inside the transaction, which the server replaces by its own."""
    name = alert["checkpoint_id"] if kind == "Device" else alert["alert_id"]
    is_second = kind == "Communication" and alert["is_escalation"]
    return uuid.uuid5(uuid.NAMESPACE_URL, f"{_ALERT_SYSTEM}:{kind}:{name}:{is_second:d}").urn


def _create_once(resource: Resource, alert: Alert) -> Resource:
    kind, identifier = resource["resourceType"], resource["identifier"][0]
    condition = f"identifier={identifier['system']}|{identifier['value']}"
    request = {"method": "POST", "url": kind, "ifNoneExist": condition}
    return {"fullUrl": _url(kind, alert), "resource": resource, "request": request}


def _put_provenance(resource: Resource, alert: Alert) -> Resource:
    request = {"method": "PUT", "url": f"Provenance/{resource['id']}"}
    return {"fullUrl": _url("Provenance", alert), "resource": resource, "request": request}
