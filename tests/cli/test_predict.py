import io
import json

import numpy as np
import pytest
import torch
from small_disk import small_disk

pytestmark = pytest.mark.usefixtures("tiny_rooms")


@pytest.fixture
def folds_path(zoo_path, tmp_path, sne_command):
    """A predictor that is calibrated on more than six runs, and so has intervals."""
    path = tmp_path / "folds"
    train = ("train", zoo_path, "--target", "test_accuracy", "--preset", "tiny", "--epochs", 5, "--folds", 2)
    assert sne_command(*train, "--out", path).status == 0
    return path


def test_best_first_with_intervals(sne_command, folds_path, checkpoints):
    result = sne_command("predict", checkpoints, "--predictor", folds_path)
    assert result.status == 0, result.err
    lines = result.out.splitlines()
    assert lines[0].split("  ")[0] == "file" and "test_accuracy 90%" in lines[0]
    values = [float(line.split()[1]) for line in lines[1:]]
    assert len(values) == 3 and values == sorted(values, reverse=True)


def test_json(sne_command, folds_path, checkpoints):
    result = sne_command("predict", checkpoints / "net0.safetensors", "--predictor", folds_path, "--json")
    (line,) = result.json()
    assert line["file"] == str(checkpoints / "net0.safetensors") and line["property"] == "test_accuracy"
    assert 0 <= line["low"] <= line["value"] <= line["high"] <= 1


def test_a_last_layer_that_looks_untrained_is_a_remark(sne_command, predictor_path, tmp_path):
    torch.manual_seed(0)
    trained = {f"{number}.{name}": torch.randn(shape) for number in (0, 2)
               for name, shape in (("weight", (24, 24)), ("bias", (24,)))}  # fmt: skip
    head = torch.nn.Linear(24, 10)
    new = {"4.weight": head.weight.detach(), "4.bias": head.bias.detach()}
    torch.save(trained | new, tmp_path / "new.pt")
    torch.save(trained | {name: values * 2 for name, values in new.items()}, tmp_path / "old.pt")
    result = sne_command("predict", tmp_path, "--predictor", predictor_path)
    rows = {line.split()[0].rpartition("/")[2]: line for line in result.out.splitlines()}
    assert rows["new.pt"].endswith("the last layer looks untrained") and rows["old.pt"].endswith("-")
    assert f"sne: {tmp_path}/new.pt: the last layer (4) looks untrained" in result.err.splitlines()
    lines = sne_command("predict", tmp_path, "--predictor", predictor_path, "--json").json()
    warned = [line["file"] for line in lines if line.get("warnings") == ["the last layer (4) looks untrained"]]
    assert warned == [str(tmp_path / "new.pt")]
    encoded = sne_command("encode", tmp_path, "--predictor", predictor_path, "--out", tmp_path / "e.npy")
    assert encoded.status == 0 and "looks untrained" not in encoded.err


def test_unreadable_files_are_listed_and_the_others_predicted(sne_command, predictor_path, checkpoints):
    (checkpoints / "bad.safetensors").write_bytes(b"nothing")
    result = sne_command("predict", checkpoints, checkpoints / "gone.pt", "--predictor", predictor_path, "--json")
    assert result.status == 2 and len(result.json()) == 3
    assert [line.startswith("sne: ") for line in result.err.splitlines()] == [True, True, True]
    assert result.err.splitlines()[-1] == "sne: 2 of 5 files skipped"
    assert "bad.safetensors" in result.err and "gone.pt: no such file" in result.err


def test_a_file_with_bad_values_does_not_take_its_batch_along(sne_command, predictor_path, checkpoints):
    from safetensors.torch import load_file, save_file

    state = load_file(checkpoints / "net1.safetensors")
    state["0.weight"][0, 0] = float("nan")
    save_file(state, checkpoints / "net1.safetensors")
    result = sne_command("predict", checkpoints, "--predictor", predictor_path, "--json")
    assert result.status == 2
    assert [line["file"][-16:] for line in result.json()] != [] and len(result.json()) == 2
    assert "net1.safetensors" in result.err.splitlines()[0] and result.err.count("net") == 1
    assert result.err.splitlines()[1:] == ["sne: 1 of 3 files skipped"]


def test_paths_from_stdin_and_globs(sne_command, predictor_path, checkpoints, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{checkpoints / 'net2.safetensors'}\n\n"))
    result = sne_command("predict", "-", "--predictor", predictor_path, "--json")
    assert [line["file"] for line in result.json()] == [str(checkpoints / "net2.safetensors")]
    result = sne_command("predict", checkpoints / "net[01].*", "--predictor", predictor_path, "--json")
    assert {line["file"][-16:] for line in result.json()} == {"net0.safetensors", "net1.safetensors"}


def test_a_folder_that_is_one_network(sne_command, predictor_path, checkpoints):
    (checkpoints / "hub").mkdir()
    (checkpoints / "net0.safetensors").rename(checkpoints / "hub" / "model.safetensors")
    result = sne_command("predict", checkpoints, "--predictor", predictor_path, "--json")
    assert str(checkpoints / "hub") in {line["file"] for line in result.json()}
    assert len(result.json()) == 3


def test_batch_size_changes_nothing(sne_command, predictor_path, checkpoints):
    one, all_ = (
        sne_command("predict", checkpoints, "--predictor", predictor_path, "--json", "--batch-size", size).json()
        for size in (1, 64)
    )
    assert [line["file"] for line in one] == [line["file"] for line in all_]
    assert [line["value"] for line in one] == pytest.approx([line["value"] for line in all_], abs=1e-6)


def test_encode_parquet_and_npy_agree(sne_command, predictor_path, checkpoints, tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    for name in ("e.parquet", "e.npy"):
        result = sne_command("encode", checkpoints, "--predictor", predictor_path, "--out", tmp_path / name, "--json")
        assert result.status == 0, result.err
        assert result.json()[0]["networks"] == 3
    table = pq.read_table(tmp_path / "e.parquet")
    assert table.column_names == ["path", "embedding"]
    assert table.schema.field("embedding").type == pa.list_(pa.float32(), 8)
    assert table["path"].to_pylist() == [str(checkpoints / f"net{i}.safetensors") for i in range(3)]
    array = np.load(tmp_path / "e.npy", allow_pickle=False)
    np.testing.assert_array_equal(array, np.array(table["embedding"].to_pylist(), dtype=np.float32))


def test_encode_with_a_bad_file(sne_command, predictor_path, checkpoints, tmp_path):
    (checkpoints / "bad.pt").write_bytes(b"")
    result = sne_command("encode", checkpoints, "--predictor", predictor_path, "--out", tmp_path / "e.parquet")
    assert result.status == 2 and "bad.pt" in result.err and (tmp_path / "e.parquet").exists()
    result = sne_command("encode", checkpoints, "--predictor", predictor_path, "--out", tmp_path / "e.npy")
    assert result.status == 2 and "e.npy: not written" in result.err and not (tmp_path / "e.npy").exists()
    result = sne_command("encode", checkpoints, "--predictor", predictor_path, "--out", tmp_path / "e.txt")
    assert result.status == 2 and "ends in .parquet or .npy" in result.err


@pytest.mark.parametrize("command", ["predict", "encode"])
def test_nothing_to_read_is_told(sne_command, predictor_path, tmp_path, monkeypatch, command):
    (tmp_path / "empty").mkdir()
    options = ("--predictor", predictor_path, *(("--out", tmp_path / "e.npy") if command == "encode" else ()))
    result = sne_command(command, tmp_path / "empty", *options)
    assert result.status == 2 and "empty: a folder without a checkpoint" in result.err
    monkeypatch.setattr("sys.stdin", io.StringIO("\n"))
    result = sne_command(command, "-", *options)
    assert result.status == 2 and result.err == "sne: -: stdin is empty, expected one path per line\n"


def test_encode_checks_out_before_the_work(sne_command, checkpoints, tmp_path):
    (tmp_path / "file").write_text("no folder")
    for out in (tmp_path / "file" / "e.npy", tmp_path / "file" / "new" / "e.parquet"):
        result = sne_command("encode", checkpoints, "--predictor", tmp_path / "no_predictor", "--out", out)
        assert result.status == 2 and result.err.count("\n") == 1
        assert result.err.startswith(f"sne: cannot write {out}: ")


def test_encode_makes_the_folder_of_out(sne_command, predictor_path, checkpoints, tmp_path):
    out = tmp_path / "new" / "e.npy"
    result = sne_command("encode", checkpoints / "net0.safetensors", "--predictor", predictor_path, "--out", out)
    assert result.status == 0 and result.out == f"{out}: 1 network, 8 numbers each\n"
    assert [path.name for path in out.parent.iterdir()] == ["e.npy"]


@pytest.mark.parametrize("name", ["e.npy", "e.parquet"])
def test_encode_on_a_full_disk(sne_command, predictor_path, checkpoints, tmp_path, name):
    (tmp_path / name).write_text("old")
    with small_disk(100):
        result = sne_command("encode", checkpoints, "--predictor", predictor_path, "--out", tmp_path / name)
    assert result.status == 2 and result.err.count("\n") == 1
    assert result.err.startswith(f"sne: cannot write {tmp_path / name}: ")
    assert (tmp_path / name).read_text() == "old" and not list(tmp_path.glob(".*"))


def test_predictor_is_checked(sne_command, predictor_path, checkpoints):
    config = json.loads((predictor_path / "config.json").read_text())
    (predictor_path / "config.json").write_text(json.dumps({**config, "format": 7}))
    result = sne_command("predict", checkpoints, "--predictor", predictor_path)
    assert result.status == 2 and "newer sne" in result.err and result.err.count("\n") == 1


def test_networks_that_a_canonical_predictor_reads_as_stored(sne_command, zoo_path, tmp_path, checkpoints):
    path = tmp_path / "canonical"
    options = ("--preset", "default-canonical", "--epochs", 1, "--folds", 1)
    result = sne_command("train", zoo_path, "--target", "test_accuracy", "--out", path, *options)
    assert result.status == 0, result.err
    result = sne_command("predict", checkpoints, "--predictor", path, "--json")
    assert result.status == 0 and len(result.json()) == 3
    assert "3 of 3 networks are read as they are stored" in result.err


def test_a_sample_is_reported(sne_command, predictor_path, checkpoints, tmp_path):
    arguments = (checkpoints, "--predictor", predictor_path, "--budget", "20")
    result = sne_command("predict", *arguments, "--json")
    assert result.status == 0 and len(result.json()) == 3
    for line in result.json():
        assert 0 < line["weights_read"] <= line["weights"] and line["difference_of_halves"] >= 0
        (reason,) = line["warnings"]
        assert f"a sample of {line['weights_read']} of {line['weights']} weights was read" in reason
        assert f"sne: {line['file']}: {reason}" in result.err.splitlines()
    assert not any("weights_read" in line for line in sne_command("predict", *arguments[:3], "--json").json())
    result = sne_command("encode", *arguments, "--out", tmp_path / "e.npy", "--json")
    assert len(result.json()[0]["warnings"]) == 3


@pytest.mark.parametrize("name", ["t.csv", "t.parquet"])
def test_a_table_in_a_file(sne_command, folds_path, checkpoints, tmp_path, name):
    import pandas as pd

    (checkpoints / "bad.pt").write_bytes(b"nothing")
    arguments = ("predict", checkpoints, "--predictor", folds_path)
    result = sne_command(*arguments, "--out", tmp_path / "new" / name)
    assert result.status == 2 and "bad.pt" in result.err
    assert result.out == f"{tmp_path / 'new' / name}: 3 networks, 1 property each\n"
    table = pd.read_csv(tmp_path / "new" / name) if name == "t.csv" else pd.read_parquet(tmp_path / "new" / name)
    expected = sne_command(*arguments, "--json").json()
    again = sne_command(*arguments, "--json", "--out", tmp_path / "new" / name).json()
    assert again == expected
    assert table["path"].tolist() == [line["file"] for line in expected]
    for column, field in (("", "value"), ("_low", "low"), ("_high", "high")):
        assert table[f"test_accuracy{column}"].tolist() == pytest.approx([line[field] for line in expected])


def test_a_table_is_refused_before_the_work(sne_command, checkpoints, tmp_path):
    result = sne_command("predict", checkpoints, "--predictor", tmp_path / "none", "--out", tmp_path / "t.xlsx")
    assert result.status == 2
    assert result.err == f"sne: {tmp_path}/t.xlsx: expected a name that ends in .csv or .parquet\n"
    (checkpoints / "only").mkdir()
    (checkpoints / "only" / "bad.pt").write_bytes(b"nothing")
    result = sne_command("predict", checkpoints / "only" / "bad.pt", "--out", tmp_path / "t.csv")
    assert result.status == 2 and not (tmp_path / "t.csv").exists()


def test_a_table_on_a_full_disk(sne_command, predictor_path, checkpoints, tmp_path):
    (tmp_path / "t.csv").write_text("old")
    with small_disk(20):
        result = sne_command("predict", checkpoints, "--predictor", predictor_path, "--out", tmp_path / "t.csv")
    assert result.status == 2 and result.err.startswith(f"sne: cannot write {tmp_path / 't.csv'}: ")
    assert (tmp_path / "t.csv").read_text() == "old" and not list(tmp_path.glob(".*"))
