"""`sne map`."""

from pathlib import Path

import pytest
import torch
from report.map_cases import islands

from sne.report.map_data import MapData


@pytest.fixture
def table(tmp_path):
    islands().write(tmp_path / "in.parquet")
    return tmp_path / "in.parquet"


def test_a_map_of_checkpoints(sne_command, checkpoints, tmp_path):
    (checkpoints / "broken.pt").write_bytes(b"no checkpoint")
    out, kept = tmp_path / "map.html", tmp_path / "map.parquet"
    done = sne_command("map", checkpoints, "--out", out, "--table", kept, "--no-lineage", "--json")
    (summary,) = done.json()
    assert done.status == 2 and "broken.pt" in done.err and summary["failed"] == 1
    assert summary["networks"] == 3 and summary["out"] == [str(out), str(kept)] and summary["edges"] == 0
    assert out.stat().st_size > 1_000_000
    again = sne_command("map", kept, "--out", out, "--layout", "pca")
    assert again.status == 0 and again.out == f"{out}: 3 networks, 0 clusters\n"


def test_health_is_a_property(sne_command, checkpoints, tmp_path):
    state = {"0.weight": torch.zeros(8, 4), "0.bias": torch.ones(8), "1.weight": torch.full((3, 8), 1e12)}
    torch.save(state, checkpoints / "sick.pt")
    kept = tmp_path / "map.parquet"
    options = ("--no-lineage", "--table", kept, "--out", tmp_path / "map.html", "--colour", "health", "--layout", "pca")
    done = sne_command("map", checkpoints, *options)
    assert done.status == 2 and "no property 'health'" in done.err
    done = sne_command("map", checkpoints, *options, "--health")
    assert done.status == 0, done.err
    data = MapData.read(kept)
    found = {name.rpartition("/")[2]: row for row, name in enumerate(data.names)}
    health, findings = (data.find(name).values[found["sick.pt"]] for name in ("health", "findings"))
    assert health == "broken" and findings == "zero: 0.weight; scale: 1.weight; constant: 1.weight"
    assert set(data.find("health").values) > {"broken"} and len(data) == 4
    assert sne_command("index", checkpoints, "--out", tmp_path / "i").status == 0
    again = tmp_path / "again.parquet"
    assert sne_command("map", tmp_path / "i", "--no-lineage", "--table", again, "--health").status == 0
    of_index = MapData.read(again)
    assert dict(zip(of_index.names, of_index.find("health").values, strict=True)) == dict(
        zip(data.names, data.find("health").values, strict=True)
    )
    (checkpoints / "sick.pt").unlink()
    done = sne_command("map", tmp_path / "i", "--no-lineage", "--table", again, "--health")
    assert done.status == 2 and "sne: 1 of 4 files skipped\n" in done.err
    done = sne_command("map", kept, "--no-lineage", "--table", again, "--health")
    assert done.status == 0 and "the file of 1 network is gone; its health is taken from the table" in done.err
    assert list(MapData.read(again).find("health").values) == list(data.find("health").values)
    damaged = next(name for name in data.names if not name.endswith("sick.pt"))
    Path(damaged).write_bytes(b"nothing")
    done = sne_command("map", kept, "--no-lineage", "--table", again, "--health")
    assert done.status == 2 and damaged in done.err
    expected = {**dict(zip(data.names, data.find("health").values, strict=True)), damaged: None}
    of_damaged = MapData.read(again)
    assert dict(zip(of_damaged.names, of_damaged.find("health").values, strict=True)) == expected


def test_a_map_of_a_table(sne_command, table, tmp_path):
    done = sne_command("map", table, "--static", tmp_path / "map.svg", "--layout", "pca", "--color", "family")
    assert done.status == 0 and done.out == f"{tmp_path / 'map.svg'}: 90 networks, 3 clusters\n"
    assert "family-0" in (tmp_path / "map.svg").read_text() or (tmp_path / "map.svg").stat().st_size > 10_000


@pytest.mark.parametrize(
    "options, reason",
    [
        ([], "nothing to write; name a page"),
        (["--out", "map.png"], "expected a name that ends in .html"),
        (["--static", "map.html"], "expected a name that ends in .png, .pdf, .svg"),
        (["--table", "map.csv"], "expected a name that ends in .parquet"),
        (["--out", "map.html", "--layout", "circle"], "layout 'circle', expected tsne, umap, pca"),
        (["--out", "map.html", "--colour", "speed"], "no property 'speed'; known are family"),
        (["--out", "map.html", "--edges", "nothing.json"], "nothing.json: no such file"),
    ],
)
def test_mistakes_are_one_line(sne_command, table, monkeypatch, tmp_path, options, reason):
    monkeypatch.chdir(tmp_path)
    done = sne_command("map", table, *options)
    assert done.status == 2 and done.out == "" and reason in done.err and len(done.err.splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["in.parquet"]


def test_an_empty_table_is_told(sne_command, tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    kinds = {"path": pa.string(), "embedding": pa.list_(pa.float32(), 4)}
    pq.write_table(pa.table({name: pa.array([], kind) for name, kind in kinds.items()}), tmp_path / "e.parquet")
    assert len(MapData.read(tmp_path / "e.parquet")) == 0
    done = sne_command("map", tmp_path / "e.parquet", "--out", tmp_path / "map.html")
    assert done.status == 2 and "no network can be read" in done.err


def test_files_that_cannot_be_read_are_named_where_none_can(sne_command, tmp_path):
    (tmp_path / "broken.pt").write_bytes(b"no checkpoint")
    done = sne_command("map", tmp_path / "broken.pt", "--out", tmp_path / "map.html")
    first, last = done.err.splitlines()
    assert done.status == 2 and "broken.pt" in first and "no network can be read" in last


def test_files_that_cannot_be_read_do_not_hide_another_mistake(sne_command, tmp_path):
    torch.save(torch.nn.Linear(3, 2).state_dict(), tmp_path / "good.pt")
    (tmp_path / "empty.pt").write_bytes(b"")
    done = sne_command("map", tmp_path, "--out", tmp_path / "map.html", "--colour", "speed", "--no-lineage")
    first, last = done.err.splitlines()
    assert done.status == 2 and "the file is empty" in first and "no property 'speed'" in last
