"""Reference diagnoses from FHIR (R4 to R5): what people have said of images, as a table.

A statement is a Condition, a DiagnosticReport or an Observation with a coded diagnosis. Its images are what it refers
to or what refers to it (Media, DocumentReference, ImagingStudy), by way of other statements, too. What isn't final, was
taken back, or was asserted by an AI is no reference diagnosis: it is counted and not read.
"""

from __future__ import annotations

import json
from collections import Counter, deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import pandas as pd

from melanoma_ray.diagnoses import Taxonomy
from melanoma_ray.wording import list_kinds

Resource = Mapping[str, Any]

FHIR_ENDINGS = (".json", ".ndjson")
_STATEMENTS = frozenset({"Condition", "DiagnosticReport", "Observation"})
_IMAGES = frozenset({"Media", "DocumentReference", "ImagingStudy"})
_FINAL = frozenset({"final", "amended", "corrected", "appended"})
"""Values of ``status`` under which an Observation or a DiagnosticReport holds."""
_UNCERTAIN = frozenset({"unconfirmed", "provisional", "differential", "refuted", "entered-in-error"})
"""Values of a Condition's ``verificationStatus`` under which it doesn't hold."""
_BY_AI = "AIAST"
"""Security label of what an AI asserted (HL7 v3-ObservationValue)."""
_LINKS = (
    *("media", "imagingStudy", "study", "result", "derivedFrom", "focus", "hasMember", "evidence"),
    *("partOf", "context"),
)
"""Elements that lead from a statement to images, or from an image to a statement."""
_COLUMNS = ("image_id", "file", "name", "diagnosis", "patient_id", "lesion_id", "age", "sex", "site")
_DAYS_A_YEAR = 365.25


def parse_fhir(text: str, taxonomy: Taxonomy) -> tuple[pd.DataFrame, list[str]]:
    """Return a row for each image and diagnosis that was said of it, and what wasn't read.

    Args:
        text: A Bundle, a resource, a list of resources, or a resource a line.
        taxonomy: Says which of a concept's words is a diagnosis.

    Raises:
        ValueError: It isn't JSON, or says no diagnosis of any image.
    """
    found = _parse_resources(text)
    if found and not any("resourceType" in one for one in found):  # plain records, such as a data frame's
        records = [{str(name): "" if value is None else str(value) for name, value in one.items()} for one in found]
        return pd.DataFrame(records, dtype=object).fillna(""), []
    store = _Store.build(found)
    left: Counter[str] = Counter()
    rows = [row for statement in store.statements() for row in _rows_of(statement, store, taxonomy, left)]
    if not rows:
        kinds = Counter(str(one.get("resourceType")) for one in store.resources)
        left_out = f"; not read were {list_kinds(left)}" if left else ""
        msg = f"no final diagnosis of an image in it; found were {list_kinds(kinds) or 'no resources'}{left_out}"
        raise ValueError(msg)
    notes = [f"statements that are not read: {list_kinds(left)}"] if left else []
    return pd.DataFrame(rows, columns=list(_COLUMNS), dtype=object).drop_duplicates(ignore_index=True), notes


def _parse_resources(text: str) -> list[Resource]:
    """Return the objects of a document, or of its lines."""
    try:
        document = json.loads(text)
    except json.JSONDecodeError:
        document = [json.loads(line) for line in text.splitlines() if line.strip()]
    found = document if isinstance(document, list) else [document]
    if not all(isinstance(one, dict) for one in found):
        msg = "expected a FHIR Bundle, or a list of objects"
        raise ValueError(msg)
    return found


@dataclass(frozen=True, kw_only=True, slots=True)
class _Store:
    """All resources, and where each can be found."""

    resources: list[Resource] = field(default_factory=list)
    addresses: dict[str, Resource] = field(default_factory=dict)
    """By full address, and by kind and id, such as ``Patient/7``."""
    images_that_name: dict[int, list[Resource]] = field(default_factory=dict)
    """By ``id()`` of a statement: the images that refer to it."""

    @classmethod
    def build(cls, found: list[Resource]) -> _Store:
        """Return the resources of all bundles."""
        store = cls()
        waiting: deque[tuple[str | None, Resource]] = deque((None, one) for one in found)
        while waiting:
            address, resource = waiting.popleft()
            for entry in _list(resource.get("entry")) if resource.get("resourceType") == "Bundle" else ():
                waiting.extend((entry.get("fullUrl"), one) for one in _list(entry.get("resource")))
            store.resources.append(resource)
            names = [address, f"{resource.get('resourceType')}/{resource.get('id')}" if "id" in resource else None]
            store.addresses.update({name: resource for name in names if name})
        for image in store.resources:
            for named in map(store.find, _references(image) if _kind(image) in _IMAGES else ()):
                store.images_that_name.setdefault(id(named), []).append(image)
        return store

    def statements(self) -> Iterator[Resource]:
        """Yield what may say a diagnosis."""
        yield from (one for one in self.resources if one.get("resourceType") in _STATEMENTS and _concepts(one))

    def find(self, reference: Resource) -> Resource | None:
        """Return what is referred to; none: it isn't here."""
        address = str(reference.get("reference", ""))
        return self.addresses.get(address) or self.addresses.get("/".join(address.split("/")[-2:]))

    def images_of(self, statement: Resource) -> list[Resource]:
        """Return a statement's images, or the references to those that aren't here."""
        images: dict[int, Resource] = {}
        seen, waiting = {id(statement)}, [statement]
        while waiting:
            one = waiting.pop()
            linked = [self.find(reference) or reference for reference in _references(one)]
            for other in linked + self.images_that_name.get(id(one), []):
                if _kind(other) in _IMAGES:
                    images[id(other)] = other
                elif _kind(other) in _STATEMENTS and id(other) not in seen:
                    seen.add(id(other))
                    waiting.append(other)
        return list(images.values())


def _rows_of(
    statement: Resource, store: _Store, taxonomy: Taxonomy, left: Counter[str]
) -> Iterator[dict[str, str | None]]:
    """Yield the rows of one statement; why there are none goes to ``left``."""
    if _BY_AI in {label.get("code") for label in _list(statement.get("meta", {}).get("security"))}:
        left["asserted by an AI"] += 1
        return
    if (state := _state(statement)) is not None:
        left[f"not final: {state}"] += 1
        return
    images = store.images_of(statement)
    if not images:
        left["of no image"] += 1
    words = [word for concept in _concepts(statement) for word in _words(concept)]
    known = dict.fromkeys(word for word in words if taxonomy.knows(word))
    for image in images:
        of_image = _names(image) | _describe(statement, image, store)
        yield from (of_image | {"diagnosis": word} for word in known or words[:1])


def _state(statement: Resource) -> str | None:
    """Return why a statement doesn't hold; none: it does."""
    if statement["resourceType"] == "Condition":
        codes = [str(one.get("code")) for one in _list(statement.get("verificationStatus", {}).get("coding"))]
        return next((code for code in codes if code in _UNCERTAIN), None)
    status = str(statement.get("status"))
    return None if status in _FINAL else status


def _concepts(statement: Resource) -> list[Resource]:
    """Return the coded diagnoses of a statement."""
    element = {"Condition": "code", "DiagnosticReport": "conclusionCode", "Observation": "valueCodeableConcept"}
    found = _list(statement.get(element[statement["resourceType"]]))
    return [one.get("concept", one) for one in found]  # R5 has some concepts one level deeper


def _words(concept: Resource) -> list[str]:
    codings = _list(concept.get("coding"))
    words = [*(one.get("display") for one in codings), concept.get("text"), *(one.get("code") for one in codings)]
    return [str(word) for word in words if word]


def _names(image: Resource) -> dict[str, str | None]:
    """Return the names that a file may have: an identifier, the name of its file, and a title."""
    contents = [one.get("attachment", one) for one in _list(image.get("content"))]
    identifiers = [one.get("value") for one in _list(image.get("identifier"))]
    urls = [str(one["url"]).split("?")[0].rsplit("/", 1)[-1] for one in contents if one.get("url")]
    titles = [one["title"] for one in contents if one.get("title")]
    address = str(image.get("reference") or image.get("id") or "")
    first = next((str(one) for one in identifiers if one), None)
    return {
        "image_id": first or next(iter(urls), None) or next(iter(titles), None) or address.rsplit("/", 1)[-1] or None,
        "file": next(iter(urls), None),
        "name": next(iter(titles), None) or image.get("display"),
    }


def _describe(statement: Resource, image: Resource, store: _Store) -> dict[str, str | None]:
    """Return what is known of the patient and the lesion."""
    subject = image.get("subject") or statement.get("subject") or {}
    patient = store.find(subject) or {}
    sites = [*_list(image.get("bodySite")), *_list(statement.get("bodySite"))]
    specimens = _list(statement.get("specimen"))
    return {
        "patient_id": _identify(subject, store),
        "lesion_id": _identify(specimens[0], store) if len(specimens) == 1 else None,
        "age": _age(patient, image, statement),
        "sex": patient.get("gender"),
        "site": next((word for site in sites for word in _words(site.get("concept", site))), None),
    }


def _identify(reference: Resource, store: _Store) -> str | None:
    """Return an identifier of what is referred to, or the end of its address."""
    found = store.find(reference) or {}
    values = [one.get("value") for one in (*_list(found.get("identifier")), *_list(reference.get("identifier")))]
    address = str(reference.get("reference", ""))
    return next((str(value) for value in values if value), None) or address.rsplit("/", 1)[-1] or None


def _age(patient: Resource, image: Resource, statement: Resource) -> str | None:
    """Return the patient's age when the picture was taken, or else when it was judged, years."""
    names = ("createdDateTime", "date", "started", "effectiveDateTime", "onsetDateTime", "recordedDate", "issued")
    day = next((found for one in (image, statement) for name in names if (found := _day(one.get(name)))), None)
    born = _day(patient.get("birthDate"))
    return None if day is None or born is None or day < born else str(int((day - born).days / _DAYS_A_YEAR))


def _day(text: object) -> date | None:
    """Return a FHIR date; one that lacks day or month is taken for the middle."""
    parts = str(text or "")[:10].split("-")
    try:
        return date(*(int(part) for part in [*parts, "7", "1"][:3])) if parts[0] else None
    except ValueError:
        return None


def _references(resource: Resource) -> list[Resource]:
    """Return the references in the elements that lead to images, at any depth."""
    found: list[Resource] = []
    waiting: list[object] = [resource.get(name) for name in _LINKS]
    while waiting:
        one = waiting.pop()
        if isinstance(one, list):
            waiting += one
        elif isinstance(one, dict):
            if isinstance(one.get("reference"), str):
                found.append(one)
            else:
                waiting += one.values()
    return found


def _kind(resource: Resource) -> str:
    """Return the kind of a resource, or of what a reference to it says."""
    if "resourceType" in resource:
        return str(resource["resourceType"])
    parts = str(resource.get("reference", "")).split("/")
    return str(resource.get("type") or (parts[-2] if len(parts) > 1 else ""))


def _list(value: Any) -> list[Any]:  # noqa: ANN401 - any element of a document
    """Return an element that may stand once or several times, without what isn't an object."""
    return [one for one in (value if isinstance(value, list) else [value]) if isinstance(one, dict)]
