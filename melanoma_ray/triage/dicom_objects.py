"""Answers as DICOM objects: a Structured Report (PS3.16, TID 1500), and a map as a Secondary Capture.

Both belong to the study of their image and carry its patient, as its own header does (``dicom_sources``). Their UIDs
are derived from the image, the checkpoint and what they say, so that the same answer is the same object, and another
one is another. highdicom's own messages may quote a header, and a header has names: none of them is logged.
"""

from __future__ import annotations

import logging
import uuid
import warnings
from dataclasses import dataclass

import numpy as np
from highdicom.coding_schemes import CodingSchemeIdentificationItem
from highdicom.sc import SCImage
from highdicom.sr import (
    AlgorithmIdentification,
    CodedConcept,
    ComprehensiveSR,
    DeviceObserverIdentifyingAttributes,
    Measurement,
    MeasurementReport,
    MeasurementsAndQualitativeEvaluations,
    ObservationContext,
    ObserverContext,
    QualitativeEvaluation,
    RelationshipTypeValues,
    SourceImageForMeasurementGroup,
    TextContentItem,
    TrackingIdentifier,
)
from jaxtyping import UInt8
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import UID, ExplicitVRLittleEndian

from melanoma_ray import __version__
from melanoma_ray.api import DECISION_WORDS, NOTICE, SYNTHETIC_NOTICE, Decision
from melanoma_ray.model.checkpoint import Manifest

SCHEME = "99MELRAY"
"""Coding scheme of ours, for what no public one has a code (PS3.16, 8.2: names of private ones begin with 99)."""
_MAKER = "melanoma_ray"
_ROOT = uuid.UUID("6f2b0c5e-6d0b-4bb7-9a55-3f0b5f0a7c11")
"""Namespace of the derived UIDs."""
_REPORT_SERIES, _OVERLAY_SERIES = 9001, 9002
"""Numbers of the series in their study, above those of a camera."""
_DECISION_CODES: dict[Decision, str] = {"refer": "REFER", "routine": "ROUTINE", "unassessable": "UNASSESSABLE"}
_PROBABILITY_CODES = {"melanoma": "MELANOMA_PROB", "malignancy": "MALIGNANCY_PROB"}
_SHOWN_DIGITS = 6
"""Decimals of a probability; a decimal string of DICOM has sixteen letters."""

logging.getLogger("highdicom").setLevel(logging.CRITICAL + 1)
warnings.filterwarnings("ignore", module=r"highdicom\.")
"""They would tell an image's UID and its patient's name."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """Who answered, and by which threshold."""

    manifest: Manifest
    checkpoint_id: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """What a report says of one image."""

    melanoma_probability: float | None
    """Calibrated, in [0, 1]; none: the network's answer isn't finite."""
    decision: Decision
    warnings: tuple[str, ...] = ()
    """What is wrong with the image itself."""


def derive_uid(*parts: object) -> UID:
    """Return a UID that is the same for the same parts, and another for others (PS3.5, B.2)."""
    return UID(f"2.25.{uuid.uuid5(_ROOT, repr(parts)).int}")


def build_report(source: Dataset, finding: Finding, asked: Asked) -> ComprehensiveSR:
    """Return the report about one image.

    Args:
        source: The image's header, from ``complete``.
        finding: The answer.
        asked: Who answered.

    Raises:
        ValueError: The header breaks the standard; so do AttributeError, KeyError and TypeError.
    """
    calibration = asked.manifest.calibration
    said = (finding.melanoma_probability, finding.decision, calibration.decision_threshold, finding.warnings)
    report = MeasurementReport(
        observation_context=ObservationContext(observer_device_context=_describe_device(asked)),
        procedure_reported=_code("DERMOSCOPY", "Dermoscopic imaging"),
        imaging_measurements=[_describe_finding(source, finding, asked)],
    )
    return ComprehensiveSR(
        evidence=[source],
        content=report,
        series_instance_uid=derive_uid("report series", str(source.StudyInstanceUID), asked.checkpoint_id),
        series_number=_REPORT_SERIES,
        sop_instance_uid=derive_uid("report", str(source.SOPInstanceUID), asked.checkpoint_id, said),
        instance_number=_instance_number(source),
        manufacturer=_MAKER,
        is_complete=True,
        series_description="Triage by AI: report",
        manufacturer_model_name=asked.manifest.experiment.model.network,
        software_versions=__version__,
        device_serial_number=asked.checkpoint_id,
        coding_schemes=[CodingSchemeIdentificationItem(designator=SCHEME, name=_MAKER)],
    )


def build_overlay(source: Dataset, pixels: UInt8[np.ndarray, "height width 3"], asked: Asked) -> SCImage:
    """Return the image under its map, as a derived image of the source's study.

    Args:
        source: The image's header, from ``complete``.
        pixels: The crop with the map drawn into it, RGB.
        asked: Who answered.

    Raises:
        ValueError: The header breaks the standard; so do AttributeError, KeyError and TypeError.
    """
    image = SCImage(
        pixel_array=np.ascontiguousarray(pixels),
        photometric_interpretation="RGB",
        bits_allocated=8,
        coordinate_system="PATIENT",
        patient_orientation=("L", "F"),
        study_instance_uid=str(source.StudyInstanceUID),
        series_instance_uid=derive_uid("overlay series", str(source.StudyInstanceUID), asked.checkpoint_id),
        series_number=_OVERLAY_SERIES,
        sop_instance_uid=derive_uid("overlay", str(source.SOPInstanceUID), asked.checkpoint_id, pixels.tobytes()),
        instance_number=_instance_number(source),
        manufacturer=_MAKER,
        transfer_syntax_uid=ExplicitVRLittleEndian,
        series_description="Triage by AI: what the network went by",
        manufacturer_model_name=asked.manifest.experiment.model.network,
        software_versions=__version__,
        device_serial_number=asked.checkpoint_id,
    )
    image.SpecificCharacterSet = source.SpecificCharacterSet
    image.copy_patient_and_study_information(source)
    image["PatientOrientation"].value = None  # of a crop nobody knows it
    image.ConversionType = "WSD"
    image.DerivationDescription = "Crop of the source image with a map of what the network went by drawn into it"
    image.ImageComments = _notice(asked)
    if (is_annotated := source.get("BurnedInAnnotation")) is not None:
        image.BurnedInAnnotation = is_annotated
    image.SourceImageSequence = [_refer_to(source)]
    return image


def _refer_to(source: Dataset) -> Dataset:
    reference = Dataset()
    reference.ReferencedSOPClassUID = source.SOPClassUID
    reference.ReferencedSOPInstanceUID = source.SOPInstanceUID
    reference.PurposeOfReferenceCodeSequence = [
        CodedConcept("121322", "DCM", "Source image for image processing operation")
    ]
    return reference


def _describe_device(asked: Asked) -> ObserverContext:
    return ObserverContext(
        observer_type=codes.DCM.Device,
        observer_identifying_attributes=DeviceObserverIdentifyingAttributes(
            uid=derive_uid("device", asked.checkpoint_id),
            name=_MAKER,
            manufacturer_name=_MAKER,
            model_name=asked.manifest.experiment.model.network,
            serial_number=asked.checkpoint_id,
        ),
    )


def _describe_finding(source: Dataset, finding: Finding, asked: Asked) -> MeasurementsAndQualitativeEvaluations:
    manifest = asked.manifest
    measurements = [_measure("THRESHOLD", "Decision threshold", manifest.calibration.decision_threshold)]
    if finding.melanoma_probability is not None:
        what = manifest.referred_for
        told = _measure(_PROBABILITY_CODES[what], f"Probability of {what}, calibrated", finding.melanoma_probability)
        measurements.insert(0, told)
    decision = _code(_DECISION_CODES[finding.decision], DECISION_WORDS[finding.decision])
    group = MeasurementsAndQualitativeEvaluations(
        tracking_identifier=TrackingIdentifier(
            uid=derive_uid("finding", str(source.SOPInstanceUID), asked.checkpoint_id), identifier="triage"
        ),
        algorithm_id=AlgorithmIdentification(
            name=_MAKER,
            version=f"{__version__}, checkpoint {asked.checkpoint_id}",
            parameters=[f"network={manifest.experiment.model.network}", f"referred_for={manifest.referred_for}"],
        ),
        measurements=measurements,
        qualitative_evaluations=[QualitativeEvaluation(name=_code("DECISION", "Decision"), value=decision)],
        source_images=[SourceImageForMeasurementGroup.from_source_image(source)],
    )
    warnings = [f"About the image itself: {', '.join(finding.warnings)}."] if finding.warnings else []
    for text in (_notice(asked), *warnings):
        comment = TextContentItem(name=codes.DCM.Comment, value=text, relationship_type=RelationshipTypeValues.CONTAINS)
        group[0].ContentSequence.append(comment)
    return group


def _measure(code: str, meaning: str, value: float) -> Measurement:
    return Measurement(name=_code(code, meaning), value=round(value, _SHOWN_DIGITS), unit=codes.UCUM.NoUnits)


def _code(value: str, meaning: str) -> CodedConcept:
    return CodedConcept(value=value, scheme_designator=SCHEME, meaning=meaning)


def _notice(asked: Asked) -> str:
    return f"{NOTICE} {SYNTHETIC_NOTICE}" if asked.manifest.is_synthetic else NOTICE


def _instance_number(source: Dataset) -> int:
    """Return the image's number in its series, or 1."""
    try:
        return max(1, int(source.get("InstanceNumber") or 1))
    except (TypeError, ValueError):
        return 1
