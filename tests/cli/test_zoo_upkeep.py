"""`sne zoo verify`, `merge` and `append`, and what a full disk leaves."""

import json
from pathlib import Path

import pytest
from small_disk import small_disk
from small_zoos import contents, write_zoo

from sne.zoo import Zoo, export_folder


@pytest.fixture
def first(tmp_path: Path) -> Path:
    write_zoo(tmp_path / "first", shard_bytes=100)
    return tmp_path / "first"


@pytest.fixture
def second(tmp_path: Path) -> Path:
    write_zoo(tmp_path / "second", name="g", family="gru")
    return tmp_path / "second"


def test_verify(sne_zoo, first: Path):
    result = sne_zoo("verify", first)
    assert "intact, 6 networks" in result.out and "networks: 6/6" in result.err
    (first / "weights-00001.safetensors").unlink()
    result = sne_zoo("verify", first, status=1)
    for part in (
        "2 of 6 networks damaged",
        "weights-00001.safetensors: is missing (2 networks)",
        "n2",
        "n-run1",
        "mlp",
    ):
        assert part in result.out
    report = json.loads(sne_zoo("verify", first, "--json", status=1).out)
    assert report["intact"] is False and [n["id"] for n in report["damaged"]] == ["n2", "n3"]
    for index in (first / "networks.parquet", first / "networks.copy.parquet"):
        index.write_bytes(index.read_bytes()[:-9])
    result = sne_zoo("verify", first, status=2)
    assert result.out == "" and len(result.err.splitlines()) == 1 and "layouts.json are not affected" in result.err


def test_verify_shows_people_the_first(sne_zoo, tmp_path: Path):
    write_zoo(tmp_path / "zoo", count=30)
    (tmp_path / "zoo" / "weights-00000.safetensors").unlink()
    assert "and 10 more; --json lists all" in sne_zoo("verify", tmp_path / "zoo", status=1).out
    assert len(json.loads(sne_zoo("verify", tmp_path / "zoo", "--json", status=1).out)["damaged"]) == 30


def test_merge_and_append(sne_zoo, first: Path, second: Path, tmp_path: Path):
    summary = json.loads(sne_zoo("merge", tmp_path / "both", first, second, "--json").out)
    assert summary["networks"] == 12 and [f["family"] for f in summary["families"]] == ["mlp", "gru"]
    assert "12 networks of 6 runs" in sne_zoo("append", first, second).out
    assert Zoo.open(first).ids == Zoo.open(tmp_path / "both").ids
    before = contents(first)
    result = sne_zoo("append", first, second, status=2)
    assert "; --prefix puts the name of the folder before ids and runs" in result.err and contents(first) == before
    assert json.loads(sne_zoo("append", first, second, "--prefix", "--json").out)["networks"] == 18


@pytest.mark.parametrize(
    "words, message",
    [
        (["merge", "FIRST", "SECOND"], "holds a zoo already"),
        (["merge", "OUT", "FIRST", "FIRST"], "the id 'n0' is in"),
        (["append", "OUT", "FIRST"], "is not a zoo"),
        (["verify", "OUT"], "is not a zoo"),
    ],
)
def test_mistakes_are_one_line(sne_zoo, first: Path, second: Path, tmp_path: Path, words, message):
    before = contents(first)
    places = {"OUT": tmp_path / "out", "FIRST": first, "SECOND": second}
    result = sne_zoo(*(places.get(word, word) for word in words), status=2)
    assert result.out == "" and len(result.err.strip().splitlines()) == 1 and message in result.err
    assert contents(first) == before and not (tmp_path / "out").exists()


@pytest.mark.parametrize("command", ["merge", "append", "import", "export", "export-pt"])
def test_a_full_disk_leaves_what_was_there(sne_zoo, first: Path, tmp_path: Path, command: str):
    large = tmp_path / "large"
    write_zoo(large, name="l", width=2000, count=6)
    export_folder(Zoo.open(large), tmp_path / "files")
    before, out = contents(first), tmp_path / "out"
    words = {
        "merge": ["merge", out, first, large],
        "append": ["append", first, large],
        "import": ["import", "folder", tmp_path / "files", out],
        "export": ["export", "folder", large, out],
        "export-pt": ["export", "folder", large, out, "--files", "pt"],
    }
    with small_disk(20_000):
        result = sne_zoo(*words[command], status=2)
    last = result.err.splitlines()[-1]
    assert last.startswith("sne: cannot write ") and "file too large" in last and result.out == ""
    assert contents(first) == before and not out.exists()
    assert not list(tmp_path.rglob("*.partial")) and not list(tmp_path.rglob(".writing"))


@pytest.mark.parametrize("command", ["verify", "merge", "append"])
def test_help_ends_with_an_example(sne_zoo, command: str):
    assert f"sne zoo {command}" in sne_zoo(command, "--help").out.strip().splitlines()[-1]
