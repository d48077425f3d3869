import subprocess
import sys
import time
from pathlib import Path

import pytest

from sne.zoo import ZooError
from sne.zoo.store.folder import FolderLock

HOLD = """
import sys, time
from sne.zoo.store.folder import FolderLock
FolderLock(sys.argv[1]).take()
print("held", flush=True)
time.sleep(60)
"""


def test_one_at_a_time(tmp_path: Path):
    with FolderLock(tmp_path):
        with pytest.raises(ZooError, match=f"{tmp_path.name} is taken"), FolderLock(tmp_path, "is taken"):
            pass
    with FolderLock(tmp_path) as lock:
        lock.release()
        with FolderLock(tmp_path):
            pass
    assert list(tmp_path.iterdir()) == []


def test_the_lock_ends_with_its_process(tmp_path: Path):
    holder = subprocess.Popen([sys.executable, "-c", HOLD, tmp_path], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None and holder.stdout.readline() == "held\n"
    with pytest.raises(ZooError, match="is being written by another process"), FolderLock(tmp_path):
        pass
    holder.kill()
    holder.wait()
    deadline = time.monotonic() + 10
    while True:
        try:
            with FolderLock(tmp_path):
                break
        except ZooError:
            assert time.monotonic() < deadline
