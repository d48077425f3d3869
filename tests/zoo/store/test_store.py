import json
import math
import textwrap
import zlib
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.numpy import load_file
from safetensors.torch import load_file as load_torch

from sne.zoo import Split, Zoo, ZooError, ZooWriter, summarise
from sne.zoo.store.layout import flatten
from sne.zoo.store.shards import checksum


def write(path, count=6, **options):
    generator = torch.Generator().manual_seed(0)
    states = []
    with ZooWriter(path, **options) as writer:
        for i in range(count):
            width = 3 + i % 2
            state = {
                "0.weight": torch.randn(width, 2, generator=generator),
                "0.bias": torch.randn(width, generator=generator),
            }
            states.append(state)
            writer.add(
                id=f"n{i}", run=f"r{i // 2}", family="mlp", dataset="toy", step=i, state=state,
                properties={"test_accuracy": i / 10, "test_loss": math.nan if i == 1 else 1.0, "ok": i > 2},
                hyperparameters={"learning_rate": 0.1, "name": "x"} if i else {"depth": 2},
            )  # fmt: skip
    return states


def test_round_trip(tmp_path):
    states = write(tmp_path / "zoo")
    zoo = Zoo.open(tmp_path / "zoo")
    assert len(zoo) == 6 and zoo.ids[3] == "n3" and zoo.runs[3] == "r1" and zoo.families == ["mlp"] * 6
    assert zoo.property_names == ["test_accuracy", "test_loss", "ok"]
    assert zoo.hyperparameter_names == ["config.depth", "config.learning_rate", "config.name"]
    for network, state in zip(zoo.networks(range(6)), states, strict=True):
        assert set(network.source.infos) == set(state)
        for name, tensor in state.items():
            assert torch.equal(network.source.load(name), tensor)
        parts = {part.tensor: network.read(part) for _, part in network.parts()}
        assert torch.equal(parts["0.weight"][:, :, 0], state["0.weight"])
    assert zoo.network(0).layers is zoo.network(2).layers
    assert zoo.network(0).layers is not zoo.network(1).layers


def test_columns(tmp_path):
    write(tmp_path / "zoo")
    zoo = Zoo.open(tmp_path / "zoo")
    accuracy = zoo.column("test_accuracy")
    assert accuracy.dtype == np.float64 and accuracy.tolist() == [0.0, 0.1, 0.2, 0.3, 0.4, 0.5]
    assert np.isnan(zoo.column("test_loss")).tolist() == [False, True, False, False, False, False]
    assert zoo.column("ok").tolist() == [0, 0, 0, 1, 1, 1]
    assert zoo.column("step").tolist() == [0, 1, 2, 3, 4, 5]
    names = zoo.column("config.name")
    assert names.dtype == object and names[0] is None and names[1] == "x"
    with pytest.raises(ZooError, match="'accuracy'; it has test_accuracy"):
        zoo.column("accuracy")


def test_readable_with_pyarrow_and_safetensors_alone(tmp_path):
    states = write(tmp_path / "zoo")
    rows = pq.read_table(tmp_path / "zoo" / "networks.parquet").to_pylist()
    layouts = json.loads((tmp_path / "zoo" / "layouts.json").read_text())
    for row, state in zip(rows, states, strict=True):
        joined = load_file(tmp_path / "zoo" / row["shard"])["weights"]
        vector = joined[row["offset"] : row["offset"] + sum(len(v.flatten()) for v in state.values())]
        assert f"{zlib.crc32(vector.tobytes()):08x}" == row["checksum"]
        for slot in layouts[row["layout"]]:
            end = slot["offset"] + math.prod(slot["shape"])
            values = vector[slot["offset"] : end].reshape(slot["shape"])
            assert np.array_equal(values, state[slot["name"]].numpy())


@pytest.mark.parametrize("storage", ["float32", "bfloat16"])
def test_the_documented_way_to_read_it(tmp_path, monkeypatch, storage):
    document = (Path(__file__).parents[3] / "docs" / "zoos.md").read_text()
    _, _, rest = document.partition("It needs nothing of `sne` to be read:\n\n")
    code = textwrap.dedent(rest.partition("\nWeights are")[0])
    states = write(tmp_path / "my_zoo", storage=storage)
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    exec(code.replace("rows[0]", "rows[3]"), names)
    assert set(names["tensors"]) == set(states[3])
    for name, tensor in states[3].items():
        assert torch.equal(names["tensors"][name], tensor.to(getattr(torch, storage)))


@pytest.mark.parametrize("storage", ["float32", "float16", "bfloat16"])
def test_shards_and_storage(tmp_path, storage):
    size = 42 if storage != "float32" else 84
    states = write(tmp_path / "zoo", storage=storage, shard_bytes=size)
    zoo = Zoo.open(tmp_path / "zoo")
    dtype = getattr(torch, storage)
    assert len(set(zoo.column("shard"))) == 3 and zoo.stored(0).dtype == dtype
    for row, (network, state) in enumerate(zip(zoo.networks(range(6)), states, strict=True)):
        loaded = network.source.load("0.weight")
        assert loaded.dtype == torch.float32 and torch.equal(loaded, state["0.weight"].to(dtype).float())
        assert zoo.weights(row).dtype == torch.float32 and checksum(zoo.stored(row)) == zoo.column("checksum")[row]
        safetensors_alone = load_torch(tmp_path / "zoo" / zoo.column("shard")[row])["weights"]
        start = int(zoo.column("offset")[row])
        assert torch.equal(safetensors_alone[start : start + zoo.num_weights(row)], zoo.stored(row))


def test_many_rows_at_once(tmp_path):
    write(tmp_path / "zoo", shard_bytes=60, storage="bfloat16")
    zoo = Zoo.open(tmp_path / "zoo")
    rows = [4, 1, 0, 5, 4]
    vectors, starts = zoo.weight_rows(np.array(rows))
    assert vectors.dtype == torch.float32 and starts[-1] == len(vectors)
    for place, row in enumerate(rows):
        assert torch.equal(vectors[starts[place] : starts[place + 1]], zoo.weights(row))
    matrix = zoo.weight_rows([0, 2, 4])[0].view(3, -1)
    assert torch.equal(matrix[1], zoo.weights(2))
    empty, starts = zoo.weight_rows([])
    assert len(empty) == 0 and starts.tolist() == [0]


def test_what_is_read_may_be_changed_and_the_zoo_stays(tmp_path):
    states = write(tmp_path / "zoo")
    zoo = Zoo.open(tmp_path / "zoo")
    zoo.weights(0).zero_()
    zoo.network(0).source.load("0.weight").zero_()
    zoo.weight_rows([0])[0].zero_()
    assert torch.equal(zoo.weights(0)[:6].view(3, 2), states[0]["0.weight"])


def test_what_is_added_may_be_changed_afterwards(tmp_path):
    vector = torch.ones(3)
    layout, _ = flatten({"a": vector})
    with ZooWriter(tmp_path / "zoo") as writer:
        for i in range(2):
            vector.fill_(i)
            writer.add_flat(
                id=str(i), run="r", family="f", dataset="d", step=0, layout=layout, vector=vector, properties={},
                hyperparameters={},
            )  # fmt: skip
    assert [Zoo.open(tmp_path / "zoo").weights(i)[0] for i in range(2)] == [0, 1]


def test_durations_stand_beside_the_index(tmp_path):
    for name, seconds in (("one", 1.5), ("two", 2.5)):
        with ZooWriter(tmp_path / name) as writer:
            add(writer, "a", torch.ones(2), wall_time=seconds, score=1)
            add(writer, "b", torch.ones(2), score=2)
    zoo = Zoo.open(tmp_path / "one")
    assert sorted(zoo.property_names) == ["score", "wall_time"]
    assert np.array_equal(zoo.column("wall_time"), [1.5, np.nan], equal_nan=True)
    assert pq.read_table(tmp_path / "one" / "timings.parquet").to_pylist() == [{"id": "a", "wall_time": 1.5}]
    same = [
        path.name for path in (tmp_path / "one").iterdir()
        if path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()
    ]  # fmt: skip
    assert sorted(same) == [
        "layouts.json", "networks.copy.parquet", "networks.parquet", "weights-00000.safetensors",
    ]  # fmt: skip


def test_opening_reads_no_weights(tmp_path):
    write(tmp_path / "zoo")
    (tmp_path / "zoo" / "weights-00000.safetensors").unlink()
    zoo = Zoo.open(tmp_path / "zoo")
    assert zoo.network(0).num_weights == 9 and zoo.num_weights(1) == 12
    with pytest.raises(ZooError, match="weights-00000"):
        zoo.weights(0)


def test_a_damaged_layout_hurts_its_networks_alone(tmp_path):
    write(tmp_path / "zoo")
    path = tmp_path / "zoo" / "layouts.json"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join([lines[0], lines[1].replace("[", "{"), *lines[2:]]))
    zoo = Zoo.open(tmp_path / "zoo")
    with pytest.raises(ZooError, match=r"layouts\.json has no layout"):
        zoo.network(0)
    assert zoo.network(1).num_weights == 12 and summarise(zoo)["families"][0]["weights"] == [0, 12]


def test_same_rows_same_bytes(tmp_path):
    for name in ("one", "two"):
        write(tmp_path / name, shard_bytes=60)
    files = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert files == sorted(path.name for path in (tmp_path / "two").iterdir())
    assert "networks.parquet" in files and len(files) > 3
    for name in files:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_nothing_appears_when_writing_fails(tmp_path):
    with pytest.raises(RuntimeError, match="power cut"), ZooWriter(tmp_path / "zoo", shard_bytes=1) as writer:
        for i in range(3):
            add(writer, f"n{i}", torch.ones(3))
        raise RuntimeError("power cut")
    assert not (tmp_path / "zoo").exists()


def add(writer, name, tensor, **properties):
    writer.add(
        id=name, run="r", family="f", dataset="d", step=0, state={"a": tensor},
        properties=properties, hyperparameters={},
    )  # fmt: skip


def test_bad_rows_are_refused(tmp_path):
    with ZooWriter(tmp_path / "zoo") as writer:
        add(writer, "n", torch.ones(3))
        for name, tensor, properties, message in [
            ("n", torch.ones(3), {}, "given twice"),
            ("m", torch.tensor([1.0, math.nan]), {}, "NaN"),
            ("m", torch.tensor([1.0, 1e6]), {}, "65504"),
            ("m", torch.tensor([3]), {}, "0 weights"),
            ("m", torch.ones(1), {"shard": 1}, "'shard'"),
            ("m", torch.ones(1), {"config.x": 1}, r"'config\.x'"),
        ]:
            with pytest.raises(ZooError, match=message):
                add(writer, name, tensor, **properties)
    assert Zoo.open(tmp_path / "zoo").ids == ["n"]


def test_a_zoo_or_other_files_are_left_alone(tmp_path):
    write(tmp_path / "zoo")
    before = (tmp_path / "zoo" / "networks.parquet").read_bytes()
    with pytest.raises(ZooError, match="holds a zoo already"):
        ZooWriter(tmp_path / "zoo")
    assert (tmp_path / "zoo" / "networks.parquet").read_bytes() == before
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("x")
    with pytest.raises(ZooError, match="other files"):
        ZooWriter(tmp_path / "mine")
    with pytest.raises(ZooError, match="is a file"):
        ZooWriter(tmp_path / "mine" / "thesis.tex")
    with pytest.raises(ZooError, match="float8"):
        ZooWriter(tmp_path / "new", storage="float8")


def test_split_is_carried(tmp_path):
    split = Split(("r0",), ("r1",), ("r2",))
    write(tmp_path / "zoo", split=split)
    assert Zoo.open(tmp_path / "zoo").split == split
    write(tmp_path / "without")
    assert Zoo.open(tmp_path / "without").split is None


def damage_index(path):
    for name in ("networks.parquet", "networks.copy.parquet"):
        (path / name).write_bytes((path / name).read_bytes()[:100])


def drop_column(path):
    table = pq.read_table(path / "networks.parquet").drop_columns(["shard"])
    pq.write_table(table, path / "networks.parquet")


@pytest.mark.parametrize(
    "damage, message",
    [
        (lambda p: (p / "networks.parquet").unlink(), "is not a zoo"),
        (damage_index, "cannot be read"),
        (drop_column, "'shard'"),
        (lambda p: (p / "layouts.json").write_text("{"), "layouts.json cannot be read"),
        (lambda p: (p / "layouts.json").write_text("[]"), "expected an object"),
        (lambda p: (p / "split.json").write_text("[]"), "split.json"),
    ],
)
def test_bad_folders_are_refused(tmp_path, damage, message):
    write(tmp_path / "zoo")
    damage(tmp_path / "zoo")
    with pytest.raises(ZooError, match=message):
        Zoo.open(tmp_path / "zoo")


def test_a_hurt_shard_hurts_its_networks_alone(tmp_path):
    write(tmp_path / "zoo", shard_bytes=80)
    zoo = Zoo.open(tmp_path / "zoo")
    shards = list(zoo.column("shard"))
    hurt = tmp_path / "zoo" / shards[0]
    hurt.write_bytes(hurt.read_bytes()[:50])
    with pytest.raises(ZooError, match=shards[0]):
        zoo.network(0).source.load("0.weight")
    assert zoo.network(5).source.load("0.weight").shape == (4, 2)


def test_a_shard_outside_the_folder_is_refused(tmp_path):
    write(tmp_path / "zoo")
    table = pq.read_table(tmp_path / "zoo" / "networks.parquet")
    place = table.column_names.index("shard")
    table = table.set_column(place, "shard", [["../elsewhere.safetensors"] * len(table)])
    pq.write_table(table, tmp_path / "zoo" / "networks.parquet")
    with pytest.raises(ZooError, match="plain file name"):
        Zoo.open(tmp_path / "zoo").weights(0)


def test_a_property_of_numbers_and_text_is_refused(tmp_path):
    with pytest.raises(ZooError, match=r"column x: 2 numbers, 1 text \('n/a', network b\)"):
        with ZooWriter(tmp_path / "zoo") as writer:
            for name, value in (("a", 1), ("b", "n/a"), ("c", 0.5)):
                add(writer, name, torch.ones(1), x=value)
    assert not (tmp_path / "zoo").exists()


def test_repr(tmp_path):
    write(tmp_path / "zoo")
    assert repr(Zoo.open(tmp_path / "zoo")) == (
        f"Zoo('{tmp_path / 'zoo'}': 6 networks, 3 runs, families: mlp; properties: test_accuracy, test_loss, ok)"
    )
