"""Reference diagnoses from FHIR: which are read, for which images, and what is said of the others."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from fhir.resources.R4B.bundle import Bundle

from melanoma_ray.diagnoses import load_taxonomy
from melanoma_ray.errors import DataError
from melanoma_ray.sources.fhir_tables import parse_fhir
from melanoma_ray.sources.layouts import read_collection

Resource = dict[str, Any]
MEDIA: Resource = {
    "resourceType": "Media",
    "id": "m1",
    "status": "completed",
    "createdDateTime": "2024-03-01",
    "subject": {"reference": "Patient/p1"},
    "bodySite": {"text": "back"},
    "content": {"url": "https://pacs.example/wado/0815.jpg?frame=1"},
}
PATIENT: Resource = {
    "resourceType": "Patient",
    "id": "p1",
    "identifier": [{"value": "HOSP-7"}],
    "gender": "female",
    "birthDate": "1960-03-02",
}
REPORT: Resource = {
    "resourceType": "DiagnosticReport",
    "id": "r1",
    "status": "final",
    "code": {"text": "Histology"},
    "specimen": [{"reference": "Specimen/s9"}],
    "conclusionCode": [
        {"coding": [{"system": "http://snomed.info/sct", "code": "93655004", "display": "Malignant melanoma of skin"}]},
        {"text": "melanoma"},
    ],
    "media": [{"link": {"reference": "Media/m1"}}],
}
AI_TAG = {"security": [{"code": "AIAST"}]}


def bundle(*resources: Resource) -> str:
    entries = [{"fullUrl": f"urn:uuid:{number}", "resource": one} for number, one in enumerate(resources)]
    document = {"resourceType": "Bundle", "type": "collection", "entry": entries}
    Bundle.model_validate(document)  # what the tests read is FHIR R4
    return json.dumps(document)


def rows(*resources: Resource) -> list[dict[str, Any]]:
    table, _ = parse_fhir(bundle(*resources), load_taxonomy())
    return [{str(name): value for name, value in row.items()} for row in table.to_dict("records")]


def test_a_report_tells_the_diagnosis_of_its_picture_and_who_it_is_of() -> None:
    assert rows(MEDIA, PATIENT, REPORT) == [
        {
            "image_id": "0815.jpg",
            "file": "0815.jpg",
            "name": None,
            "diagnosis": "melanoma",
            "patient_id": "HOSP-7",
            "lesion_id": "s9",
            "age": "63",  # a day before the birthday
            "sex": "female",
            "site": "back",
        }
    ]


def test_a_condition_s_picture_is_found_through_the_observation_that_is_its_evidence() -> None:
    observation = {
        "resourceType": "Observation",
        "id": "o1",
        "status": "final",
        "code": {"text": "Dermoscopy"},
        "derivedFrom": [{"reference": "https://fhir.example/r4/Media/m1"}],
    }
    condition = {
        "resourceType": "Condition",
        "code": {"text": "Naevus"},
        "subject": {"reference": "Patient/p1"},
        "evidence": [{"detail": [{"reference": "Observation/o1"}]}],
    }
    (row,) = rows(MEDIA, PATIENT, observation, condition)
    assert (row["image_id"], row["diagnosis"]) == ("0815.jpg", "Naevus")


def test_a_picture_may_name_the_statement_and_an_identifier_is_its_name() -> None:
    observation = {
        "resourceType": "Observation",
        "id": "o1",
        "status": "amended",
        "code": {"text": "Diagnosis"},
        "valueCodeableConcept": {"text": "nevus"},
    }
    media = MEDIA | {"identifier": [{"value": "ISIC_1"}], "partOf": [{"reference": "Observation/o1"}]}
    (row,) = rows(observation, media)
    assert (row["image_id"], row["file"], row["diagnosis"]) == ("ISIC_1", "0815.jpg", "nevus")


def test_a_picture_that_is_not_in_the_bundle_is_known_by_its_address() -> None:
    (row,) = rows(REPORT | {"media": [{"link": {"reference": "Media/ISIC_0000001"}}]})
    assert (row["image_id"], row["sex"], row["age"]) == ("ISIC_0000001", None, None)


def test_what_is_not_final_taken_back_of_no_image_or_an_ai_s_own_is_counted() -> None:
    condition = {
        "resourceType": "Condition",
        "code": {"text": "melanoma"},
        "subject": {"reference": "Patient/p1"},
        "verificationStatus": {"coding": [{"code": "refuted"}]},
    }
    left = [
        REPORT | {"status": "preliminary"},
        REPORT | {"meta": AI_TAG},
        condition,
        {name: value for name, value in REPORT.items() if name != "media"},
    ]
    table, notes = parse_fhir(bundle(MEDIA, REPORT, *left), load_taxonomy())
    assert len(table) == 1
    assert notes == [
        "statements that are not read: not final: preliminary (1); asserted by an AI (1); not final: refuted (1); "
        "of no image (1)"
    ]


def test_a_bulk_export_has_a_resource_a_line() -> None:
    text = "\n".join(json.dumps(one) for one in (MEDIA, PATIENT, REPORT))
    assert list(parse_fhir(text, load_taxonomy())[0]["diagnosis"]) == ["melanoma"]


def test_a_list_of_records_is_a_table() -> None:
    text = '[{"image": "a.jpg", "dx": "nv", "age": 40}, {"image": "b.jpg", "dx": null}]'
    table, _ = parse_fhir(text, load_taxonomy())
    first, second = table.to_dict("records")
    assert (first, second) == ({"image": "a.jpg", "dx": "nv", "age": "40"}, {"image": "b.jpg", "dx": "", "age": ""})


def test_a_collection_gets_its_diagnoses_from_a_bundle(tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "0815.jpg").touch()
    (tmp_path / "pictures" / "0816.jpg").touch()
    (tmp_path / "cases.json").write_text(bundle(MEDIA, PATIENT, REPORT))
    found = read_collection(str(tmp_path / "pictures"), str(tmp_path / "cases.json"))
    (row,) = found.table.to_pylist()
    told = (row["image_id"], row["diagnosis"], row["patient_id"], row["age"], row["sex"])
    assert told == ("0815", "melanoma", "HOSP-7", 63, "female")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "neither FHIR nor a list of records"),
        ('"melanoma"', "expected a FHIR Bundle, or a list of objects"),
        ('{"resourceType": "Bundle", "type": "collection"}', r"no final diagnosis of an image in it; .* Bundle \(1\)"),
        (bundle(MEDIA, REPORT | {"status": "preliminary"}), r"not read were not final: preliminary \(1\)"),
    ],
)
def test_a_file_without_a_diagnosis_is_one_line(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "a.jpg").touch()
    (tmp_path / "cases.json").write_text(text)
    with pytest.raises(DataError, match=message):
        read_collection(str(tmp_path), str(tmp_path / "cases.json"))
