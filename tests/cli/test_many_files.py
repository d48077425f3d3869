"""Commands on many files: processes, an interruption, and the bar."""

import io
import sys

import numpy as np
import pytest

from sne.cli import progress
from sne.cli.files import expand
from sne.cli.progress import file_progress
from sne.predictors import Predictor, parts_folder

pytestmark = pytest.mark.usefixtures("tiny_rooms")


def test_ctrl_c_and_resume(sne_command, predictor_path, checkpoints, tmp_path, monkeypatch):
    out = tmp_path / "e.parquet"
    options = ("encode", checkpoints, "--predictor", predictor_path, "--out", out, "--batch-size", 1, "--json")
    whole = Predictor.predict_blocks

    def stopped(*arguments, **settings):
        yield next(whole(*arguments, **settings))
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Predictor, "predict_blocks", stopped)
        result = sne_command(*options)
    assert result.status == 130 and result.out == "" and not out.exists()
    assert result.err == (
        f"sne: stopped; finished work is kept in {parts_folder(out)}, and the same command with --resume continues it\n"
    )
    result = sne_command(*options, "--resume")
    assert result.status == 0 and result.json() == [
        {"out": str(out), "networks": 3, "dim": 8, "failed": 0, "resumed": 1}
    ]
    assert not parts_folder(out).exists()


def test_another_predictor_does_not_continue(sne_command, predictor_path, checkpoints, tmp_path, zoo_path):
    out = tmp_path / "e.npy"
    (checkpoints / "bad.pt").write_bytes(b"nothing")
    result = sne_command("encode", checkpoints, "--predictor", predictor_path, "--out", out)
    assert result.status == 2 and f"finished work is kept in {parts_folder(out)}" in result.err
    other = tmp_path / "other"
    trained = sne_command(
        "train", zoo_path, "--target", "test_loss", "--out", other, "--preset", "tiny", "--epochs", 1, "--folds", 1
    )
    assert trained.status == 0, trained.err
    result = sne_command("encode", checkpoints, "--predictor", other, "--out", out, "--resume")
    assert result.status == 2 and result.err.count("\n") == 1
    assert "cannot resume, the predictor has changed; start again without resume" in result.err
    (checkpoints / "bad.pt").unlink()
    result = sne_command("encode", checkpoints, "--predictor", predictor_path, "--out", out, "--resume", "--json")
    assert result.json()[0]["resumed"] == 3 and np.load(out).shape == (3, 8)


def test_processes_print_the_same(sne_command, default_path, checkpoints, tmp_path):
    (checkpoints / "bad.pt").write_bytes(b"nothing")
    for command, *more in (("predict", "--json"), ("encode", "--out", tmp_path / "e.parquet", "--json")):
        options = (command, checkpoints, "--predictor", default_path, *more)
        alone, spread = (sne_command(*options, "--workers", workers) for workers in (0, 1))
        assert (alone.status, alone.out, alone.err) == (spread.status, spread.out, spread.err)
        assert alone.status == 2 and alone.out


@pytest.fixture(scope="module")
def default_path(tmp_path_factory, zoo_path):
    """A predictor whose encoder workers know, too."""
    from sne.training import TrainingSettings, fit
    from sne.zoo import Zoo

    path = tmp_path_factory.mktemp("default") / "p"
    settings = TrainingSettings(experts=("neural",), epochs=1, folds=1)
    fit(Zoo.open(zoo_path), ["test_accuracy"], out=path, settings=settings)
    return path


@pytest.mark.parametrize("options", [("--workers", 1), ("--ray", "local")])
def test_processes_do_not_share_a_gpu(sne_command, predictor_path, checkpoints, options):
    result = sne_command("predict", checkpoints, "--predictor", predictor_path, "--device", "cuda", *options)
    assert result.status == 2 and "cannot be combined with --device cuda" in result.err


def test_a_bar_on_a_terminal_after_a_second(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    clock = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock[0])
    for stream, shows in ((Terminal(), True), (io.StringIO(), False)):
        monkeypatch.setattr(sys, "stderr", stream)
        with file_progress() as show:
            show(1, 300)
            assert stream.getvalue() == ""
            clock[0] += 2
            show(100, 300)
            clock[0] += 2
            show(200, 300)
        assert ("200/300" in stream.getvalue()) == shows
        assert shows or stream.getvalue() == ""


def test_a_folder_with_many_files_is_listed_whole(tmp_path):
    (tmp_path / "many").mkdir()
    for number in range(21_000):
        (tmp_path / "many" / f"{number:05d}.pt").touch()
    (tmp_path / "many" / "notes.txt").touch()
    found = expand([str(tmp_path / "many")])
    assert len(found) == 21_000 and found == sorted(found)


def test_a_glob_for_one_folder_stands_for_its_files(tmp_path, checkpoints):
    assert expand([str(tmp_path / "checkp*")]) == [str(checkpoints / f"net{number}.safetensors") for number in range(3)]


@pytest.mark.parametrize("command", [("predict",), ("check",), ("index", "--out", "i"), ("lineage",),
                                     ("map", "--out", "m.html", "--no-lineage")])  # fmt: skip
def test_files_that_are_skipped_are_named_as_typed(sne_command, checkpoints, default_path, monkeypatch, command):
    (checkpoints / "bad.pt").write_bytes(b"nothing")
    monkeypatch.chdir(checkpoints.parent)
    name, *options = command
    result = sne_command(name, checkpoints.name, *options)
    (line,) = (line for line in result.err.splitlines() if "bad.pt" in line)
    assert line.startswith(f"sne: {checkpoints.name}/bad.pt: ") and str(checkpoints.parent) not in line
    result = sne_command(name, checkpoints, *options)
    assert f"sne: {checkpoints}/bad.pt: " in result.err
