"""No value that the profile takes out is left anywhere in a header, and what is replaced stays consistent."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pydicom
import pytest
from dicomanonymizer.dicomfields_selector import dicom_anonymization_database_selector
from pydicom._dicom_dict import DicomDictionary
from pydicom.datadict import dictionary_has_tag, dictionary_VR
from pydicom.dataset import Dataset
from pydicom.tag import Tag
from pydicom.uid import ExplicitVRLittleEndian

from melanoma_ray.deidentification.profile import EDITION, Profile, deidentify, replace_text, replace_uid
from tests.unit.imaging.dicom_files import INSTANCE, STUDY, build_header, build_meta, save

PROFILE = Profile(secret=b"0123456789abcdef")
MARK = "MUSTERMANN"
TEXTS = {"AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT"}
VALUES: dict[str, Any] = {
    **dict.fromkeys(TEXTS, MARK),
    "UI": "1.2.3.777",
    "DA": "19770707",
    "TM": "070707",
    "DT": "19770707070707",
    "AS": "077Y",
    "OB": MARK.encode(),
    "OW": MARK.encode(),
    "UN": MARK.encode(),
    "DS": "777.25",
    "IS": "777777",
}
FREE = {"CS": "Mr Mustermann"}
"""Values that aren't as the standard has them, which pydicom reads as well."""
STAYING = {
    *("SOPClassUID", "ReferencedSOPClassUID", "RelatedGeneralSOPClassUID", "OriginalSpecializedSOPClassUID"),
    *("CodingSchemeUID", "ContextUID", "MappingResourceUID"),
    *("Manufacturer", "ManufacturerModelName", "SoftwareVersions"),
    *("PixelData", "ICCProfile", "LUTData", "BlendingLookupTableData"),
    *(f"{kind}{band}PaletteColorLookupTableData" for kind in ("", "Segmented") for band in ("Red", "Green", "Blue")),
}
TABLE = dicom_anonymization_database_selector(f"dicomfields_{EDITION}")
TABLED = sorted({tuple(tag) for code, tags in TABLE.items() for tag in tags if len(tag) == 2})
OUTSIDE = {0x0000, 0x0002, 0x0004, 0xFFFA, 0xFFFC}
OF_DATA_SETS = [tag for tag in TABLED if tag[0] not in OUTSIDE and dictionary_has_tag(Tag(*tag))]


def build_marked() -> Dataset:
    """A header with a telling value for each attribute of the table, on its own and within a sequence."""
    header, item = Dataset(), Dataset()
    for tag in OF_DATA_SETS:
        representation = dictionary_VR(Tag(*tag)).split()[0]
        if representation == "SQ":
            inner = Dataset()
            inner.PatientName, inner.PatientComments = MARK, MARK
            header.add_new(tag, "SQ", [inner])
        elif representation in VALUES:
            for one in (header, item):
                one.add_new(tag, representation, VALUES[representation])
    header.AnatomicRegionSequence = [item]
    return header


def strings_of(dataset: Dataset) -> str:
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, dataset, implicit_vr=False, little_endian=True)
    return buffer.getvalue().decode("latin-1")


def test_the_table_has_the_attributes_of_the_standard() -> None:
    assert len(TABLED) > 400
    assert {(0x0010, 0x0010), (0x0010, 0x0020), (0x0008, 0x0018), (0x0008, 0x0090)} <= set(TABLED)


def test_no_value_of_a_tabled_attribute_is_left_in_the_header_or_in_a_sequence() -> None:
    header = build_marked()
    assert strings_of(header).count(MARK) > 300
    deidentify(header, PROFILE)
    left = strings_of(header)
    for value in (MARK, "1.2.3.777", "19770707", "077Y"):
        assert value not in left


def test_what_no_table_knows_goes_if_it_may_tell_somebody() -> None:
    header = build_header()
    header.add_new((0x0011, 0x0010), "LO", "VENDOR")
    header.add_new((0x0011, 0x1001), "LO", MARK)
    header.add_new((0x0018, 0x9FFE), "LO", MARK)
    header.add_new((0x6000, 0x3000), "OW", MARK.encode())
    deidentify(header, PROFILE)
    assert MARK not in strings_of(header)
    assert "VENDOR" not in strings_of(header)


def test_no_text_uid_or_date_that_no_table_names_is_left() -> None:
    header, item = Dataset(), Dataset()
    for number, (representations, _, _, _, keyword) in DicomDictionary.items():
        tag, kind = Tag(number), representations.split()[0]
        is_asked = kind in VALUES and tag.group not in OUTSIDE and (tag.group, tag.element) not in TABLED
        if is_asked and keyword not in STAYING:
            for one in (header, item):
                one.add_new(tag, kind, FREE.get(kind, VALUES[kind]))
    header.AnatomicRegionSequence = [item]
    assert len(header) > 900
    deidentify(header, PROFILE)
    left = [element.keyword for element in header.iterall() if element.VR != "SQ" and is_telling(element.value)]
    assert left == []


def is_telling(value: object) -> bool:
    return any(word in str(value) for word in (MARK, "Mustermann", "1.2.3.777", "1977", "077Y"))


def test_numbers_of_the_image_stay_and_others_go() -> None:
    header = build_header(Rows=96, WindowCenter="40", PixelSpacing=["0.1", "0.1"], SmallestImagePixelValue=3)
    header.add_new((0x300A, 0x0071), "IS", "7")
    deidentify(header, PROFILE)
    assert (header.Rows, header.WindowCenter, list(header.PixelSpacing)) == (96, 40, [0.1, 0.1])
    assert (0x300A, 0x0071) not in header


def test_uids_of_the_standard_and_of_classes_stay_and_all_others_are_replaced_alike() -> None:
    header = build_header(
        AvailableTransferSyntaxUID="1.2.840.10008.1.2.1",
        SOPInstanceUIDOfConcatenationSource=INSTANCE,
        CodingSchemeUID="2.16.840.1.113883.6.96",
        SOPClassUID="1.2.3.4.5",
    )
    deidentify(header, PROFILE)
    assert header.SOPInstanceUIDOfConcatenationSource == header.SOPInstanceUID == replace_uid(INSTANCE, PROFILE)
    assert header.AvailableTransferSyntaxUID == "1.2.840.10008.1.2.1"
    assert header.CodingSchemeUID == "2.16.840.1.113883.6.96"
    assert header.SOPClassUID == "1.2.3.4.5"


def test_a_uid_that_a_file_has_as_a_text_is_replaced_as_one() -> None:
    header = build_header()
    header.add_new("StudyInstanceUID", "LO", STUDY)
    deidentify(header, PROFILE)
    assert (header.StudyInstanceUID, header["StudyInstanceUID"].VR) == (replace_uid(STUDY, PROFILE), "UI")


def test_free_values_of_image_type_go_and_defined_ones_stay() -> None:
    for given, left in (
        (["ORIGINAL", "PRIMARY", "", "MUSTERMANN"], ["ORIGINAL", "PRIMARY", "", ""]),
        (["DERIVED", "SECONDARY", "THUMBNAIL"], ["DERIVED", "SECONDARY", "THUMBNAIL"]),
        (["MUSTERMANN"], ["DERIVED", "SECONDARY"]),
    ):
        header = build_header(ImageType=given)
        deidentify(header, PROFILE)
        assert list(header.ImageType) == left


@pytest.mark.parametrize(
    ("given", "left"),
    [
        (("77568009", "SCT", "Back"), ("77568009", "SCT", "Back")),
        (("77568009", "SCT", "Mr Mustermann's back"), ("77568009", "SCT", "Back structure, excluding neck")),
        (("T-D1100", "SRT", "Mustermann, Kopf"), ("T-D1100", "SRT", "Head structure")),
        (("999999", "LN", "Mustermann"), ("999999", "LN", "999999")),
    ],
)
def test_a_public_code_has_dicom_s_own_word(given: tuple[str, str, str], left: tuple[str, str, str]) -> None:
    assert settled(*given) == left


def test_a_house_s_own_code_is_a_pseudonym_and_stays_the_same_one() -> None:
    first, second = settled("M1", "99MUSTER", "Mustermann"), settled("M1", "99MUSTER", "Mustermann")
    assert first == second
    assert first[1].startswith("99")
    assert not any(word in " ".join(first).lower() for word in ("m1 ", "muster"))
    assert settled("77568009 Mustermann", "SCT", "Back")[0] == replace_text("77568009 Mustermann", PROFILE)


def settled(value: str, scheme: str, meaning: str) -> tuple[str, str, str]:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    header = build_header(AnatomicRegionSequence=[item])
    deidentify(header, PROFILE)
    (found,) = header.AnatomicRegionSequence
    return str(found.CodeValue), str(found.CodingSchemeDesignator), str(found.CodeMeaning)


def test_a_text_in_a_number_s_place_goes_and_texts_are_utf_8() -> None:
    header = build_header(PatientWeight="65", Manufacturer="Łódź", SpecificCharacterSet="ISO_IR 101")
    content = save_as_file(header).replace(b"DS\x02\x0065", b"DS\x02\x00xx")
    damaged = pydicom.dcmread(io.BytesIO(content))
    deidentify(damaged, Profile(secret=PROFILE.secret, keeps_characteristics=True))
    again = pydicom.dcmread(io.BytesIO(save_as_file(damaged)))
    assert again.PatientWeight is None
    assert (again.Manufacturer, again.SpecificCharacterSet) == ("Łódź", "ISO_IR 192")


def save_as_file(header: Dataset) -> bytes:
    header.file_meta = build_meta(ExplicitVRLittleEndian, header)
    return save(header)


def test_what_an_image_is_of_stays() -> None:
    site = Dataset()
    site.CodeValue, site.CodingSchemeDesignator, site.CodeMeaning = "77568009", "SCT", "Back"
    header = build_header(Rows=96, BodyPartExamined="BACK", AnatomicRegionSequence=[site], BurnedInAnnotation="NO")
    deidentify(header, PROFILE)
    assert (header.Rows, header.BodyPartExamined, header.BurnedInAnnotation) == (96, "BACK", "NO")
    assert header.AnatomicRegionSequence[0].CodeMeaning == "Back"
    assert header.SOPClassUID == build_header().SOPClassUID


def test_the_same_value_has_the_same_replacement_and_another_secret_another_one() -> None:
    first, second = build_header(), build_header(SOPInstanceUID="1.2.3")
    reference = Dataset()
    reference.ReferencedSOPInstanceUID, reference.ReferencedSOPClassUID = INSTANCE, first.SOPClassUID
    second.SourceImageSequence = [reference]
    for one in (first, second):
        deidentify(one, PROFILE)
    assert first.PatientID == second.PatientID != "P-17"
    assert first.StudyInstanceUID == second.StudyInstanceUID == replace_uid(STUDY, PROFILE) != STUDY
    assert second.SourceImageSequence[0].ReferencedSOPInstanceUID == first.SOPInstanceUID
    other = Profile(secret=b"another secret 16")
    assert replace_uid(STUDY, other) != replace_uid(STUDY, PROFILE)
    assert replace_text("P-17", other) != replace_text("P-17", PROFILE) == first.PatientID


def test_a_replaced_uid_is_a_valid_one() -> None:
    for value in (STUDY, INSTANCE, "1.2"):
        assert replace_uid(value, PROFILE).is_valid
        assert len(replace_uid(value, PROFILE)) <= 64


@pytest.mark.parametrize("keeps", [False, True])
def test_age_and_sex_are_kept_only_where_that_is_asked_for(*, keeps: bool) -> None:
    header = build_header(PatientAge="064Y")
    deidentify(header, Profile(secret=PROFILE.secret, keeps_characteristics=keeps))
    assert (header.get("PatientAge"), header.get("PatientSex")) == (("064Y", "F") if keeps else (None, None))
    codes = [item.CodeValue for item in header.DeidentificationMethodCodeSequence]
    assert codes == (["113100", "113108"] if keeps else ["113100"])
    assert (header.PatientIdentityRemoved, header.LongitudinalTemporalInformationModified) == ("YES", "REMOVED")


def test_a_de_identified_header_is_written_and_read() -> None:
    header = build_marked()
    for name, value in build_header(Rows=8, Columns=8).items():
        header[name] = value
    deidentify(header, PROFILE)
    header.file_meta = build_meta("1.2.840.10008.1.2.1", header)
    again = pydicom.dcmread(io.BytesIO(save(header)))
    assert again.PatientID == header.PatientID
    assert np.all([element.VR != "UN" for element in again])
