"""On a fixture in the layout that the authors' training script writes: tensors, coef, and NumPy arrays."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from imported_proof import prove
from torch import nn

from sne.zoo import Split, ZooError, import_zoo


class Siren(nn.Module):
    def __init__(self):
        super().__init__()
        self.seq = nn.Sequential(nn.Linear(1, 32), nn.Linear(32, 32), nn.Linear(32, 1))

    def forward(self, x):
        for layer in self.seq[:-1]:
            x = torch.sin(30 * layer(x))
        return self.seq[-1](x)


def state(seed: int) -> dict:
    torch.manual_seed(seed)
    return Siren().state_dict()


def save(path: Path, seed: int, **extra):
    values = state(seed)
    x = np.arange(-np.pi, np.pi, np.pi / 10)
    for name, value in ({"coef": [2.0, seed + 0.5], "x": x, "y": 2.0 * np.sin((seed + 0.5) * x)} | extra).items():
        values[name] = value
    torch.save({name: value for name, value in values.items() if value is not None}, path)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "dataset" / "ssl-inrs"
    (folder / "more").mkdir(parents=True)
    for seed in range(3):
        save(folder / f"model_{seed}.pth", seed)
    save(folder / "more" / "model_0.pth", 7)
    split = {
        "train": ["dataset/ssl-inrs/model_0.pth", "dataset/ssl-inrs/more/model_0.pth"],
        "test": ["dataset/ssl-inrs/model_2.pth"],
        "val": ["dataset/ssl-inrs/model_1.pth"],
    }
    (tmp_path / "dataset" / "ssl_splits.json").write_text(json.dumps(split))
    (tmp_path / "dataset" / "statistics.json").write_text("{}")
    return folder


def test_rows(source: Path, tmp_path: Path):
    lines = []
    zoo = import_zoo("sine-inr", source, tmp_path / "zoo", report=lines.append)
    assert zoo.ids == zoo.runs == ["model_0.pth", "model_1.pth", "model_2.pth", "more/model_0.pth"]
    assert zoo.property_names == ["amplitude", "frequency"] and lines == []
    assert zoo.column("amplitude").tolist() == [2.0] * 4 and zoo.column("frequency").tolist() == [0.5, 1.5, 2.5, 7.5]
    assert zoo.families == ["sine_inr"] * 4 and set(zoo.column("dataset")) == {"sine"}
    assert zoo.split is not None
    assert [zoo.split.rows(zoo.runs, piece).tolist() for piece in ("train", "val", "test")] == [[0, 3], [1], [2]]
    for row, seed in enumerate((0, 1, 2, 7)):
        network = zoo.network(row)
        assert list(network.source.infos) == list(state(seed)) and len(network.layers) == 3
        assert all(torch.equal(network.source.load(name), value) for name, value in state(seed).items())


def test_symmetries(source: Path, tmp_path: Path):
    save(source / "model_0.pth", 0, x=torch.ones(20), y=torch.ones(5, 4))  # no part of the network
    zoo = import_zoo("sine-inr", source, tmp_path / "zoo")
    points = torch.linspace(-1, 1, 9, dtype=torch.float64)[:, None]
    for row in range(4):
        assert prove(zoo, row, Siren(), points) == {f"between.{i}": ("permutation", "sign") for i in range(2)}
    assert len(zoo.symmetries) == 1 and zoo.symmetry(0) is zoo.symmetry(3)


def test_neither_the_arrays_nor_the_label_become_weights(source: Path, tmp_path: Path):
    """Where they are tensors they could be taken for layers, and tell the answer."""
    save(source / "model_0.pth", 0, coef=torch.tensor([3.0, 4.0]), x=torch.ones(20), y=torch.ones(5, 4))
    zoo = import_zoo("sine-inr", source, tmp_path / "zoo")
    assert zoo.column("frequency")[0] == 4.0 and zoo.column("amplitude")[0] == 3.0
    assert list(zoo.network(0).source.infos) == list(state(0))


def test_one_coefficient_is_a_frequency(source: Path, tmp_path: Path):
    save(source / "model_0.pth", 0, coef=[6.5])
    zoo = import_zoo("sine-inr", source, tmp_path / "zoo")
    assert zoo.column("frequency")[0] == 6.5 and np.isnan(zoo.column("amplitude")[0])


def test_labels_of_the_split(source: Path, tmp_path: Path):
    """The form of the authors' image INRs: paths of another machine, and a label for each."""
    for seed in range(3):
        save(source / f"model_{seed}.pth", seed, coef=None)
    (source / "more" / "model_0.pth").unlink()
    files = {"train": [0], "val": [1], "test": [2]}
    split = {
        piece: {"path": [f"/data/x/ssl-inrs/model_{i}.pth" for i in seeds], "label": [str(i) for i in seeds]}
        for piece, seeds in files.items()
    }
    (source / "mnist_splits.json").write_text(json.dumps(split))
    zoo = import_zoo("sine-inr", source / "mnist_splits.json", tmp_path / "zoo", dataset="mnist")
    assert zoo.property_names == ["label"] and zoo.column("label").tolist() == ["0", "1", "2"]
    assert zoo.split is not None and zoo.split.val == ("model_1.pth",) and set(zoo.column("dataset")) == {"mnist"}


class Touch:
    def __init__(self, path: str):
        self.path = path

    def __reduce__(self):
        return Path.touch, (Path(self.path),)


def test_bad_files(source: Path, tmp_path: Path):
    marker = tmp_path / "executed"
    save(source / "model_0.pth", 0, coef=Touch(str(marker)))
    save(source / "model_1.pth", 1, coef=[1.0, 2.0, 3.0])
    save(source / "model_2.pth", 2, coef=["loud"])
    save(source / "more" / "model_0.pth", 7, coef=None)
    save(source / "model_4.pth", 4)
    (source / "model_5.pth").write_text("hello")
    lines = []
    with pytest.raises(ZooError, match="5 of 6 checkpoints"):
        import_zoo("sine-inr", source, tmp_path / "zoo", report=lines.append)
    parts = (
        "model_0.pth: ", "'coef' holds 3 numbers", "expected numbers",
        "model_5.pth: the content is not", "more/model_0.pth: has no entry 'coef'",
    )  # fmt: skip
    assert all(part in line for part, line in zip(parts, lines, strict=True))
    assert not marker.exists() and not (tmp_path / "zoo" / "networks.parquet").exists()
    assert import_zoo("sine-inr", source, tmp_path / "zoo", skip_bad=True).ids == ["model_4.pth"]


def test_reading_leaves_torch_as_it_was(source: Path, tmp_path: Path):
    before = torch.serialization.get_safe_globals()
    import_zoo("sine-inr", source, tmp_path / "zoo")
    assert torch.serialization.get_safe_globals() == before


def test_files_that_only_the_split_knows(source: Path, tmp_path: Path):
    (source / "model_2.pth").unlink()
    lines = []
    zoo = import_zoo("sine-inr", source, tmp_path / "zoo", report=lines.append)
    assert zoo.split is not None and zoo.split.test == ()
    assert len(lines) == 1 and "1 named file not found, such as dataset/ssl-inrs/model_2.pth" in lines[0]


@pytest.mark.parametrize(
    "text, message",
    [
        ('{"train": 1, "val": [], "test": []}', "expected a list of paths under 'train'"),
        (
            '{"train": {"path": ["model_0.pth"], "label": []}, "val": [], "test": []}',
            "a list of the same length under 'label'",
        ),
        ('{"train": ["a.pth"], "val": [], "test": []}', "none of the 4 .pth files"),
        ('{"train": ["model_1.pth"], "val": ["model_1.pth"], "test": []}', "named more than once"),
        ('{"train": [', "is not JSON"),
    ],
)
def test_bad_splits(source: Path, tmp_path: Path, text: str, message: str):
    (source.parent / "ssl_splits.json").write_text(text)
    with pytest.raises(ZooError, match=message):
        import_zoo("sine-inr", source, tmp_path / "zoo")


def test_which_split(source: Path, tmp_path: Path):
    (source.parent / "other.json").write_text((source.parent / "ssl_splits.json").read_text())
    with pytest.raises(ZooError, match=r"several splits \(other\.json, ssl_splits\.json\)"):
        import_zoo("sine-inr", source, tmp_path / "zoo")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ZooError, match=r"expected a folder of \.pth files"):
        import_zoo("sine-inr", tmp_path / "empty", tmp_path / "zoo")


def test_files_of_one_name_in_folders_of_their_own(tmp_path: Path):
    """As the authors' image INRs lie, split on another machine."""
    names = [f"mnist_png_{piece}_{i}/checkpoints/model_final.pth" for piece in ("training", "testing") for i in (2, 3)]
    for seed, name in enumerate(names):
        (tmp_path / "inrs" / name).parent.mkdir(parents=True)
        save(tmp_path / "inrs" / name, seed)
    files = [f"/data/x/mnist-inrs/{name}" for name in names]
    split = {"train": files[:1], "val": files[1:2], "test": files[2:]}
    (tmp_path / "inrs" / "splits.json").write_text(json.dumps(split))
    zoo = import_zoo("sine-inr", tmp_path / "inrs", tmp_path / "zoo")
    assert zoo.split == Split((names[0],), (names[1],), tuple(names[2:])) and sorted(names) == zoo.ids
