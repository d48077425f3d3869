"""Our own reader of HDF5 against h5py, and files whose claims are not true."""

import struct

import h5py
import numpy as np
import pytest

from sne.checkpoints import CheckpointError, read_network
from sne.checkpoints.formats.hdf5.objects import Hdf5Objects


def values() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(37, 21)).astype("f4")


OPTIONS = {
    "plain": {},
    "chunks": {"chunks": (8, 8)},
    "one chunk": {"chunks": (37, 21)},
    "gzip": {"compression": "gzip"},
    "all filters": {"compression": "gzip", "shuffle": True, "fletcher32": True, "chunks": (10, 7)},
    "shuffle": {"shuffle": True, "chunks": (30, 2)},
}
DTYPES = ["<f4", ">f4", "<f8", "<f2", ">i4", "u1", "<i8"]


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_arrays_are_those_of_h5py(option, dtype, tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("g/fc.weight", data=(10 * values()).astype(dtype), **OPTIONS[option])
        expected = file["g/fc.weight"][...]
    with (tmp_path / "a.h5").open("rb") as stream:
        objects = Hdf5Objects(stream, (tmp_path / "a.h5").stat().st_size)
        (array,) = [found.array for _, found in objects.walk() if found.array is not None]
        assert np.array_equal(objects.values(array), expected)


def test_attributes_are_those_of_h5py(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.attrs.update({"text": "äöü" * 50, "bytes": b"abc", "number": 3, "real": 0.5})
        file.attrs["names"] = ["a", "bb", "ccc"]
        file.attrs["fixed"] = np.array([b"a", b"bb"])
        file.attrs["numbers"] = np.arange(3, dtype=">i4")
        for index in range(30):
            file.attrs[f"many {index}"] = index
        expected = dict(file.attrs)
    with (tmp_path / "a.h5").open("rb") as stream:
        objects = Hdf5Objects(stream, (tmp_path / "a.h5").stat().st_size)
        _, root = next(objects.walk())
        found = {name: objects.value(attribute) for name, attribute in root.attributes.items()}
    assert found.keys() == expected.keys()
    assert found["text"] == expected["text"]
    assert found["bytes"] == "abc"
    assert (found["number"], found["real"], found["numbers"]) == (3, 0.5, [0, 1, 2])
    assert (found["names"], found["fixed"]) == (["a", "bb", "ccc"], ["a", "bb"])


def test_three_hundred_members(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for index in range(300):
            file[f"g/fc{index}.weight"] = np.full((2, 3), index, "f4")
    network = read_network(tmp_path / "a.h5")
    assert len(network.layers) == 300
    assert network.source.load("g.fc271.weight")[0, 0] == 271


def test_what_is_not_read_is_noted_and_not_followed(tmp_path):
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["secret"] = values()
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["fc.weight"] = values()
        file["soft"] = h5py.SoftLink("/fc.weight")
        file["label"] = "text"
        file["loop/again"] = file["/"]
        file.create_dataset("fast", data=values(), compression="lzf")
        file.create_dataset("unwritten", shape=(10**6, 10**6), dtype="f4", chunks=(1000, 1000))
        file.create_dataset("unwritten too", shape=(10**6, 10**6), dtype="f4")
        layout = h5py.VirtualLayout(shape=(37, 21), dtype="f4")
        layout[:] = h5py.VirtualSource("other.h5", "secret", shape=(37, 21))
        file.create_virtual_dataset("virtual", layout)
    network = read_network(tmp_path / "a.h5")
    assert [layer.name for layer in network.layers] == ["fc"]
    notes = {note.tensor: note.reason for note in network.notes}
    assert "not followed" in notes["soft"]
    assert "virtual" in notes["virtual"]
    assert "filter 32000" in notes["fast"]
    assert "never written" in notes["unwritten"]
    assert "never written" in notes["unwritten too"]
    assert "no numbers" in notes["label"]
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file["fc.weight"] = values()
        file["outside"] = h5py.ExternalLink("other.h5", "/secret")
    assert [layer.name for layer in read_network(tmp_path / "b.h5").layers] == ["fc"]


def test_claims_are_checked(tmp_path):
    """A shape, a chunk or a count that is larger than the file leads to no allocation."""
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["fc.weight"] = values()
    content = (tmp_path / "a.h5").read_bytes()
    shape = struct.pack("<QQ", 37, 21)
    assert content.count(shape) >= 1
    (tmp_path / "a.h5").write_bytes(content.replace(shape, struct.pack("<QQ", 10**9, 10**6)))
    with pytest.raises(CheckpointError, match=r"needs .* bytes, has 3108"):
        read_network(tmp_path / "a.h5")
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file.create_dataset("fc.weight", data=np.zeros((11000, 10000), "i1"), compression="gzip", chunks=(11000, 10000))
    with pytest.raises(CheckpointError, match="claims 110000000 bytes, too many for a file of"):
        read_network(tmp_path / "b.h5")
    with h5py.File(tmp_path / "c.h5", "w") as file:
        dataset = file.create_dataset("fc.weight", shape=(4000, 4000), dtype="f4", chunks=(1, 1))
        dataset[0, 0] = 1
    network = read_network(tmp_path / "c.h5")
    with pytest.raises(CheckpointError, match="16000000 chunks, more than the file can hold"):
        network.read(network.layers[0].parts[0])


def test_other_styles_are_refused_with_what_to_do(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w", track_order=True) as file:
        for index in range(20):
            file[f"fc{index}.weight"] = values()
    with pytest.raises(CheckpointError, match="h5repack --high=0"):
        read_network(tmp_path / "a.h5")
    with h5py.File(tmp_path / "b.h5", "w", libver="latest") as file:
        file["fc.weight"] = values()
    assert read_network(tmp_path / "b.h5").num_weights == 37 * 21


@pytest.mark.parametrize("content", [b"", b"\x00" * 8, b"\x02\x08\x08\x00" + b"\xff" * 60, b"\x00" * 5 + b"\x08" * 90])
def test_short_and_empty_files(content, tmp_path):
    (tmp_path / "a.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + content)
    with pytest.raises(CheckpointError, match="HDF5"):
        read_network(tmp_path / "a.h5")
