"""Files with several networks, NaN, or little that is understood, on the command line."""

import contextlib
import json
import pickle

import pytest
import torch
import typer
from torch import nn
from typer.testing import CliRunner

import sne
from sne.cli.inspect import inspect
from sne.cli.options import knows_its_options

APP = typer.Typer(pretty_exceptions_enable=False)
APP.command()(knows_its_options(inspect))


def run(*arguments):
    return CliRunner().invoke(APP, [str(argument) for argument in arguments])


def test_inspect_selects_a_network(tmp_path):
    torch.save({"net": nn.Linear(2, 3).state_dict(), "ema": nn.Linear(2, 3).state_dict()}, tmp_path / "a.pt")
    assert "ema: a copy of 'net', which is read; select 'ema' to read it" in run(tmp_path / "a.pt").stdout
    result = run(tmp_path / "a.pt", "--select", "ema", "--json")
    assert {note["tensor"] for note in json.loads(result.stdout)["notes"]} == {"net"}
    result = run(tmp_path / "a.pt", "--select", "other")
    assert result.exit_code == 2 and "to be selected: 'net', 'ema'" in result.stderr


def test_inspect_allows_nan(tmp_path):
    state = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 2)).state_dict()
    state["0.bias"][1] = float("nan")
    torch.save(state, tmp_path / "a.pt")
    result = run(tmp_path / "a.pt", "--stats")
    assert result.exit_code == 2 and "--allow-nonfinite" in result.stderr
    result = run(tmp_path / "a.pt", "--stats", "--allow-nonfinite")
    assert result.exit_code == 0
    assert "note: 0.bias: 1 of 3 values are NaN or infinite; the layer is left out" in result.stdout


def test_commands_name_options_and_functions_name_arguments(tmp_path, sne_command):
    state = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 2)).state_dict()
    torch.save([state, state], tmp_path / "two.pt")
    state["0.bias"][1] = float("nan")
    torch.save(state, tmp_path / "nan.pt")
    counted = f"{tmp_path}/nan.pt: tensor '0.bias' has 1 NaN or infinite values of 3, in layer '0'"
    with pytest.raises(sne.CheckpointError) as told:
        sne.encode(tmp_path / "nan.pt")
    assert str(told.value) == f"{counted}; allow_nonfinite=True leaves that layer out"
    assert pickle.loads(pickle.dumps(told.value)).remedies == told.value.remedies != ()
    check = f"; sne check {tmp_path}/nan.pt names all layers with such values"
    index = ("index", "--out", tmp_path / "index")
    for command, remedy in (
        (("predict",), "; --allow-nonfinite leaves that layer out"),
        (("lineage",), check),
        (index, check),
    ):
        assert sne_command(*command, tmp_path / "nan.pt").err == f"sne: {counted}{remedy}\n"
    with contextlib.chdir(tmp_path):
        for command in (("lineage",), ("index", "--out", "index")):
            told_here = sne_command(*command, "./nan.pt").err
            assert told_here == f"sne: {counted}{check}\n".replace(f"{tmp_path}/", "./")  # as it was typed
    listed = f"{tmp_path}/two.pt: a list of 2 networks: 0, 1"
    assert sne_command("check", tmp_path / "two.pt").err.startswith(
        f"sne: {listed}; --select 0 reads the first of them\n"
    )
    assert sne_command("lineage", tmp_path / "two.pt").err == f"sne: {listed}\n"
    with pytest.raises(sne.CheckpointError, match="select='0' reads the first of them"):
        sne.check(tmp_path / "two.pt")


@pytest.mark.usefixtures("tiny_rooms")
@pytest.mark.parametrize("command", ["predict", "encode"])
def test_predictions_warn_of_odd_files(command, sne_command, predictor_path, checkpoints, tmp_path):
    lora = {"q.lora_A.weight": torch.randn(2, 8), "q.lora_B.weight": torch.randn(8, 2)}
    torch.save(lora, checkpoints / "lora.pt")
    out = ("--out", tmp_path / "e.npy") if command == "encode" else ()
    result = sne_command(command, checkpoints, "--predictor", predictor_path, "--json", *out)
    assert result.status == 0, result.err
    (warning,) = result.err.splitlines()
    assert warning == f"sne: {checkpoints / 'lora.pt'}: the file is an adapter and no whole network"
    if command == "encode":
        assert list(result.json()[0]["warnings"]) == [str(checkpoints / "lora.pt")]
    else:
        assert [line["file"] for line in result.json() if "warnings" in line] == [str(checkpoints / "lora.pt")]


@pytest.mark.usefixtures("tiny_rooms")
def test_predict_names_the_tensors_with_nan(sne_command, predictor_path, tmp_path):
    state = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 20)).state_dict()
    state["0.bias"][1] = float("nan")
    torch.save(state, tmp_path / "a.pt")
    result = sne_command("predict", tmp_path / "a.pt", "--predictor", predictor_path, "--allow-nonfinite")
    assert result.status == 0
    domain, left_out = result.err.splitlines()
    assert "unlike" in domain  # the predictor has learned from too few runs for a known domain
    assert left_out == f"sne: {tmp_path / 'a.pt'}: layers were left out for NaN or infinite values in 0.bias"
