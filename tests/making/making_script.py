"""Run by test_kills.py: makes a zoo, and may be killed by its own hand at a chosen moment."""

import json
import os
import signal
import sys
from pathlib import Path
from types import SimpleNamespace

from making_cases import FAMILIES, LENGTH

import sne.making.folder
import sne.making.packs
import sne.zoo.store.shards
import sne.zoo.store.writing
from sne.making import make


def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)


def half_a_run(file, data):
    if file.tell() > 100:  # not the first
        file.write(data[: len(data) // 2])
        die()
    file.write(data)


def after_one_move(path, names):
    (path / ".writing" / names[0]).replace(path / names[0])
    die()


MOMENTS = {
    "none": lambda: None,
    "half a run written": lambda: setattr(sne.making.packs, "_write_all", half_a_run),
    "shards written": lambda: setattr(sne.zoo.store.writing, "write_index", die),
    "one shard in place": lambda: setattr(sne.zoo.store.writing, "publish", after_one_move),
    "zoo in place": lambda: setattr(sne.making.folder, "shutil", SimpleNamespace(rmtree=die)),
}

if __name__ == "__main__":
    moment, out, images, settings = sys.argv[1:]
    MOMENTS[moment]()
    tiny = {"families": FAMILIES, "networks": 2, "workers": 1} | LENGTH
    print(len(make(Path(out), images=images, **(tiny | json.loads(settings)))))
