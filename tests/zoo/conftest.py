import os

import pytest


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch):
    """Files need not survive a power cut during a test; forcing each to disk takes most of the time."""
    monkeypatch.setattr(os, "fsync", lambda handle: None)
