"""torch's default dtype changes nothing that sne says."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tiny import write_tiny_zoo
from torch import nn

SAYS = """
import json, sys, warnings
from hashlib import sha256
from pathlib import Path

import torch
warnings.simplefilter("ignore")
torch.set_default_dtype(getattr(torch, sys.argv[1]))
import sne
from sne.encoders import PRESETS
from sne.predictors.experts import TrainingSettings
from sne.provenance.lineage import lineage
from sne.sklearn import NetworkEncoder


def digest(values):
    return f"{values.dtype} {sha256(values.tobytes()).hexdigest()[:16]}"


folder = Path(sys.argv[2])
files = sorted(str(path) for path in folder.glob("*.pt"))
networks = [sne.read_network(path) for path in files]
predictor = sne.Predictor.from_pretrained()
said = {
    "encode": digest(sne.encode(files)),
    "encode, of a sample": digest(sne.encode(files, budget=3000)),
    "predict": [repr(found) for found in predictor.predict(files)],
    "predict, of a sample": [repr(found) for found in predictor.predict(files, budget=3000)],
    "check": [sne.check(path).to_json() for path in files],
    "compare": [repr(sne.compare(first, second)) for first in files[:3] for second in files[:3]],
    "lineage": lineage(files, errors=print).to_json(),
    "card": sne.card(files[0]).to_json(),
    "sklearn": digest(NetworkEncoder().fit_transform(networks)),
}
for name, make in PRESETS.items():
    torch.manual_seed(0)
    encoder = make()
    prepared = encoder.prepare(networks)
    encoder.fit_scale(prepared)
    with torch.no_grad():
        said[name] = digest(encoder.eval()(encoder.collate(prepared)).numpy())
zoo = sne.Zoo.open(folder / "zoo")
settings = TrainingSettings(epochs=1, folds=2)
fitted = sne.fit(zoo, ["test_accuracy"], settings=settings, device="cpu", start=None, progress=False)
said["fit"] = [repr(found) for found in fitted.predict([zoo.network(row) for row in range(4)])]
said["the default dtype is as before"] = str(torch.get_default_dtype()) == "torch." + sys.argv[1]
print(json.dumps(said))
"""


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding, self.lstm, self.head = nn.Embedding(20, 16), nn.LSTM(16, 16), nn.Linear(16, 5)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network, a copy trained further, one with its units in another order, and other architectures."""
    path = tmp_path_factory.mktemp("networks")
    torch.manual_seed(0)
    cnn = nn.Sequential(
        nn.Conv2d(1, 16, 3), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 16, 3), nn.ReLU(), nn.Flatten(),
        nn.Linear(16, 10),
    ).state_dict()  # fmt: skip
    torch.save(cnn, path / "a.pt")
    torch.save({name: values + values.float().std(correction=0) / 50 for name, values in cnn.items()}, path / "b.pt")
    order = torch.randperm(16)
    moved = {name: cnn[name][order] for name in cnn if name.startswith(("0.", "1.")) and cnn[name].ndim}
    torch.save({**cnn, **moved, "3.weight": cnn["3.weight"][:, order]}, path / "c.pt")
    torch.save(nn.Sequential(nn.Linear(784, 100), nn.ReLU(), nn.Linear(100, 10)).state_dict(), path / "d.pt")
    torch.save(Recurrent().state_dict(), path / "e.pt")
    torch.save(nn.TransformerEncoderLayer(32, 4, 64).half().state_dict(), path / "f.pt")
    torch.save(nn.Sequential(nn.Linear(700, 700), nn.Linear(700, 3)).state_dict(), path / "g.pt")
    write_tiny_zoo(path / "zoo")
    return path


def said_with(dtype: str, folder: Path) -> dict:
    done = subprocess.run(
        [sys.executable, "-c", SAYS, dtype, folder], capture_output=True, text=True, cwd=folder, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def usual(folder: Path) -> dict:
    return said_with("float32", folder)


@pytest.mark.parametrize("dtype", ["float64", pytest.param("float16", marks=pytest.mark.slow)])
def test_the_default_dtype_changes_nothing(usual: dict, folder: Path, dtype: str):
    found = said_with(dtype, folder)
    assert found.keys() == usual.keys()
    assert not [name for name in usual if found[name] != usual[name]]
