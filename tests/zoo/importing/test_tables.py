import gzip

import pytest

from sne.zoo import ZooError
from sne.zoo.importing.tables import read_table


def test_types(tmp_path):
    (tmp_path / "t.csv").write_text(
        "\ufeffpath, n,x,flag,mixed,empty\na.pt,1,0.5,True,7,\nb.pt,,nan,false,seven,\n\n", encoding="utf-8"
    )
    assert read_table(tmp_path / "t.csv") == {
        "path": ["a.pt", "b.pt"],
        "n": [1, None],
        "x": [0.5, None],
        "flag": [True, False],
        "mixed": ["7", "seven"],
        "empty": [None, None],
    }


def test_gzipped(tmp_path):
    with gzip.open(tmp_path / "t.csv.gz", "wt") as file:
        file.write("a,b\n1,2\n")
    assert read_table(tmp_path / "t.csv.gz") == {"a": [1], "b": [2]}


@pytest.mark.parametrize(
    "text, message",
    [("", "is empty"), ("a,a\n1,2\n", "twice"), ("a,b\n1,2\n3\n", "line 3 has 1 entries, expected 2")],
)
def test_mistakes(tmp_path, text, message):
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(ZooError, match=message):
        read_table(tmp_path / "t.csv")


def test_broken_archive(tmp_path):
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress(b"a,b\n1,2\n" * 50)[:30])
    with pytest.raises(ZooError, match="cannot be read"):
        read_table(tmp_path / "t.csv.gz")


def test_names_that_look_like_numbers_stay_names(tmp_path):
    (tmp_path / "t.csv").write_text("run,n,tag\n007,7,1_2\n1e3,8,12\n")
    assert read_table(tmp_path / "t.csv", text=("run",)) == {"run": ["007", "1e3"], "n": [7, 8], "tag": ["1_2", "12"]}
