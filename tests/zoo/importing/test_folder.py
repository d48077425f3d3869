from pathlib import Path

import numpy as np
import pytest
import torch
from imported_proof import prove
from safetensors.torch import save_file
from torch import nn

from sne.zoo import Split, Zoo, ZooError, import_zoo

ROWS = "a.pt,r0,10,0.5,adam\nb.safetensors,r0,20,0.6,adam\nc.pt,r1,10,,sgd\n"


def model(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(12, 2))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "mine"
    path.mkdir()
    torch.save(model(0).state_dict(), path / "a.pt")
    save_file(model(1).state_dict(), path / "b.safetensors")
    torch.save({"state_dict": model(2).state_dict()}, path / "c.pt")
    (path / "zoo.csv").write_text("path,run,step,test_accuracy,config.optimizer\n" + ROWS)
    return path


def test_round_trip(folder: Path, tmp_path: Path):
    seen = []
    zoo = import_zoo("folder", folder, tmp_path / "zoo", dataset="toy", progress=lambda done, _: seen.append(done))
    assert zoo.ids == ["a.pt", "b.safetensors", "c.pt"] and zoo.runs == ["r0", "r0", "r1"]
    assert zoo.property_names == ["test_accuracy"] and zoo.hyperparameter_names == ["config.optimizer"]
    assert zoo.column("step").tolist() == [10, 20, 10] and set(zoo.column("dataset")) == {"toy"}
    assert np.array_equal(zoo.column("test_accuracy"), [0.5, 0.6, np.nan], equal_nan=True)
    assert seen == [1, 2, 3]
    for row in range(3):
        state, network = model(row).state_dict(), zoo.network(row)
        assert set(network.source.infos) == {n for n, t in state.items() if t.is_floating_point()}
        for name in network.source.infos:
            assert torch.equal(network.source.load(name), state[name])
    assert zoo.network(0).layers is zoo.network(2).layers


def test_symmetries_by_names_alone(folder: Path, tmp_path: Path):
    torch.save({"strange.weight": torch.randn(3, 3)}, folder / "d.pt")
    with (folder / "zoo.csv").open("a") as file:
        file.write("d.pt,r2,10,0.1,adam\n")
    zoo = import_zoo("folder", folder, tmp_path / "zoo")
    images = torch.randn(2, 1, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for row in range(3):
        assert prove(zoo, row, model(9), images, not_stored=("1.num_batches_tracked",)) == {"width.3": ("permutation",)}
    assert zoo.symmetry(0) is zoo.symmetry(2) and zoo.symmetry(3) is None and len(zoo.symmetries) == 1


def test_a_symmetry_of_tensors_that_are_not_kept(folder: Path, tmp_path: Path):
    """Complex numbers are no weights for a zoo, and what moves with them would be torn apart."""
    state = {"0.bias": torch.randn(5), "1.weight": torch.randn(2, 5), "1.bias": torch.randn(2)}
    torch.save(state | {"0.weight": torch.randn(5, 3)}, folder / "a.pt")
    torch.save(state | {"0.weight": torch.randn(5, 3, dtype=torch.complex64)}, folder / "c.pt")
    zoo = import_zoo("folder", folder, tmp_path / "zoo")
    assert zoo.symmetry(0).groups[0].size == 5 and zoo.symmetry(2) is None
    assert list(zoo.network(2).source.infos) == list(state)


def test_defaults_and_split(folder: Path, tmp_path: Path):
    (folder / "zoo.csv").write_text("path,score\na.pt,1\nc.pt,2\n")
    Split(("a.pt",), (), ("c.pt",)).save(folder / "split.json")
    zoo = import_zoo("folder", folder / "zoo.csv", tmp_path / "zoo", storage="float16")
    assert zoo.runs == ["a.pt", "c.pt"] and zoo.families == ["unknown"] * 2
    assert zoo.split == Split(("a.pt",), (), ("c.pt",))
    expected = model(2).state_dict()["3.weight"].half().float()
    assert torch.equal(zoo.network(1).source.load("3.weight"), expected)


def test_bad_checkpoints(folder: Path, tmp_path: Path):
    (folder / "bad.pt").write_text("hello")
    torch.save({"w": torch.full((3, 3), torch.nan)}, folder / "nan.pt")
    with (folder / "zoo.csv").open("a") as file:
        file.write("none.pt,r2,1,0.1,adam\nbad.pt,r2,2,0.1,adam\nnan.pt,r2,3,0.1,adam\n,r2,4,0.1,adam\n")
    lines = []
    with pytest.raises(ZooError, match="4 of 7 checkpoints"):
        import_zoo("folder", folder, tmp_path / "zoo", report=lines.append)
    assert not (tmp_path / "zoo" / "networks.parquet").exists()
    for part, line in zip(("none.pt: no such file", "bad.pt", "nan.pt", "path is empty"), lines, strict=True):
        assert part in line and "\n" not in line
    zoo = import_zoo("folder", folder, tmp_path / "zoo", skip_bad=True, report=lines.append)
    assert len(zoo) == 3 and len(lines) == 8 and len(Zoo.open(tmp_path / "zoo")) == 3


def test_a_file_that_runs_code_is_left_out(folder: Path, tmp_path: Path):
    marker = tmp_path / "executed"
    torch.save({"w": torch.ones(2, 2), "evil": Touch(str(marker))}, folder / "a.pt")
    with pytest.raises(ZooError, match="1 of 3"):
        import_zoo("folder", folder, tmp_path / "zoo")
    assert not marker.exists()


class Touch:
    def __init__(self, path: str):
        self.path = path

    def __reduce__(self):
        return Path.touch, (Path(self.path),)


@pytest.mark.parametrize(
    "text, message",
    [
        ("file,run\na.pt,r\n", "no column 'path'"),
        ("path,run\n", "no rows"),
        ("path,step\na.pt,late\n", "whole numbers"),
        ("path,layout\na.pt,1\n", "1 of 1"),
    ],
)
def test_bad_tables(folder: Path, tmp_path: Path, text, message):
    (folder / "zoo.csv").write_text(text)
    with pytest.raises(ZooError, match=message):
        import_zoo("folder", folder, tmp_path / "zoo")


def test_which_table(folder: Path, tmp_path: Path):
    (folder / "other.csv").write_text("path\n")
    with pytest.raises(ZooError, match=r"found other\.csv, zoo\.csv"):
        import_zoo("folder", folder, tmp_path / "zoo")
    with pytest.raises(ZooError, match="no such folder"):
        import_zoo("folder", tmp_path / "nowhere", tmp_path / "zoo")
    with pytest.raises(ZooError, match="'zip' is not known, expected one of folder, small-cnn-zoo"):
        import_zoo("zip", folder, tmp_path / "zoo")


def test_runs_and_paths_may_look_like_numbers(folder: Path, tmp_path: Path):
    (folder / "a.pt").rename(folder / "007")
    (folder / "b.safetensors").rename(folder / "010")
    (folder / "zoo.csv").write_text("path,run,n\n007,001,1\n010,002,2\n")
    Split(("001",), (), ("002",)).save(folder / "split.json")
    zoo = import_zoo("folder", folder, tmp_path / "zoo")
    assert zoo.ids == ["007", "010"] and zoo.runs == ["001", "002"]
    assert zoo.split is not None and zoo.split.rows(zoo.runs, "test").tolist() == [1]
