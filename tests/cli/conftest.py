import json
from types import SimpleNamespace

import numpy as np
import pytest
from safetensors.torch import save_file
from tiny import TinyEncoder, mlp_state, write_tiny_zoo
from torch import Generator

import sne.baselines
import sne.encoders
from sne.cli.main import main


class MeanOfLabels:
    def fit(self, zoo, rows, targets, *, target, kind, seed):
        self.value = np.bincount(targets).argmax() if kind == "class" else targets.mean()
        self.rows = set(rows)
        return self

    def predict(self, zoo, rows):
        return np.full(len(rows), self.value)


class CannotBeApplied(MeanOfLabels):
    def predict(self, zoo, rows):
        raise ValueError("not on this zoo")


@pytest.fixture
def tiny_rooms(monkeypatch):
    """The preset `tiny` and two quick baselines, in place of what takes minutes."""
    monkeypatch.setitem(sne.encoders.PRESETS, "tiny", TinyEncoder)
    monkeypatch.setitem(sne.encoders.ENCODERS, "TinyEncoder", TinyEncoder)
    baselines = {"mean": MeanOfLabels, "hopeless": CannotBeApplied}
    monkeypatch.setattr(sne.baselines, "BASELINES", baselines)


@pytest.fixture
def sne_command(capsys):
    """Runs `sne` in this process: status, stdout, stderr, and stdout's lines as JSON."""

    def run(*arguments):
        capsys.readouterr()
        status = 0
        try:
            main([str(argument) for argument in arguments])
        except SystemExit as end:
            status = end.code or 0
        out, err = capsys.readouterr()
        return SimpleNamespace(
            status=status, out=out, err=err, json=lambda: [json.loads(line) for line in out.splitlines()]
        )

    return run


@pytest.fixture
def sne_zoo(sne_command):
    """Runs `sne zoo` in this process and checks the exit status."""

    def run(*words, status=0):
        result = sne_command("zoo", *words)
        assert result.status == status, result
        return result

    return run


@pytest.fixture(scope="session")
def zoo_path(tmp_path_factory):
    return write_tiny_zoo(tmp_path_factory.mktemp("zoo") / "tiny")


@pytest.fixture
def predictor_path(zoo_path, tmp_path, sne_command, tiny_rooms):
    path = tmp_path / "predictor"
    result = sne_command(
        "train", zoo_path, "--target", "test_accuracy", "--out", path, "--preset", "tiny", "--epochs", 5
    )
    assert result.status == 0, result.err
    return path


@pytest.fixture
def checkpoints(tmp_path):
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    generator = Generator().manual_seed(3)
    for number, gain in enumerate((0.1, 1.5, 0.6)):
        save_file(mlp_state(generator, width=5, gain=gain), folder / f"net{number}.safetensors")
    return folder
