"""Symmetries go out with exported networks and come back."""

import pytest
from tiny import mlp_symmetry, write_tiny_zoo

from sne.zoo import Zoo, ZooError, export_folder, import_zoo, verify


def exported(tmp_path):
    zoo = Zoo.open(write_tiny_zoo(tmp_path / "zoo", runs=4, known=lambda run: run > 0))
    export_folder(zoo, tmp_path / "out")
    return zoo


def test_round_trip(tmp_path):
    zoo = exported(tmp_path)
    back = import_zoo("folder", tmp_path / "out", tmp_path / "back")
    assert [back.symmetry(row) for row in range(8)] == [zoo.symmetry(row) for row in range(8)]
    assert back.symmetry(0) is None and back.symmetry(2) == mlp_symmetry(6)
    assert back.property_names == zoo.property_names and verify(back.path).is_intact


def test_only_what_is_exported(tmp_path):
    zoo = exported(tmp_path)
    export_folder(zoo, tmp_path / "wide", families=["wide"])
    assert (tmp_path / "wide" / "symmetries.json").read_text().count("groups") == 1
    plain = Zoo.open(write_tiny_zoo(tmp_path / "plain", runs=4))
    export_folder(plain, tmp_path / "without")
    assert not (tmp_path / "without" / "symmetries.json").exists()
    assert "symmetry" not in (tmp_path / "without" / "zoo.csv").read_text()


def test_a_symmetry_that_is_not_there(tmp_path):
    exported(tmp_path)
    path = tmp_path / "out" / "zoo.csv"
    key = (tmp_path / "out" / "symmetries.json").read_text().split('"')[1]
    path.write_text(path.read_text().replace(key, "0" * 16))
    with pytest.raises(ZooError):
        import_zoo("folder", tmp_path / "out", tmp_path / "back")
    said = []
    with pytest.raises(ZooError):
        import_zoo("folder", tmp_path / "out", tmp_path / "back", report=said.append)
    assert any("has no symmetry '0000000000000000'" in line for line in said)
