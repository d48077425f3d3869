"""`sne inspect` as a user sees it."""

import json

import pytest
import torch
import typer
from torch import nn
from typer.testing import CliRunner

from sne.cli.inspect import inspect

APP = typer.Typer(pretty_exceptions_enable=False)
APP.command()(inspect)


@pytest.fixture
def files(tmp_path):
    torch.manual_seed(0)
    torch.save(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).state_dict(), tmp_path / "a.pt")
    torch.save({"fc.weight": torch.tensor([[1.0, -3.0]]), "fc.bias": torch.tensor([0.5])}, tmp_path / "b.pt")
    (tmp_path / "bad.pt").write_bytes(b"\x89PNG\r\n\x1a\n")
    return tmp_path


def run(*arguments):
    return CliRunner().invoke(APP, [str(argument) for argument in arguments])


def test_table(files):
    result = run(files / "a.pt")
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[1].split() == ["level", "layer", "type", "role", "shape", "dtype"]
    assert lines[2].split() == ["0", "0", "conv2d", "weight", *"4 x 3 x 3 x 3".split(), "float32"]
    assert "2 layers, 2 levels, 128 weights\n" in result.stdout
    assert "note: 1.num_batches_tracked: int64: a counter, not a weight" in result.stdout


def test_chunks_are_shown_on_request(files):
    lines = run(files / "a.pt", "--chunk-size", 32).stdout.splitlines()
    assert lines[1].split()[-1] == "chunks" and "2 layers, 2 levels, 128 weights, 17 chunks" in lines


def test_chunk_size(files):
    result = run(files / "a.pt", "--chunk-size", 4, "--json")
    weight = json.loads(result.stdout)["layers"][0]["parts"][0]
    assert weight["chunks"] == 4 * 3 * 3  # 9 kernel positions in chunks of 4


def test_json_and_stats(files):
    result = run(files / "b.pt", files / "a.pt", "--json", "--stats")
    assert result.exit_code == 0
    first, second = (json.loads(line) for line in result.stdout.splitlines())
    assert first["file"].endswith("b.pt")
    assert second["num_weights"] == 128
    (layer,) = first["layers"]
    assert (layer["name"], layer["type"], layer["level"]) == ("fc", "linear", 0)
    weight = layer["parts"][0]
    assert (weight["min"], weight["max"], weight["mean_abs"]) == (-3.0, 1.0, 2.0)
    assert (weight["role"], weight["shape"], weight["dtype"]) == ("weight", [1, 2], "float32")


def test_one_bad_file_does_not_stop_the_others(files):
    result = run(files / "bad.pt", files / "b.pt", files / "missing.pt")
    assert result.exit_code == 2
    assert "fc" in result.stdout
    errors = result.stderr.splitlines()
    assert len(errors) == 3
    assert "bad.pt: cannot be read: it seems to be a PNG image" in errors[0]
    assert "no such file" in errors[1]
    assert errors[2] == "sne: 2 of 3 files skipped"


def test_folders_and_globs(files):
    assert len(run(files / "*.pt", "--json").stdout.splitlines()) == 2
    (files / "bad.pt").unlink()
    assert len(run(files, "--json").stdout.splitlines()) == 2
    (files / "empty").mkdir()
    result = run(files / "empty")
    assert result.exit_code == 2
    assert "a folder without a checkpoint" in result.stderr


def test_stats_name_the_tensor_that_is_not_finite(files):
    torch.save({"fc.weight": torch.tensor([[1.0, float("nan")]])}, files / "nan.pt")
    assert run(files / "nan.pt").exit_code == 0
    result = run(files / "nan.pt", "--stats")
    assert result.exit_code == 2
    assert "'fc.weight' has 1 NaN" in result.stderr


def test_names_do_not_steer_the_terminal(files):
    torch.save({"\x1b[31mred\x1b.weight": torch.ones(2, 2), "[bold]b.weight": torch.ones(2, 2)}, files / "c.pt")
    result = run(files / "c.pt")
    assert "\x1b" not in result.stdout
    assert "[bold]b" in result.stdout


def test_a_zoo_is_no_checkpoint(sne_command, zoo_path):
    result = sne_command("inspect", zoo_path)
    assert result.status == 2 and result.out == ""
    assert "a zoo, expected checkpoints; see sne zoo info" in " ".join(result.err.split())


def test_summary(files):
    result = run(files / "a.pt", files / "b.pt", "--summary")
    assert result.stdout.splitlines() == [
        f"{files}/a.pt: convolutional network, 1 convolution, width 4, 3 input channels; 128 weights",
        f"{files}/b.pt: linear layer, 2-1; 3 weights",
    ]
    line = json.loads(run(files / "b.pt", "--summary", "--json").stdout)
    assert line == {"file": f"{files}/b.pt", "summary": "linear layer, 2-1; 3 weights"}
