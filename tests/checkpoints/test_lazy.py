"""Huge files are inspected without reading their values."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from checkpoint_files import write_safetensors

LAYERS, WIDTH = 40, 8192  # 40 matrices of 256 MiB: 10 GiB
MOST_MEMORY = 300 * 2**20
MOST_GROWTH = 100 * 2**20  # beyond what importing takes, which is 500 MiB where torch is built for CUDA

PROGRAM = """
import json, sys
from pathlib import Path
from sne.checkpoints import read_network

def peak():
    status = Path("/proc/self/status").read_text()  # getrusage would also count the process that started this one
    return int(status.split("VmHWM:")[1].split()[0]) * 1024

imported = peak()
network = read_network(sys.argv[1])
last = [part for layer, part in network.parts() if len(part.shape) == 1][-1]
first = network.read(last).sum().item()
found = {"weights": network.num_weights, "layers": len(network.layers), "sum": first}
print(json.dumps(found | {"imported": imported, "peak": peak()}))
"""


def write_huge_safetensors(file: Path) -> None:
    header, end = {}, 0
    for index in range(LAYERS):
        for name, shape in ((f"layers.{index}.weight", [WIDTH, WIDTH]), (f"layers.{index}.bias", [WIDTH])):
            size = 4 * WIDTH * (WIDTH if len(shape) == 2 else 1)
            header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [end, end + size]}
            end += size
    write_safetensors(file, header, b"")
    os.truncate(file, file.stat().st_size + end)


def write_huge_torch_file(file: Path) -> None:
    state = {}
    with torch.serialization.skip_data():
        for index in range(LAYERS):  # memory that is never touched is never taken
            state[f"layers.{index}.weight"] = torch.empty(WIDTH, WIDTH)
            state[f"layers.{index}.bias"] = torch.empty(WIDTH)
        torch.save(state, file)


@pytest.mark.parametrize(
    ("name", "write"), [("a.safetensors", write_huge_safetensors), ("a.pt", write_huge_torch_file)]
)
def test_ten_gigabytes(name, write, tmp_path):
    file = tmp_path / name
    write(file)
    assert file.stat().st_size > 10 * 2**30
    assert file.stat().st_blocks * 512 < 2**28, "the test's own file must be sparse"
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(file)], capture_output=True, text=True, check=True, timeout=60
    )
    found = json.loads(run.stdout)
    assert found["layers"] == LAYERS
    assert found["weights"] == LAYERS * WIDTH * (WIDTH + 1)
    assert found["sum"] == 0
    assert found["peak"] - found["imported"] < MOST_GROWTH
    if torch.version.cuda is None:
        assert found["peak"] < MOST_MEMORY
    file.unlink()
