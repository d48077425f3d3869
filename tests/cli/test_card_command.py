"""`sne card` as a user sees it."""

import json

import pytest
import torch
import typer
from torch import nn
from typer.testing import CliRunner

from sne.cli.card import card
from sne.errors import SneError, WriteError

APP = typer.Typer(pretty_exceptions_enable=False)
APP.command()(card)


@pytest.fixture
def files(tmp_path):
    torch.manual_seed(0)
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        torch.save(
            nn.Sequential(nn.Linear(64, 8), nn.ReLU(), nn.Linear(8, 10)).state_dict(), tmp_path / folder / "m.pt"
        )
    (tmp_path / "bad.pt").write_bytes(b"\x89PNG\r\n\x1a\n")
    return tmp_path


def run(*arguments):
    return CliRunner().invoke(APP, [str(argument) for argument in arguments])


def test_one_file_becomes_one_page(files):
    result = run(files / "a/m.pt", "--out", files / "new/card.html", "--no-influence")
    assert result.exit_code == 0, result.output
    page = (files / "new/card.html").read_text()
    assert page.startswith("<!doctype html>") and "Predicted from the weights" in page
    assert result.stdout.startswith(f"{files / 'new/card.html'}: ") and len(result.stdout.splitlines()) == 1


def test_influence_can_be_left_out(files):
    result = run(files / "a/m.pt", "--no-influence", "--json")
    assert json.loads(result.stdout)["unmeasured"] == "it was not asked for"


def test_several_files_become_pages_of_a_folder(files):
    result = run(files / "a", files / "b", files / "bad.pt", "--out", files / "cards", "--json")
    assert result.exit_code == 2 and "bad.pt" in result.stderr and "1 of 3 files skipped" in result.stderr
    assert sorted(path.name for path in (files / "cards").iterdir()) == ["m.pt-2.html", "m.pt.html"]
    assert [json.loads(line)["facts"]["num_weights"] for line in result.stdout.splitlines()] == [610, 610]


def test_markdown_on_stdout_and_in_a_file(files):
    result = run(files / "a/m.pt", "--markdown")
    assert result.stdout.startswith("---\ntags:\n- ") and "# m.pt" in result.stdout
    run(files / "a/m.pt", "--markdown", "--out", files / "README")
    assert (files / "README").read_text() == result.stdout


def test_mistakes_are_told(files):
    for arguments, message in [
        ([files / "a/m.pt"], "name --out card.html, --markdown or --json"),
        ([files / "a", files / "b", "--out", files / "card.html"], "name a folder"),
        ([files / "a/m.pt", "--out", files / "c.html", "--predictor", files / "none"], "no such predictor"),
    ]:
        result = run(*arguments)
        assert isinstance(result.exception, SneError) and message in str(result.exception)
    assert isinstance(run(files / "a/m.pt", "--out", files / "a").exception, WriteError)
    assert not list(files.glob("*.html"))
