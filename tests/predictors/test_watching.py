"""Folders that are watched."""

import os
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from sne.errors import PredictorError
from sne.predictors import FolderWatch
from sne.predictors.watching import PATIENCE


def write(path, value=1.0, seconds=1):
    save_file({"a.weight": torch.full((2, 3), value)}, path)
    os.utime(path, (seconds, seconds))


def found(watch):
    changes = watch.look()
    for change in changes:
        watch.done(change)
    return [(Path(change.path).name, change.event) for change in changes]


def test_a_checkpoint_is_found_once_it_rests(tmp_path):
    watch = FolderWatch([str(tmp_path)])
    write(tmp_path / "a.safetensors")
    assert found(watch) == [] and watch.pending == [str(tmp_path / "a.safetensors")]
    write(tmp_path / "a.safetensors", seconds=2)
    assert found(watch) == []
    assert found(watch) == [("a.safetensors", "new")] and watch.pending == []
    assert found(watch) == []


def test_oldest_first(tmp_path):
    for name, seconds in (("a", 3), ("b", 1), ("c", 2)):
        write(tmp_path / f"{name}.safetensors", seconds=seconds)
    watch = FolderWatch([str(tmp_path)])
    watch.look()
    assert [name[0] for name, _ in found(watch)] == ["b", "c", "a"]


def test_rewritten_renamed_deleted_and_made_again(tmp_path):
    write(tmp_path / "a.safetensors")
    watch = FolderWatch([str(tmp_path)])
    assert found(watch) == [] and found(watch) == [("a.safetensors", "new")]
    write(tmp_path / "a.safetensors", value=2.0, seconds=2)
    assert found(watch) == [] and found(watch) == [("a.safetensors", "rewritten")]
    (tmp_path / "a.safetensors").rename(tmp_path / "b.safetensors")
    assert found(watch) == []
    (change,) = watch.look()
    assert change.event == "renamed" and change.before == str(tmp_path / "a.safetensors")
    watch.done(change)
    (tmp_path / "b.safetensors").unlink()
    assert found(watch) == []
    write(tmp_path / "b.safetensors", seconds=3)
    assert found(watch) == [] and found(watch) == [("b.safetensors", "new")]


def test_a_copy_is_new(tmp_path):
    write(tmp_path / "a.safetensors")
    watch = FolderWatch([str(tmp_path)], only_new=True)
    shutil.copy2(tmp_path / "a.safetensors", tmp_path / "b.safetensors")
    assert found(watch) == [] and found(watch) == [("b.safetensors", "new")]


def test_only_new(tmp_path):
    write(tmp_path / "a.safetensors")
    watch = FolderWatch([str(tmp_path)], only_new=True)
    write(tmp_path / "b.safetensors")
    assert found(watch) == [] and found(watch) == [("b.safetensors", "new")]
    write(tmp_path / "a.safetensors", seconds=5)
    assert found(watch) == [] and found(watch) == [("a.safetensors", "rewritten")]


def test_what_changes_while_it_is_read_is_not_current(tmp_path):
    write(tmp_path / "a.safetensors")
    watch = FolderWatch([str(tmp_path)])
    watch.look()
    (change,) = watch.look()
    assert change.is_current
    write(tmp_path / "a.safetensors", seconds=9)
    assert not change.is_current
    assert watch.look() == [] and len(watch.look()) == 1


def test_a_failure_is_tried_again_and_then_given_up(tmp_path):
    write(tmp_path / "a.safetensors")
    watch = FolderWatch([str(tmp_path)])
    watch.look()
    for attempt in range(1, PATIENCE + 1):
        (change,) = watch.look()
        assert watch.failed(change) == (attempt == PATIENCE)
    assert watch.look() == [] and watch.pending == []
    write(tmp_path / "a.safetensors", seconds=9)
    assert watch.look() == [] and len(watch.look()) == 1


def test_checkpoints_beside_and_below_a_network(tmp_path):
    """Trainers save the last network into the folder that holds the folders of its checkpoints."""
    watch = FolderWatch([str(tmp_path)])
    (tmp_path / "checkpoint-5").mkdir()
    write(tmp_path / "checkpoint-5" / "model.safetensors")
    assert found(watch) == [] and found(watch) == [("checkpoint-5", "new")]
    write(tmp_path / "model.safetensors")
    (tmp_path / "checkpoint-9").mkdir()
    write(tmp_path / "checkpoint-9" / "model.safetensors", seconds=2)
    assert found(watch) == []
    assert sorted(found(watch)) == [("checkpoint-9", "new"), (tmp_path.name, "new")]


def test_a_folder_that_goes_and_comes(tmp_path):
    (tmp_path / "runs").mkdir()
    write(tmp_path / "runs" / "a.safetensors")
    watch = FolderWatch([str(tmp_path / "runs")])
    watch.look()
    assert len(found(watch)) == 1
    (tmp_path / "runs").rename(tmp_path / "away")
    assert found(watch) == []
    (tmp_path / "runs").mkdir()
    write(tmp_path / "runs" / "b.safetensors")
    assert found(watch) == [] and found(watch) == [("b.safetensors", "new")]


def test_other_sources_are_refused(tmp_path):
    (tmp_path / "file").write_text("")
    for name, reason in (("file", "a file"), ("none", "no such folder")):
        with pytest.raises(PredictorError, match=f"{name}: {reason}, expected a folder"):
            FolderWatch([str(tmp_path / name)])
