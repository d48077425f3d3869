from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from sne.making import FAMILIES
from sne.making.families.space import sample
from sne.zoo import Split, Zoo, ZooError, ZooWriter, export_folder, import_zoo
from sne.zoo.exporting import tensors_as_they_came
from sne.zoo.store.layout import Slot, flatten


def deep(seed: int) -> dict[str, torch.Tensor]:
    """Twelve layers, so that their order is not that of their names."""
    torch.manual_seed(seed)
    return nn.Sequential(*[nn.Linear(3, 3) for _ in range(12)]).state_dict()


def conv(seed: int) -> dict[str, torch.Tensor]:
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(12, 2))
    model(torch.randn(4, 1, 4, 4))
    return model.state_dict()


def mixed(seed: int) -> dict[str, torch.Tensor]:
    """Types that a zoo keeps beside the values; an odd number of narrow entries before wide ones."""
    torch.manual_seed(seed)
    return {
        "0.weight": torch.randn(3, 5).half(), "0.bias": torch.randn(3).bfloat16(),
        "1.weight": torch.randn(2, 3), "1.bias": torch.randn(2).double(),
    }  # fmt: skip


STATES = [deep(0), deep(1), conv(2), conv(3), mixed(4), deep(5)]
KINDS = ["deep", "deep", "conv", "conv", "mixed", "deep"]
MIXED = 4
RUNS = ["/cns/r 0", "/cns/r 0", "r1", "r2", 'a "quoted", name', "007"]


def write(path: Path, storage: str = "float32") -> Zoo:
    split = Split(("/cns/r 0", "r2"), ('a "quoted", name',), ("r1", "007"))
    with ZooWriter(path, storage=storage, split=split) as writer:
        for i, state in enumerate(STATES):
            writer.add(
                id=f"{RUNS[i]}@{i}", run=RUNS[i], family=KINDS[i], dataset=("mnist", "1e3")[i % 2], step=10 * i,
                state=state,
                properties={
                    "test_accuracy": 0.1 * i if i != 3 else None, "test_loss": float(i), "diverged": i == 2,
                    "count": i, "note": ("plain", None, "a,b")[i % 3],
                },
                hyperparameters={"learning_rate": 3e-4 / (i + 1), "optimizer": "adam", "depth": 12 if i < 2 else None},
            )  # fmt: skip
    return Zoo.open(path)


def names_in(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


@pytest.mark.parametrize("files", ["safetensors", "pt"])
@pytest.mark.parametrize("storage", ["float32", "float16"])
def test_round_trip(tmp_path: Path, files: str, storage: str):
    """Same ids, columns, types, layouts and bits."""
    zoo = write(tmp_path / "zoo", storage)
    seen = []
    count = export_folder(zoo, tmp_path / "out", files=files, progress=lambda done, all: seen.append((done, all)))
    assert count == 6 and seen == [(i, 6) for i in range(1, 7)]
    back = import_zoo("folder", tmp_path / "out", tmp_path / "back", storage=storage)
    names = ["id", "run", "family", "dataset", "step", *zoo.property_names, *zoo.hyperparameter_names]
    assert len(names) == 13 and back.table.select(names).equals(zoo.table.select(names))
    assert back.property_names == zoo.property_names and back.hyperparameter_names == zoo.hyperparameter_names
    assert back.split == zoo.split
    for row, state in enumerate(STATES):
        if state is STATES[MIXED] and files == "safetensors":  # where wide types come first
            assert sorted(map(shape_and_type, back.layout(row).slots)) == sorted(
                map(shape_and_type, zoo.layout(row).slots)
            )
        else:
            assert back.layout(row) == zoo.layout(row) and bits(back.weights(row)) == bits(zoo.weights(row))
        a, b = zoo.network(row), back.network(row)
        assert [layer.name for layer in a.layers] == [layer.name for layer in b.layers]
        assert all(bits(a.source.load(name)) == bits(b.source.load(name)) for name in a.source.infos)


def bits(tensor: torch.Tensor) -> bytes:
    return tensor.numpy().tobytes()


def shape_and_type(slot: Slot) -> tuple:
    return slot.name, slot.shape, slot.dtype


def test_files_are_what_others_read(tmp_path: Path):
    export_folder(write(tmp_path / "zoo"), tmp_path / "out")
    lines = (tmp_path / "out" / "zoo.csv").read_text().splitlines()
    assert lines[0].startswith("path,id,run,family,dataset,step,test_accuracy,test_loss,diverged,count,note,config.")
    assert lines[1].startswith("networks/000/000000.safetensors,/cns/r 0@0,/cns/r 0,deep,mnist,0,0.0,0.0,False,0,plain")
    for number, state in enumerate(STATES):
        read = load_file(tmp_path / "out" / "networks" / "000" / f"{number:06d}.safetensors")
        kept = {name: value for name, value in state.items() if value.is_floating_point()}
        assert set(read) == set(kept)
        assert all(read[name].dtype == value.dtype for name, value in kept.items())
        assert all(torch.equal(read[name].float(), value.float()) for name, value in kept.items())


def test_torch_files(tmp_path: Path):
    export_folder(write(tmp_path / "zoo"), tmp_path / "out", files="pt")
    path = tmp_path / "out" / "networks" / "000" / "000000.pt"
    read = torch.load(path, weights_only=True)
    assert list(read) == list(STATES[0]) and all(torch.equal(read[name], STATES[0][name]) for name in read)
    assert path.stat().st_size < 20_000  # each tensor for itself, not the whole vector with each


def test_choosing(tmp_path: Path):
    zoo = write(tmp_path / "zoo")
    assert export_folder(zoo, tmp_path / "test", split="test", families=["deep", "conv"]) == 2
    back = import_zoo("folder", tmp_path / "test", tmp_path / "back")
    assert back.ids == ["r1@2", "007@5"] and back.split == Split((), (), ("r1", "007"))
    assert torch.equal(back.weights(1), zoo.weights(5))
    assert export_folder(zoo, tmp_path / "conv", families=["conv"]) == 2


def test_without_a_split(tmp_path: Path):
    write(tmp_path / "zoo")
    (tmp_path / "zoo" / "split.json").unlink()
    zoo = Zoo.open(tmp_path / "zoo")
    export_folder(zoo, tmp_path / "out")
    assert not (tmp_path / "out" / "split.json").exists()
    with pytest.raises(ZooError, match=r"has no split\.json, so that there are no networks for 'test'"):
        export_folder(zoo, tmp_path / "test", split="test")


@pytest.mark.parametrize(
    "choice, message",
    [
        ({"files": "onnx"}, "files 'onnx' is not known, expected one of safetensors, pt"),
        ({"split": "dev"}, "split 'dev' is not known"),
        ({"families": ["vgg"]}, "no networks of family 'vgg'; it has conv, deep, mixed"),
        ({"families": []}, "no networks of these families in"),
    ],
)
def test_bad_choices(tmp_path: Path, choice: dict, message: str):
    with pytest.raises(ZooError, match=message):
        export_folder(write(tmp_path / "zoo"), tmp_path / "out", **choice)
    assert names_in(tmp_path) == ["zoo"]


def test_nothing_is_overwritten(tmp_path: Path):
    zoo = write(tmp_path / "zoo")
    (tmp_path / "out").mkdir()
    export_folder(zoo, tmp_path / "out")  # an empty folder will do
    before = (tmp_path / "out" / "zoo.csv").read_bytes()
    (tmp_path / "file").write_text("x")
    for place in ("out", "file", "zoo"):
        with pytest.raises(ZooError, match=f"{place} exists already"):
            export_folder(zoo, tmp_path / place, families=["conv"])
    assert (tmp_path / "out" / "zoo.csv").read_bytes() == before


def test_an_export_that_fails_leaves_nothing(tmp_path: Path):
    write(tmp_path / "zoo")
    shard = next((tmp_path / "zoo").glob("weights-*"))
    shard.unlink()
    with pytest.raises(ZooError, match=shard.name):
        export_folder(Zoo.open(tmp_path / "zoo"), tmp_path / "out")
    assert names_in(tmp_path) == ["zoo"]

    def interrupt(done: int, _: int):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export_folder(write(tmp_path / "whole"), tmp_path / "out", progress=interrupt)
    assert names_in(tmp_path) == ["whole", "zoo"]


def test_a_property_called_path(tmp_path: Path):
    with ZooWriter(tmp_path / "zoo") as writer:
        writer.add(
            id="a", run="a", family="f", dataset="d", step=0, state=conv(0), properties={"path": "x"},
            hyperparameters={},
        )  # fmt: skip
    with pytest.raises(ZooError, match="'path' cannot be exported"):
        export_folder(Zoo.open(tmp_path / "zoo"), tmp_path / "out")


def test_types_return_only_where_no_value_changes():
    layout, vector = flatten({"a": torch.ones(2).half(), "b": torch.ones(2).half(), "c": torch.ones(2).double()})
    vector[3] = 1e-9
    tensors = tensors_as_they_came(layout, vector)
    assert [tensors[name].dtype for name in "abc"] == [torch.float16, torch.float32, torch.float64]
    assert torch.equal(torch.cat([tensor.float() for tensor in tensors.values()]), vector)


def test_networks_of_every_family_come_back(tmp_path: Path):
    rng = np.random.default_rng(0)
    with ZooWriter(tmp_path / "zoo") as writer:
        for name, family in FAMILIES.items():
            hyperparameters = sample(family.space, rng)
            if family.elaborate is not None:
                hyperparameters |= family.elaborate(hyperparameters, rng)
            writer.add(
                id=name, run=name, family=name, dataset="d", step=0, properties={}, hyperparameters={},
                state=family.module(hyperparameters, (1, 28, 28), 10).state_dict(),
            )  # fmt: skip
    zoo = Zoo.open(tmp_path / "zoo")
    export_folder(zoo, tmp_path / "out")
    back = import_zoo("folder", tmp_path / "out", tmp_path / "back")
    assert back.families == list(FAMILIES)
    for row in range(len(zoo)):
        assert back.layout(row) == zoo.layout(row) and bits(back.weights(row)) == bits(zoo.weights(row))
