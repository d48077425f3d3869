"""Exported programs (.pt2) whose JSON has values of other types than torch writes. Found by fuzzing."""

import io
import json
import zipfile

import pytest
from checkpoint_files import WRITERS, branching

from sne.checkpoints import CheckpointError, read_network

ODD = ([], {}, [[1]], None, 3, "x", 10**400)


@pytest.fixture(scope="module")
def members(tmp_path_factory):
    file = tmp_path_factory.mktemp("exported") / "exported.pt2"
    WRITERS["exported.pt2"](branching(), file)
    with zipfile.ZipFile(file) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def replaced(value, key, other):
    """The value with everything below one key replaced."""
    if isinstance(value, dict):
        return {k: other if k == key else replaced(v, key, other) for k, v in value.items()}
    return [replaced(v, key, other) for v in value] if isinstance(value, list) else value


def keys_of(value):
    if isinstance(value, dict):
        return set(value).union(*(keys_of(inner) for inner in value.values()))
    return set().union(*(keys_of(inner) for inner in value)) if isinstance(value, list) else set()


@pytest.mark.filterwarnings("ignore")
def test_any_key_may_hold_anything(members, tmp_path):
    """Each key of each JSON file in turn gets values of other types: the file is read or refused."""
    outcomes = {"read": 0, "refused": 0}
    for member in [name for name in members if name.endswith(".json")]:
        content = json.loads(members[member])
        for number, key in enumerate(sorted(keys_of(content))):
            changed = json.dumps(replaced(content, key, ODD[number % len(ODD)])).encode()
            packed = io.BytesIO()
            with zipfile.ZipFile(packed, "w") as archive:
                for name, stored in members.items():
                    archive.writestr(name, changed if name == member else stored)
            (tmp_path / "a.pt2").write_bytes(packed.getvalue())
            try:
                network = read_network(tmp_path / "a.pt2")
                assert network.num_weights > 0
                outcomes["read"] += 1
            except CheckpointError:
                outcomes["refused"] += 1
    assert outcomes["read"] and outcomes["refused"]
