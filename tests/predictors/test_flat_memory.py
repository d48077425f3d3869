"""The size of a process that predicts again and again."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

PREDICT = """
import json, os, sys
from pathlib import Path
import numpy as np
import torch
from safetensors.torch import save_file
from sne.encoders import TensorSetEncoder
from sne.predictors import Predictor, Property
from sne.predictors.experts import EncoderWithHeads, NeuralExpert, PropertyHeads

torch.set_num_threads(1)
folder, warm, more = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
properties = (Property.infer("accuracy", [0.1, 0.9]),)
expert = NeuralExpert(EncoderWithHeads(TensorSetEncoder(), PropertyHeads(96, properties)))
predictor = Predictor(TensorSetEncoder(), properties, [expert], np.ones((1, 1)))

def size():
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

def predict(number):
    width = 2 + number % 100  # a layout of its own
    state = {"0.weight": torch.randn(width, 9), "0.bias": torch.randn(width), "2.weight": torch.randn(3, width)}
    path = folder / ("a.pt", "a.safetensors", "a.npz", "bad.pt")[number % 4]
    if path.suffix == ".pt":
        torch.save(state, path)
    elif path.suffix == ".npz":
        np.savez(path, **{name: tensor.numpy() for name, tensor in state.items()})
    else:
        save_file(state, path)
    if path.stem == "bad":
        path.write_bytes(path.read_bytes()[:-50])
    return len(predictor.predict(path, errors="skip"))

done = [predict(number) for number in range(warm)]
before = size()
done += [predict(number) for number in range(warm, warm + more)]
print(json.dumps([sum(done), before, size()]))
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="the system does not tell the size of a process")
@pytest.mark.parametrize("more", [300, pytest.param(1000, marks=pytest.mark.slow)])
def test_the_size_of_a_process_stays(tmp_path: Path, more: int):
    done = subprocess.run(
        [sys.executable, "-c", PREDICT, str(tmp_path), "100", str(more)],
        capture_output=True, text=True, check=True, env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    predicted, before, after = json.loads(done.stdout)
    assert predicted == (100 + more) * 3 / 4
    assert after < 1.01 * before, f"{before / 1e6:.1f} MB became {after / 1e6:.1f} MB in {more} predictions"
