import gzip
from pathlib import Path

import pytest

from sne.zoo import ZooError
from sne.zoo.importing.tables import read_table


def read(path: Path, text: str, name: str = "t.csv"):
    (path / name).write_text(text, encoding="utf-8")
    return read_table(path / name)


def test_kinds(tmp_path: Path):
    table = read(
        tmp_path,
        "\ufeffpath, n,x,flag,name,empty\na.pt,1,0.5,True,7,\nb.pt,,nan,false,seven,\nc.pt,3,1e-3,true,eight,\n\n",
    )
    columns = table.columns(table.names)
    assert {name: (column.kind, column.values) for name, column in columns.items()} == {
        "path": ("text", ["a.pt", "b.pt", "c.pt"]),
        "n": ("number", [1, None, 3]),
        "x": ("number", [0.5, None, 0.001]),
        "flag": ("boolean", [True, False, True]),
        "name": ("text", ["7", "seven", "eight"]),
        "empty": ("empty", [None, None, None]),
    }
    assert columns["name"].note == "1 of 3 look like numbers or booleans"
    assert [columns[name].num_missing for name in ("n", "x", "flag", "empty")] == [1, 1, 0, 3]
    assert isinstance(columns["n"].values[0], int)


def test_gzipped(tmp_path: Path):
    with gzip.open(tmp_path / "t.csv.gz", "wt") as file:
        file.write("a,b\n1,2\n")
    table = read_table(tmp_path / "t.csv.gz")
    assert table.column("a").values == [1] and table.column("b").values == [2]


@pytest.mark.parametrize(
    "text, message",
    [
        ("", "is empty"),
        ("a,a\n1,2\n", "used twice"),
        ("a,b\n1,2\n\n3\n", "row 4 has 1 entry, expected 2"),
        ("a,b\n1,2,3\n", "row 2 has 3 entries, expected 2"),
    ],
)
def test_mistakes(tmp_path: Path, text: str, message: str):
    with pytest.raises(ZooError, match=message):
        read(tmp_path, text)


def test_broken_archive(tmp_path: Path):
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress(b"a,b\n1,2\n" * 50)[:30])
    with pytest.raises(ZooError, match="cannot be read"):
        read_table(tmp_path / "t.csv.gz")


def test_names_that_look_like_numbers_stay_names(tmp_path: Path):
    table = read(tmp_path, "run,n,tag\n007,7,1_2\n1e3,8,1_3\n")
    assert table.text("run") == ["007", "1e3"] and table.column("n").values == [7, 8]
    assert table.column("tag").values == ["1_2", "1_3"]


NUMBERS = [f"0.{i}" for i in range(10, 33)]


@pytest.mark.parametrize(
    "cells, message",
    [
        ([*NUMBERS[:3], "n/a", *NUMBERS[3:]], "column score: 23 numbers, 1 text ('n/a', row 5)"),
        ([*NUMBERS[:3], "97%", *NUMBERS[3:]], "column score: 23 numbers, 1 percentage ('97%', row 5)"),
        ([*NUMBERS, "True"], "column score: 23 numbers, 1 boolean ('True', row 25)"),
        ([*NUMBERS, "high", "low"], "column score: 23 numbers, 2 texts ('high', row 25)"),
        (["7", "seven"], "column score: 1 number, 1 text ('seven', row 3)"),
        (["90%", "91%", "0.9"], "column score: 2 percentages, 1 number ('0.9', row 4)"),
        (["1,234", "5,678"], "2 numbers with a comma ('1,234', row 2), expected a decimal point"),
        (["1.234,5"], "1 number with a comma"),
    ],
)
def test_a_column_of_several_kinds_is_refused(tmp_path: Path, cells: list[str], message: str):
    table = read(tmp_path, "score,fine\n" + "".join(f'"{cell}",1\n' for cell in cells))
    with pytest.raises(ZooError) as error:
        table.columns(table.names)
    assert message in str(error.value) and "\n" not in str(error.value)


def test_all_such_columns_are_named_at_once(tmp_path: Path):
    table = read(tmp_path, "a,b,c\n1,2,3\n4,x,y\n5,6,7\n")
    with pytest.raises(ZooError, match=r"column b: 2 numbers, 1 text \('x', row 3\); column c: 2 numbers, 1 text"):
        table.columns(table.names)


@pytest.mark.parametrize(
    "text, values, note",
    [
        ("name;score\na;0,5\nb;1\nc;\n", [0.5, 1.0, None], "decimal commas"),
        ("name;score\na;0.5\nb;1\nc;\n", [0.5, 1.0, None], ""),
        ("name\tscore\na\t5\nb\t1\nc\t\n", [5, 1, None], ""),
        ("name;score;\na;97,5 %;\nb;1%;\nc;;\n", [0.975, 0.01, None], "percentages, divided by 100"),
        ("name,score\na,97.5%\nb,1 %\nc,\n", [0.975, 0.01, None], "percentages, divided by 100"),
        ('"a;b",score\n1,2\n3,4\n5,\n', [2, 4, None], ""),
    ],
)
def test_separators_percentages_and_decimal_commas(tmp_path: Path, text: str, values: list, note: str):
    column = read(tmp_path, text).column("score")
    assert (column.kind, column.values, column.note) == ("number", values, note)


def test_the_separator_is_named(tmp_path: Path):
    assert read(tmp_path, "a;b\n1;2\n").delimiter_note.endswith("t.csv: cells are separated by semicolons")
    assert read(tmp_path, "a,b\n1,2\n").delimiter_note == ""


@pytest.mark.parametrize("cells", [["0,5", "0.5"], ["1,234,567", "2,345,678"], ["1.234,5", "2.345,6"]])
def test_a_comma_of_doubtful_meaning_is_refused(tmp_path: Path, cells: list[str]):
    table = read(tmp_path, "name;score\n" + "".join(f"a;{cell}\n" for cell in cells))
    with pytest.raises(ZooError, match="with a comma"):
        table.column("score")


def test_integers_beyond_64_bits_are_numbers(tmp_path: Path):
    assert read(tmp_path, "n\n99999999999999999999\n1\n").column("n").values == [1e20, 1.0]


def test_a_cell_with_a_line_break(tmp_path: Path):
    table = read(tmp_path, 'note,n\n"two\nlines",1\nb,x\nc,2\n')
    assert table.text("note") == ["two\nlines", "b", "c"]
    with pytest.raises(ZooError, match="'x', row 3"):
        table.column("n")
