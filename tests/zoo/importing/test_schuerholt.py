"""On a fixture in the true published layout: Ray Tune trials of the authors' small CNN."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from imported_proof import prove
from torch import nn

from sne.zoo import Split, ZooError, import_zoo

NAME = "NN_tune_trainable_{}_model::dropout=0,optim::lr=0.001,seed={}_2021-11-22_10-11-12"
PARAMS = {
    "cuda": False, "dataset::dump": "zoos/MNIST/dataset.pt", "model::channels_in": 1, "model::dropout": 0.0,
    "model::init_type": "uniform", "model::nlin": "tanh", "model::type": "CNN", "optim::lr": 0.001,
    "training::checkpoint_dir": None, "seed": 1,
}  # fmt: skip


class Net(nn.Module):
    """The modules of the authors' `CNN`, as the names in their state dicts show them."""

    def __init__(self, seed: int, activation: type[nn.Module] = nn.Tanh):
        super().__init__()
        torch.manual_seed(seed)
        pool, act = nn.MaxPool2d(2, 2), activation()
        convolutions = [nn.Conv2d(1, 8, 5), pool, act, nn.Conv2d(8, 6, 5), pool, act, nn.Conv2d(6, 4, 2), act]
        self.module_list = nn.ModuleList([*convolutions, nn.Flatten(), nn.Linear(36, 20), act, nn.Linear(20, 10)])

    def forward(self, x):
        for module in self.module_list:
            x = module(x)
        return x


def line(epoch: int) -> str:
    trained = {"train_loss": -999, "train_acc": -999} if epoch == 0 else {"train_loss": 1.5, "train_acc": epoch / 10}
    values = trained | {"test_loss": 1.7, "test_acc": epoch / 20, "time_total_s": 12.5 * epoch, "done": False}
    values |= {"training_iteration": epoch, "trial_id": "a1b2c_00000", "hostname": "node7", "config": PARAMS}
    return json.dumps(values) + "\n"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Two trials; the second with the older names of its checkpoints."""
    folder = tmp_path / "mnist"
    for i, (epochs, form) in enumerate([((0, 1, 5), "{:06d}"), ((2, 5), "{}")]):
        run = folder / "tune_zoo_mnist" / NAME.format(i, i)
        run.mkdir(parents=True)
        (run / "params.json").write_text(json.dumps(PARAMS | {"seed": i}))
        (run / "result.json").write_text("".join(line(epoch) for epoch in range(6)))
        (run / "progress.csv").write_text("training_iteration\n")
        for epoch in epochs:
            place = run / f"checkpoint_{form.format(epoch)}"
            place.mkdir()
            torch.save(Net(10 * i + epoch).state_dict(), place / "checkpoints")
            torch.save({"state": {0: {"exp_avg": torch.ones(3)}}, "param_groups": []}, place / "optimizer")
    return folder


def runs(source: Path) -> list[Path]:
    return sorted((source / "tune_zoo_mnist").iterdir())


def test_rows(source: Path, tmp_path: Path):
    lines, seen = [], []
    first, second = (f"tune_zoo_mnist/{NAME.format(i, i)}" for i in range(2))
    Split((first,), (), (second,)).save(source / "split.json")
    zoo = import_zoo(
        "schuerholt", source, tmp_path / "zoo", report=lines.append, progress=lambda done, all: seen.append((done, all))
    )
    assert zoo.ids == [f"{first}@0", f"{first}@1", f"{first}@5", f"{second}@2", f"{second}@5"]
    assert zoo.runs == [first] * 3 + [second] * 2 and zoo.families == ["cnn_s"] * 5
    assert zoo.column("step").tolist() == [0, 1, 5, 2, 5] and set(zoo.column("dataset")) == {"mnist"}
    assert lines == [] and seen == [(i, 5) for i in range(1, 6)]
    assert zoo.split is not None and zoo.split.rows(zoo.runs, "test").tolist() == [3, 4]
    assert set(zoo.property_names) == {
        "train_loss", "train_accuracy", "test_loss", "test_accuracy", "wall_time", "generalization_gap",
    }  # fmt: skip
    assert zoo.column("test_accuracy").tolist() == [0.0, 0.05, 0.25, 0.1, 0.25]
    assert np.array_equal(zoo.column("train_accuracy"), [np.nan, 0.1, 0.5, 0.2, 0.5], equal_nan=True)
    assert np.isnan(zoo.column("train_loss")[0]) and np.isnan(zoo.column("generalization_gap")[0])
    assert np.allclose(zoo.column("generalization_gap")[1:], [0.05, 0.25, 0.1, 0.25])
    assert zoo.column("config.seed").tolist() == [0, 0, 0, 1, 1]
    assert set(zoo.column("config.model::nlin")) == {"tanh"} and "config.cuda" in zoo.hyperparameter_names
    for row, seed in enumerate((0, 1, 5, 12, 15)):
        state, network = Net(seed).state_dict(), zoo.network(row)
        assert list(network.source.infos) == list(state)
        assert all(torch.equal(network.source.load(name), value) for name, value in state.items())
    assert [layer.type.value for layer in zoo.network(0).layers] == ["conv2d"] * 3 + ["linear"] * 2


def test_symmetries(source: Path, tmp_path: Path):
    (runs(source)[1] / "params.json").write_text(json.dumps(PARAMS | {"model::nlin": "leakyrelu"}))
    zoo = import_zoo("schuerholt", source, tmp_path / "zoo")
    images = torch.randn(2, 1, 28, 28, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    tanh, leaky = prove(zoo, 0, Net(0), images), prove(zoo, 4, Net(0, nn.LeakyReLU), images)
    assert list(tanh) == list(leaky) == [f"between.{i}" for i in range(4)]
    assert tanh["between.1"] == ("permutation",) and tanh["between.3"] == ("permutation", "sign")
    assert leaky["between.1"] == leaky["between.3"] == ("permutation", "scaling")
    assert [group.size for group in zoo.symmetry(0).groups] == [8, 6, 4, 20]
    assert zoo.symmetry(0) is zoo.symmetry(2) and len(zoo.symmetries) == 2


@pytest.mark.parametrize("settings", [{"model::type": "Resnet18"}, None])
def test_nothing_is_taken_for_sequential_that_is_not_said_to_be(source: Path, tmp_path: Path, settings: dict | None):
    """Widths are told apart by size alone; with skips, those that are equal would move together."""
    for run in runs(source):
        (run / "params.json").unlink()
        if settings:
            (run / "params.json").write_text(json.dumps(PARAMS | settings))
    zoo = import_zoo("schuerholt", source, tmp_path / "zoo")
    assert prove(zoo, 0, Net(0), torch.zeros(1, 1, 28, 28, dtype=torch.float64)) == {
        f"width.{width}": ("permutation",) for width in (8, 6, 4, 20)
    }


def test_a_killed_trial(source: Path, tmp_path: Path):
    """The last line half-written, so its checkpoint has none; another line glued together by a resumed trial."""
    path = runs(source)[0] / "result.json"
    path.write_text("".join(line(epoch) for epoch in range(5)) + line(5)[:80])
    other = runs(source)[1] / "result.json"
    other.write_text(line(0) + line(1) + line(2)[:40] + line(3) + line(2) + line(5) + line(5).replace("0.25", "0.9"))
    lines = []
    zoo = import_zoo("schuerholt", source, tmp_path / "zoo", report=lines.append)
    assert len(zoo) == 5
    assert np.array_equal(zoo.column("test_accuracy"), [0.0, 0.05, np.nan, 0.1, 0.9], equal_nan=True)
    assert [text.removeprefix(str(source)) for text in lines] == [
        f"/tune_zoo_mnist/{path.parent.name}/result.json: the last line is incomplete or has no training_iteration; "
        "left out",
        f"/tune_zoo_mnist/{path.parent.name}/result.json has no line for epoch 5; kept without properties",
        f"/tune_zoo_mnist/{other.parent.name}/result.json: line 3 is incomplete or has no training_iteration; left out",
    ]


def test_settings_and_results_may_be_missing(source: Path, tmp_path: Path):
    (runs(source)[0] / "params.json").unlink()
    (runs(source)[1] / "result.json").unlink()
    lines = []
    zoo = import_zoo("schuerholt", source, tmp_path / "zoo", dataset="digits", report=lines.append)
    assert zoo.families == ["unknown"] * 3 + ["cnn_s"] * 2 and set(zoo.column("dataset")) == {"digits"}
    assert np.isnan(zoo.column("test_accuracy")).tolist() == [False] * 3 + [True] * 2
    assert len(lines) == 2 and "params.json: no such file" in lines[0] and "has no line for epoch 2, 5" in lines[1]


def test_damaged_checkpoints(source: Path, tmp_path: Path):
    (runs(source)[0] / "checkpoint_000001" / "checkpoints").unlink()
    file = runs(source)[1] / "checkpoint_5" / "checkpoints"
    file.write_bytes(file.read_bytes()[:500])
    lines = []
    with pytest.raises(ZooError, match="2 of 5 checkpoints"):
        import_zoo("schuerholt", source, tmp_path / "zoo", report=lines.append)
    assert not (tmp_path / "zoo" / "networks.parquet").exists()
    assert "checkpoint_000001/checkpoints: no such file" in lines[0] and "checkpoint_5/checkpoints: " in lines[1]
    zoo = import_zoo("schuerholt", source, tmp_path / "zoo", skip_bad=True)
    assert zoo.column("step").tolist() == [0, 5, 2]


def test_one_trial_alone(source: Path, tmp_path: Path):
    zoo = import_zoo("schuerholt", runs(source)[1], tmp_path / "zoo")
    assert zoo.ids == [f"{runs(source)[1].name}@2", f"{runs(source)[1].name}@5"]


def test_no_zoo(source: Path, tmp_path: Path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ZooError, match=r"no folder with params\.json"):
        import_zoo("schuerholt", tmp_path / "empty", tmp_path / "zoo")
    with pytest.raises(ZooError, match="no such folder"):
        import_zoo("schuerholt", tmp_path / "nowhere", tmp_path / "zoo")
    (runs(source)[0] / "params.json").write_text("[1]")
    lines = []
    with pytest.raises(ZooError, match="3 of 5"):
        import_zoo("schuerholt", source, tmp_path / "zoo", report=lines.append)
    assert all("params.json: expected a JSON object, found a list" in text for text in lines)
