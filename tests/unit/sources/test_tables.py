"""Tables as spreadsheets and archives write them."""

from __future__ import annotations

from pathlib import Path

import pytest

from melanoma_ray.diagnoses import load_taxonomy
from melanoma_ray.errors import ConfigError, DataError
from melanoma_ray.sources.cells import clean, parse_age
from melanoma_ray.sources.tables import Table, check_named, parse_columns, read_table_file, without_unknown

TAXONOMY = load_taxonomy()


def read(folder: Path, content: str | bytes, name: str = "meta.csv", **named: str) -> Table:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return read_table_file(str(path), TAXONOMY, named)


def words(table: Table) -> list[str | None]:
    return list(table.rows["diagnosis"])


@pytest.mark.parametrize(
    "content",
    [
        "image_id,dx\na,nv\nb,mel\n",
        "\ufeffimage_id,dx\na,nv\nb,mel\n",
        "Image_ID ,DX\na,nv\nb,mel\n",
        "image_id;dx\na;nv\nb;mel\n",
        "image_id\tdx\na\tnv\nb\tmel\n",
        '"image_id","dx"\r\n"a","nv"\r\n"b","mel"\r\n',
        ",image_id,dx\n0,a,nv\n1,b,mel\n",
        "image_id,dx\na,nv,\nb,mel,\n",
        'image_id,comment,dx\na,"one\ntwo, three",nv\nb,"",mel\n',
        "image_id,dx\n a , nv \nb,mel\n",
    ],
)
def test_a_table_is_read_in_whatever_dialect_it_comes(tmp_path: Path, content: str) -> None:
    table = read(tmp_path, content)
    assert list(table.rows["image_id"]) == ["a", "b"]
    assert words(table) == ["nv", "mel"]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "latin-1", "utf-8"])
def test_a_table_is_read_in_any_encoding(tmp_path: Path, encoding: str) -> None:
    table = read(tmp_path, "image_id,dx,ärztin\na,nv,Müller\n".encode(encoding))
    assert words(table) == ["nv"]


@pytest.mark.parametrize("word", ["", "None", "N/A", "unknown", "-", "?", "nan", "NULL", " n/a ", "UNKNOWN", "--"])
def test_placeholders_are_missing_values_in_any_case(tmp_path: Path, word: str) -> None:
    table = read(
        tmp_path, f"image_id,dx,patient_id,lesion_id,sex,localization,age\na,nv,{word},{word},{word},{word},{word}\n"
    )
    row = table.rows.iloc[0]
    assert [row[name] for name in ("patient_id", "lesion_id", "sex", "site", "age")] == [None] * 5
    assert clean(word) is None


@pytest.mark.parametrize(
    ("text", "years"),
    [
        ("85+", 85),
        ("45 years", 45),
        (" 60 ", 60),
        ("30.5", 30.5),
        ("0", None),
        ("-1", None),
        ("999", None),
        ("fifty", None),
    ],
)
def test_ages_are_years_of_a_person_or_missing(text: str, years: float | None) -> None:
    assert parse_age(text) == years


def test_sexes_are_known_by_their_common_words(tmp_path: Path) -> None:
    table = read(tmp_path, "image_id,dx,gender\na,nv,M\nb,nv,FEMALE\nc,nv, male\nd,nv,w\ne,nv,1\n")
    assert list(table.rows["sex"]) == ["male", "female", "male", "female", None]


def test_one_hot_columns_may_be_booleans_and_rows_without_a_one_tell_nothing(tmp_path: Path) -> None:
    table = read(tmp_path, "image,MEL,NV,BCC\na,False,True,False\nb,True,False,False\nc,False,False,False\n")
    assert words(table) == ["NV", "MEL", None]


def test_isic_2017_s_rows_without_a_one_are_nevi(tmp_path: Path) -> None:
    table = read(tmp_path, "image_id,melanoma,seborrheic_keratosis\na,1.0,0.0\nb,0.0,1.0\nc,0.0,0.0\n")
    assert words(table) == ["melanoma", "seborrheic_keratosis", "nevus"]


def test_isic_2016_s_truth_has_no_line_of_names(tmp_path: Path) -> None:
    table = read(tmp_path, "ISIC_0000000,benign\nISIC_0000001,malignant\n")
    assert list(table.rows["image_id"]) == ["ISIC_0000000", "ISIC_0000001"]
    assert words(table) == ["benign", "malignant"]


def test_ph2_s_own_table_is_read(tmp_path: Path) -> None:
    content = (
        "||   Name   || Histological Diagnosis || Clinical Diagnosis || Asymmetry ||\n"
        "||  IMD003  ||                        ||        0           ||     1     ||\n"
        "||  IMD009  ||                        ||        1           ||     0     ||\n"
        "||  IMD058  || Melanoma               ||        2           ||     2     ||\n\n"
        "Legends:\n"
    )
    table = read(tmp_path, content, "PH2_dataset.txt")
    assert list(table.rows["image_id"]) == ["IMD003", "IMD009", "IMD058"]
    assert [TAXONOMY.parse(str(word)) for word in words(table)] == ["nevus", "nevus", "melanoma"]


def test_an_unknown_disease_gives_way_to_what_is_said_of_malignancy(tmp_path: Path) -> None:
    table = read(tmp_path, "DDI_file,malignant,disease\na,True,melanoma-in-situ\nb,True,rarissima\nc,False,rarissima\n")
    assert words(table) == ["melanoma-in-situ", "malignant", "benign"]


def test_the_archive_s_sites_since_2026_are_read_the_finest_first(tmp_path: Path) -> None:
    table = read(
        tmp_path, "isic_id,anatom_site_1,anatom_site_2,diagnosis_1\na,Head and neck,Ear,Benign\nb,Trunk,,Benign\n"
    )
    assert list(table.rows["site"]) == ["Ear", "Trunk"]


def test_benign_melanocytic_proliferations_are_no_nevus(tmp_path: Path) -> None:
    header = "isic_id,diagnosis_1,diagnosis_2,diagnosis_3\n"
    table = read(
        tmp_path,
        header + "a,Benign,Benign melanocytic proliferations,Nevus\nb,Benign,Benign melanocytic proliferations,\n",
    )
    assert [TAXONOMY.parse(str(word)) for word in words(table)] == ["nevus", None]


def test_columns_can_be_named_by_hand(tmp_path: Path) -> None:
    named = parse_columns(["image=picture", "diagnosis=what", "lesion=spot"])
    table = read(tmp_path, "picture,what,spot\na,nv,7\n", **named)
    row = table.rows.iloc[0]
    assert (row["image_id"], row["diagnosis"], row["lesion_id"]) == ("a", "nv", "7")
    with pytest.raises(DataError, match=r"no table has a column 'foto' \(.*meta.csv has picture, what, spot\)"):
        check_named([table], {"image_id": "foto"})


def test_a_column_named_by_hand_counts_before_hierarchies_and_flags(tmp_path: Path) -> None:
    content = "image,melanoma,malignant,diagnosis_1,dx\na,1,1,Benign,nv\n"
    assert words(read(tmp_path, content, diagnosis="dx")) == ["nv"]


def test_two_columns_of_ids_and_flags_have_a_line_of_names(tmp_path: Path) -> None:
    assert words(read(tmp_path, "isic_id,malignant\na,1\nb,0\n")) == ["malignant", "benign"]


@pytest.mark.parametrize("word", ["image", "image=", "picture=x", "=dx"])
def test_a_malformed_column_is_refused(word: str) -> None:
    with pytest.raises(ConfigError, match="expected one of image, diagnosis, lesion, patient"):
        parse_columns([word])


def test_what_is_no_table_of_images_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.csv: not found"):
        read_table_file(str(tmp_path / "none.csv"), TAXONOMY)
    with pytest.raises(DataError, match="none of which holds the images' ids"):
        read(tmp_path, "a,b\n1,2\n")
    with pytest.raises(DataError, match="not a text table"):
        read(tmp_path, b"PK\x03\x04\0\0\0\0")
    with pytest.raises(DataError, match="row with more than one 1"):
        read(tmp_path, "image,MEL,NV,BCC\na,1,1,0\n")


@pytest.mark.parametrize(
    "content",
    [
        "sep=;\nimage_id;dx\na;nv\nb;mel\n",
        '"sep=;"\r\nimage_id;dx\r\na;nv\r\nb;mel\r\n',
        "Export of 2024;;\n\nimage_id;dx\na;nv\nb;mel\n",
        "Skin clinic, second floor\nimage_id,dx\na,nv\nb,mel\n",
        "Image ID,DX\na,nv\nb,mel\n",
        '{"image_id": "a", "dx": "nv"}\n{"image_id": "b", "dx": "mel", "age": null}\n',
        "image_id,dx\r\na,nv\r\n\r\nb,mel\r\n,\r\n",
    ],
    ids=["sep", "quoted sep", "title", "title of commas", "spaces", "JSON lines", "blank rows"],
)
def test_what_excel_and_hugging_face_put_around_a_table_is_understood(tmp_path: Path, content: str) -> None:
    table = read(tmp_path, content, "metadata.jsonl" if content.startswith("{") else "meta.csv")
    known = table.rows.dropna(subset=["image_id"])
    assert list(known["image_id"]) == ["a", "b"]
    assert list(known["diagnosis"]) == ["nv", "mel"]


@pytest.mark.parametrize("content", ["[1, 2]\n", "{broken\n"])
def test_json_lines_that_are_none_are_one_line(tmp_path: Path, content: str) -> None:
    with pytest.raises(DataError, match=r"metadata\.jsonl: not a CSV table"):
        read(tmp_path, content, "metadata.jsonl")


@pytest.mark.parametrize("column", ["id", "ID", "file_path", "FilePath".lower(), "img_path", "photo"])
def test_more_names_of_a_column_of_ids_are_known(tmp_path: Path, column: str) -> None:
    assert list(read(tmp_path, f"{column},dx\na.jpg,nv\n").rows["image_id"]) == ["a.jpg"]


def test_cells_that_aren_t_understood_are_told_with_their_numbers(tmp_path: Path) -> None:
    table = read(
        tmp_path, "image_id,dx,sex,age,split\na,nv,divers,old,holdout\nb,nv,x,45,train\nc,nv,,-1,test\nd,nv,w,999,dev\n"
    )
    assert table.notes == (
        "meta.csv: 1 row has an age that isn't understood, and counts as unknown: 'old' (1)",
        "meta.csv: 2 rows have a sex that isn't understood, and counts as unknown: 'divers' (1), 'x' (1)",
        "meta.csv: 2 rows have a split that isn't understood, and counts as unknown: 'holdout' (1), 'dev' (1)",
    )
    assert list(table.rows["given_split"]) == [None, "train", "test", None]


def test_a_column_named_set_is_a_split_where_its_words_are(tmp_path: Path) -> None:
    assert list(read(tmp_path, "image_id,dx,Set\na,nv,Training\nb,nv,Test\n").rows["given_split"]) == ["train", "test"]
    other = read(tmp_path, "image_id,dx,set\na,nv,HAM10000\nb,nv,BCN\n")
    assert (list(other.rows["given_split"]), other.notes) == ([None, None], ())


def test_unknown_words_of_a_found_table_are_told_and_the_other_rows_stay(tmp_path: Path) -> None:
    table = without_unknown(read(tmp_path, "image_id,dx,age\na,nv,40\nb,nevsu,50\nc,mel,60\n"), TAXONOMY)
    assert words(table) == ["nv", None, "mel"]
    assert list(table.rows["age"]) == [40, 50, 60]
    [note] = table.notes
    assert note.startswith(
        "meta.csv: 1 row has a word for the lesion that is unknown, so it tells no diagnosis: 'nevsu'"
    )
    assert "did you mean 'nevus'" in note


def test_rows_of_several_diagnoses_tell_none_in_a_table_that_was_only_found(tmp_path: Path) -> None:
    path = tmp_path / "truth.csv"
    path.write_text("image,MEL,NV,BCC\na,1,1,0\nb,0,1,0\n")
    table = read_table_file(str(path), TAXONOMY, is_strict=False)
    assert words(table) == [None, "NV"]
    assert table.notes == ("truth.csv: 1 row has several diagnoses, which tell none",)


def test_a_name_by_hand_that_only_a_table_left_alone_may_have_is_refused_with_the_reason() -> None:
    with pytest.raises(DataError, match=r"no table has a column 'foto' \(left alone: x\.csv: why\)"):
        check_named([], {"image_id": "foto"}, ["left alone: x.csv: why"])
    with pytest.raises(DataError, match="there is no table"):
        check_named([], {"image_id": "foto"})


def test_a_row_of_too_many_cells_costs_itself_alone_and_empty_ones_cost_nothing(tmp_path: Path) -> None:
    table = read(tmp_path, "image_id,dx\na,nv\nb,nevus, junctional\nc,mel,,\n")
    assert list(table.rows["image_id"]) == ["a", "c"]
    assert words(table) == ["nv", "mel"]
    assert table.notes == (
        "meta.csv: 1 row has more cells than there are columns, and can't be read: 'b,nevus, junctional'; "
        "put quotes around texts",
    )


def test_a_german_export_is_read(tmp_path: Path) -> None:
    table = read(tmp_path, "sep=;\nBild;Diagnose;Alter;Geschlecht\na;Nävus;45 Jahre;weiblich\n".encode("latin-1"))
    row = table.rows.iloc[0]
    assert (row["image_id"], TAXONOMY.parse(row["diagnosis"]), row["age"], row["sex"]) == ("a", "nevus", 45.0, "female")


def test_a_quotation_mark_without_its_other_half_swallows_no_rows(tmp_path: Path) -> None:
    table = read(tmp_path, 'image_id,comment,dx\na,x,nv\nb,"5 mm,mel\nc,x,mel\nd,5",nv\n'.replace('5",', "5,"))
    assert list(table.rows["image_id"]) == ["a", "b", "c", "d"]
    assert words(table) == ["nv", "mel", "mel", "nv"]


def test_lines_between_two_lost_quotation_marks_are_told(tmp_path: Path) -> None:
    table = read(tmp_path, 'image_id,comment,dx\na,x,nv\nb,"5 mm,mel\nc,x,mel\nd,5",nv\n')
    assert len(table.rows) == 2
    assert table.notes == (
        "meta.csv: 1 lines within quotation marks look like rows, and aren't read as such: is a mark missing?",
    )


def test_a_lone_quotation_mark_in_a_cell_leaves_quoted_cells_whole(tmp_path: Path) -> None:
    table = read(tmp_path, 'image_id,comment,dx\na,"x, y",nv\nb,5" long,mel\n')
    assert words(table) == ["nv", "mel"]


def test_an_end_of_a_file_within_quotes_is_no_end_of_the_table(tmp_path: Path) -> None:
    assert words(read(tmp_path, 'image_id,comment,dx\na,x,nv\nb,x,mel\nc,"x,nv')) == ["nv", "mel", "nv"]


def test_a_row_that_says_benign_of_a_melanoma_is_told(tmp_path: Path) -> None:
    header = "image_name,diagnosis,benign_malignant,target\n"
    table = read(
        tmp_path, header + "a,melanoma,benign,0\nb,nevus,benign,0\nc,melanoma,malignant,1\nd,unknown,benign,0\n"
    )
    assert words(table) == ["melanoma", "nevus", "melanoma", "unknown"]
    assert table.notes == (
        "meta.csv: 1 row says of a diagnosis that it is benign where it is malignant, or the other way round; "
        "the diagnosis counts: 'melanoma' (1)",
    )


def test_letters_without_a_width_make_no_other_word(tmp_path: Path) -> None:
    table = read(tmp_path, "image_id,dx\na,\u200bMelanoma\nb,Nevus\u00a0\n\u200bc,nv\n")
    assert list(table.rows["image_id"]) == ["a", "b", "c"]
    assert words(table) == ["Melanoma", "Nevus", "nv"]
