import os
import signal
import time
from pathlib import Path

import pytest

from sne.zoo import ZooError
from sne.zoo.store.folder import FolderLock


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
    ready, held = os.pipe()
    holder = os.fork()
    if holder == 0:
        FolderLock(tmp_path).take()
        os.write(held, b"held")
        time.sleep(60)
        os._exit(0)
    assert os.read(ready, 4) == b"held"
    with pytest.raises(ZooError, match="is being written by another process"), FolderLock(tmp_path):
        pass
    os.kill(holder, signal.SIGKILL)
    os.waitpid(holder, 0)
    with FolderLock(tmp_path):
        pass
