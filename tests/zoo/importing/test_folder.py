from pathlib import Path

import numpy as np
import pytest
import torch
from imported_proof import prove
from safetensors.torch import save_file
from torch import nn

from sne.errors import SneError
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
    lines, seen = [], []
    with pytest.raises(ZooError, match=r"2 of 7 checkpoints .* skip_bad=True leaves them out"):
        import_zoo("folder", folder, tmp_path / "zoo", report=lines.append, progress=lambda *done: seen.append(done))
    assert not (tmp_path / "zoo").exists() and seen == []
    assert [line.partition("zoo.csv: ")[2] for line in lines] == [
        "2 rows name no file that exists: none.pt (row 5), empty (row 8)"
    ]
    zoo = import_zoo("folder", folder, tmp_path / "zoo", skip_bad=True, report=lines.append)
    assert len(zoo) == 3 and len(Zoo.open(tmp_path / "zoo")) == 3
    for part, line in zip(("none.pt (row 5)", "bad.pt", "nan.pt"), lines[1:], strict=True):
        assert part in line and "\n" not in line
    (folder / "zoo.csv").write_text("path\na.pt\nbad.pt\n")
    with pytest.raises(ZooError, match="1 of 2 checkpoints"):
        import_zoo("folder", folder, tmp_path / "other", report=lines.append)
    assert not (tmp_path / "other").exists()


def test_a_file_with_code_runs_none(folder: Path, tmp_path: Path):
    marker = tmp_path / "executed"
    torch.save({"w": torch.ones(2, 2), "evil": Touch(str(marker))}, folder / "a.pt")
    assert len(import_zoo("folder", folder, tmp_path / "zoo")) == 3
    assert not marker.exists()


class Touch:
    def __init__(self, path: str):
        self.path = path

    def __reduce__(self):
        return Path.touch, (Path(self.path),)


@pytest.mark.parametrize(
    "text, message",
    [
        ("model,run\nz.pt,r\n", r"no column names files in .*mine; it has model, run; expected a column path"),
        ("path,run\n", "no rows"),
        ("path,step\na.pt,late\n", "'step' must hold whole numbers, found 'late' in row 2"),
        ("path,layout\na.pt,1\n", "column 'layout' cannot be a property, the name is reserved"),
        ("path,score\na.pt,1\na.pt,2\n", "rows 2 and 3 are both 'a.pt'; give them ids in a column 'id'"),
        ("weights,parent\na.pt,c.pt\nc.pt,a.pt\n", "columns weights, parent all name files; path_column chooses one"),
        ("path,score\na.pt,1\nc.pt,n/a\n", r"column score: 1 number, 1 text \('n/a', row 3\)"),
        ("path,config.lr\na.pt,0.1\nc.pt,low\n", r"column config\.lr: 1 number, 1 text"),
        ("path,val_acc\na.pt,0.97\nc.pt,97\n", r"val_acc: 1 value of 1 or more, 1 between 0 and 1 \(0\.97, row 2\)"),
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
    (tmp_path / "bare").mkdir()
    with pytest.raises(
        ZooError, match="no CSV file found; a table is expected that has a row per checkpoint and the columns path"
    ):
        import_zoo("folder", tmp_path / "bare", tmp_path / "zoo")
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


def write_csv(folder: Path, text: str) -> None:
    (folder / "zoo.csv").write_text(text)


def columns_of(folder: Path, out: Path, **options):
    uses, lines = [], []
    zoo = import_zoo("folder", folder, out, on_columns=uses.extend, report=lines.append, **options)
    return zoo, {use.column: use for use in uses}, lines


def test_what_each_column_becomes(folder: Path, tmp_path: Path):
    write_csv(
        folder,
        "File,Run,epoch,test acc,notes,lr,config.optimizer\n"
        "a.pt,r0,10,97.5,,0.1,adam\nb.safetensors,r0,20,,,0.2,adam\nc.pt,r1,10,91,,0.1,sgd\n",
    )
    zoo, uses, lines = columns_of(folder, tmp_path / "zoo", hyperparameters=["lr"])
    assert [(name, use.becomes, use.values, use.missing) for name, use in uses.items()] == [
        ("File", "path", "3 texts: a.pt, b.safetensors, c.pt", 0),
        ("Run", "run", "2 texts: r0, r1", 0),
        ("epoch", "property epoch", "number, 10 to 20", 0),
        ("test acc", "property test acc", "number, 0.91 to 0.975", 1),
        ("notes", "property notes", "no values", 3),
        ("lr", "hyper-parameter config.lr", "number, 0.1 to 0.2", 0),
        ("config.optimizer", "hyper-parameter config.optimizer", "2 texts: adam, sgd", 0),
    ]
    assert uses["test acc"].note == "up to 100, divided by 100" and lines == []
    assert np.array_equal(zoo.column("test acc"), [0.975, np.nan, 0.91], equal_nan=True)
    assert zoo.runs == ["r0", "r0", "r1"] and zoo.hyperparameter_names == ["config.lr", "config.optimizer"]


def test_chosen_columns(folder: Path, tmp_path: Path):
    write_csv(folder, "weights,parent,path,group,run,acc,loss,lr\na.pt,c.pt,x,g,q,0.5,1,2\nc.pt,a.pt,y,g,r,0.6,2,3\n")
    zoo, uses, _ = columns_of(
        folder, tmp_path / "zoo", path_column="weights", run_column="GROUP", properties=["Acc"], hyperparameters=["lr"]
    )
    assert zoo.ids == ["a.pt", "c.pt"] and zoo.runs == ["g", "g"]
    assert zoo.property_names == ["acc"] and zoo.hyperparameter_names == ["config.lr"]
    assert {name: use.note for name, use in uses.items() if use.becomes == "left out"} == dict.fromkeys(
        ("parent", "path", "run", "loss"), "not chosen"
    )


@pytest.mark.parametrize(
    "options, message",
    [
        ({"path_column": "weights"}, "has no column 'weights'; it has path, run, step"),
        ({"run_column": "seed"}, "has no column 'seed'"),
        ({"properties": ["loss"]}, "has no column 'loss'"),
        ({"hyperparameters": ["lr"]}, "has no column 'lr'"),
        ({"properties": ["config.optimizer"]}, "'config.optimizer' cannot be a property"),
        ({"properties": ["step"], "hyperparameters": ["STEP"]}, "'step' is chosen for two roles"),
    ],
)
def test_wrong_choices(folder: Path, tmp_path: Path, options: dict, message: str):
    with pytest.raises(ZooError, match=message):
        import_zoo("folder", folder, tmp_path / "zoo", **options)
    with pytest.raises(ZooError, match="for the format 'folder' only"):
        import_zoo("schuerholt", folder, tmp_path / "zoo", **options)
    assert not (tmp_path / "zoo").exists()


def test_a_column_of_files_is_found_by_its_values(folder: Path, tmp_path: Path):
    write_csv(folder, "name,score\na,1\nb,2\nc,3\n")
    zoo, uses, _ = columns_of(folder, tmp_path / "zoo")
    assert uses["name"].becomes == "path" and zoo.ids == ["a", "b", "c"] and zoo.num_weights(0) == zoo.num_weights(1)
    (folder / "more").mkdir()
    (folder / "a.pt").rename(folder / "more" / "a.pt")
    write_csv(folder, "score,model file,path\n1,more/a.pt,/old/a.pt\n2,b.safetensors,/old/b.pt\n")
    zoo, uses, lines = columns_of(folder, tmp_path / "other")
    assert uses["model file"].becomes == "path" and zoo.ids == ["more/a.pt", "b.safetensors"]
    assert "zoo.csv has no column run: each checkpoint counts as a training run of its own" in lines[0]
    assert lines[1:] == ["1 checkpoint has no row in zoo.csv, left out: c.pt"]


def test_checkpoints_without_a_row_are_counted(folder: Path, tmp_path: Path):
    (folder / "more").mkdir()
    for number in range(6):
        torch.save(model(0).state_dict(), folder / "more" / f"{number}.pt")
    _, _, lines = columns_of(folder, tmp_path / "zoo")
    names = ", ".join(f"more/{number}.pt" for number in range(5))
    assert lines == [f"6 checkpoints have no row in zoo.csv, left out: {names}, ..."]
    _, _, lines = columns_of(folder / "zoo.csv", tmp_path / "other")
    assert lines == []  # only the folders of named files are searched then


@pytest.mark.parametrize(
    "name, cells, values",
    [
        ("test_accuracy", ["97%", "91%"], [0.97, 0.91]),
        ("test_accuracy", ["97", "100"], [0.97, 1.0]),
        ("test_accuracy", ["0.97", "1"], [0.97, 1.0]),
        ("val_top1", ["12.5", "1"], [0.125, 0.01]),
        ("test_accuracy", ["97", "250"], [97.0, 250.0]),
        ("test_loss", ["97", "12"], [97.0, 12.0]),
        ("config.accuracy", ["97", "12"], [97.0, 12.0]),
    ],
)
def test_accuracies_in_percent(folder: Path, tmp_path: Path, name: str, cells: list[str], values: list[float]):
    write_csv(folder, f"path,{name}\na.pt,{cells[0]}\nc.pt,{cells[1]}\n")
    assert import_zoo("folder", folder, tmp_path / "zoo").column(name).tolist() == pytest.approx(values, abs=1e-12)


def test_semicolons_and_decimal_commas(folder: Path, tmp_path: Path):
    write_csv(folder, "path;test_accuracy;config.lr\na.pt;0,5;0,001\nc.pt;0,75;0,1\n")
    zoo, uses, lines = columns_of(folder, tmp_path / "zoo")
    assert zoo.column("test_accuracy").tolist() == [0.5, 0.75] and zoo.column("config.lr").tolist() == [0.001, 0.1]
    assert uses["test_accuracy"].note == "decimal commas" and "separated by semicolons" in lines[0]


def test_a_folder_that_cannot_be_written_is_refused_first(folder: Path, tmp_path: Path):
    (tmp_path / "file").write_text("x")
    (folder / "zoo.csv").write_text("nonsense")
    with pytest.raises(SneError, match=r"cannot write .*file is not a folder"):
        import_zoo("folder", folder, tmp_path / "file" / "zoo")
