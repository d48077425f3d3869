"""Files of every format with bytes that are missing or changed."""

import random
import struct

import pytest
from checkpoint_files import WRITERS, branching

from sne.checkpoints import CheckpointError, read_network

CASES = 60


def harmed(content: bytes, draw: random.Random) -> bytes:
    """A copy without its end, or with up to four other bytes, or both."""
    copy = bytearray(content)
    for _ in range(draw.randint(0, 4)):
        copy[draw.randrange(len(copy))] = draw.randrange(256)
    return bytes(copy[: draw.randrange(len(copy))] if draw.random() < 0.5 else copy)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", WRITERS)
def test_a_damaged_file_is_refused_or_read_whole(name, tmp_path):
    file = tmp_path / name
    WRITERS[name](branching(), file)
    content, draw, refused = file.read_bytes(), random.Random(0), 0
    for _ in range(CASES):
        file.write_bytes(harmed(content, draw))
        try:
            network = read_network(file)
            for _, part in network.parts():
                network.read(part)
        except CheckpointError as error:
            assert str(error).startswith(str(file))
            refused += 1
        else:
            assert network.num_weights > 0
    assert refused > CASES / 4


@pytest.mark.parametrize("suffix", ["", ".pt", ".onnx", ".safetensors", ".gguf", ".npz", ".h5"])
def test_files_of_one_byte(suffix, tmp_path):
    file = tmp_path / f"a{suffix}"
    for byte in range(256):
        file.write_bytes(bytes([byte]))
        with pytest.raises(CheckpointError):
            read_network(file)


def test_gguf_of_empty_experts_without_end(tmp_path):
    """A thousand tensors that claim ten thousand experts each and have no values: 60 kB that would be 10^7 tensors."""
    header = b"GGUF" + struct.pack("<IQQ", 3, 1000, 0)
    for number in range(1000):
        name = f"blk.{number}.ffn_up_exps.weight".encode()
        header += struct.pack("<Q", len(name)) + name + struct.pack("<IQQQIQ", 3, 0, 1, 10_000, 0, 0)
    (tmp_path / "a.gguf").write_bytes(header + bytes(64))
    with pytest.raises(CheckpointError, match="claim more experts than a file of its size holds"):
        read_network(tmp_path / "a.gguf")
