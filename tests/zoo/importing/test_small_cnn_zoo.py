"""On a fixture in the true published layout: TensorFlow names and order, bias before kernel."""

import gzip
from pathlib import Path

import numpy as np
import pytest
import torch
from imported_proof import prove

from sne.making.families.small_cnn import SmallCNN
from sne.zoo import Split, ZooError, ZooWriter, import_zoo

SHAPES = {
    "sequential/conv2d/bias:0": (16,), "sequential/conv2d/kernel:0": (3, 3, 1, 16),
    "sequential/conv2d_1/bias:0": (16,), "sequential/conv2d_1/kernel:0": (3, 3, 16, 16),
    "sequential/conv2d_2/bias:0": (16,), "sequential/conv2d_2/kernel:0": (3, 3, 16, 16),
    "sequential/dense/bias:0": (10,), "sequential/dense/kernel:0": (16, 10),
}  # fmt: skip
HEAD = "config.activation,config.l2reg,modeldir,step,test_accuracy,test_loss\n"
METRICS = "relu,1e-3,/cns/run_0,0,0.1,2.3\nrelu,1e-3,/cns/run_0,86,0.6,1.1\ntanh,1e-5,/cns/run_1,86,0.5,\n"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "toy_small_cnn"
    path.mkdir()
    np.save(path / "weights.npy", np.random.default_rng(0).normal(size=(3, 4970)).astype(np.float32))
    lines, start = ["varname,start_idx,end_idx,size,shape"], 0
    for name, shape in SHAPES.items():
        size = int(np.prod(shape))
        lines.append(f'{name},{start},{start + size},{size},"{shape}"')
        start += size
    (path / "layout.csv").write_text("\n".join(lines) + "\n")
    write_metrics(path, HEAD + METRICS)
    return path


def write_metrics(path: Path, text: str):
    with gzip.open(path / "metrics.csv.gz", "wt") as file:
        file.write(text)


def test_rows(source: Path, tmp_path: Path):
    Split(("/cns/run_0",), (), ("/cns/run_1",)).save(source / "split.json")
    zoo = import_zoo("small-cnn-zoo", source, tmp_path / "zoo")
    assert zoo.ids == ["/cns/run_0@0", "/cns/run_0@86", "/cns/run_1@86"]
    assert zoo.runs == ["/cns/run_0", "/cns/run_0", "/cns/run_1"] and zoo.families == ["small_cnn"] * 3
    assert zoo.property_names == ["test_accuracy", "test_loss"]
    assert zoo.hyperparameter_names == ["config.activation", "config.l2reg"]
    assert set(zoo.column("dataset")) == {"toy_small_cnn"} and np.isnan(zoo.column("test_loss")[2])
    assert zoo.split is not None and zoo.split.rows(zoo.runs, "test").tolist() == [2]
    assert [layer.type.value for layer in zoo.network(0).layers] == ["conv2d"] * 3 + ["linear"]


def test_weights_compute_what_they_computed(source: Path, tmp_path: Path):
    """The torch module with the imported weights against the network written out on TensorFlow's arrays."""
    zoo = import_zoo("small-cnn-zoo", source, tmp_path / "zoo")
    flat = np.load(source / "weights.npy")[1]
    arrays, start = {}, 0
    for name, shape in SHAPES.items():
        arrays[name.removeprefix("sequential/")] = flat[start : start + np.prod(shape)].reshape(shape)
        start += int(np.prod(shape))
    x = np.random.default_rng(1).normal(size=(2, 15, 15, 1))
    out = x
    for layer in ("conv2d", "conv2d_1", "conv2d_2"):
        out = np.tanh(valid_conv(out, arrays[f"{layer}/kernel:0"]) + arrays[f"{layer}/bias:0"])
    out = out.mean((1, 2)) @ arrays["dense/kernel:0"] + arrays["dense/bias:0"]

    module = SmallCNN(1, 10, "tanh", 0.0)
    tensors = zoo.network(1).source
    module.load_state_dict({name: tensors.load(name) for name in tensors.infos})
    logits = module.double()(torch.from_numpy(x).permute(0, 3, 1, 2)).detach().numpy()
    assert np.allclose(logits, out, atol=1e-5)


def valid_conv(x: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """Stride 2, no padding, NHWC and HWIO, one output at a time."""
    size = (x.shape[1] - 3) // 2 + 1
    out = np.zeros((len(x), size, size, kernel.shape[3]))
    for i in range(size):
        for j in range(size):
            patch = x[:, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3]
            out[:, i, j] = np.einsum("nhwc,hwco->no", patch, kernel)
    return out


def test_symmetries(source: Path, tmp_path: Path):
    zoo = import_zoo("small-cnn-zoo", source, tmp_path / "zoo")
    images = torch.randn(3, 1, 15, 15, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    kinds = {"relu": ("permutation", "scaling"), "tanh": ("permutation",)}
    for row, activation in enumerate(("relu", "relu", "tanh")):
        found = prove(zoo, row, SmallCNN(1, 10, activation, 0.0), images)
        assert len(found) == 3 and found["between.1"] == found["between.2"] == kinds[activation]
    assert zoo.symmetry(0) is zoo.symmetry(1) and len(zoo.symmetries) == 2


def test_an_activation_that_is_not_known(source: Path, tmp_path: Path):
    write_metrics(source, HEAD + METRICS.replace("relu", "maxout").replace("tanh", ""))
    zoo = import_zoo("small-cnn-zoo", source, tmp_path / "zoo")
    assert zoo.symmetry(0) is zoo.symmetry(2)
    assert {group.kinds for group in zoo.symmetry(0).groups} == {("permutation",)}


def test_same_layout_as_a_made_small_cnn(source: Path, tmp_path: Path):
    zoo = import_zoo("small-cnn-zoo", source, tmp_path / "zoo")
    with ZooWriter(tmp_path / "made") as writer:
        writer.add(
            id="n", run="n", family="small_cnn", dataset="d", step=0, properties={}, hyperparameters={},
            state=SmallCNN(1, 10, "relu", 0.0).state_dict(),
        )  # fmt: skip
    assert (tmp_path / "made" / "layouts.json").read_text() == (zoo.path / "layouts.json").read_text()


def test_networks_that_are_not_finite(source: Path, tmp_path: Path):
    weights = np.load(source / "weights.npy")
    weights[1, 5] = np.nan
    np.save(source / "weights.npy", weights)
    lines = []
    with pytest.raises(ZooError, match="1 of 3 checkpoints"):
        import_zoo("small-cnn-zoo", source, tmp_path / "zoo", report=lines.append)
    zoo = import_zoo("small-cnn-zoo", source, tmp_path / "zoo", skip_bad=True, report=lines.append)
    assert zoo.ids == ["/cns/run_0@0", "/cns/run_1@86"]
    assert len(lines) == 2 and "/cns/run_0@86" in lines[0]


def edit(name: str, old: str, new: str):
    def change(source: Path):
        text = (source / name).read_text()
        assert old in text
        (source / name).write_text(text.replace(old, new))

    return change


@pytest.mark.parametrize(
    "damage, message",
    [
        (lambda p: (p / "weights.npy").unlink(), r"weights\.npy cannot be read"),
        (lambda p: np.save(p / "weights.npy", np.zeros((3, 4971), np.float32)), "describes 4970 weights"),
        (lambda p: np.save(p / "weights.npy", np.zeros((3, 4970), int)), "expected floats"),
        (lambda p: np.save(p / "weights.npy", np.array([{}], dtype=object)), "cannot be read"),
        (lambda p: write_metrics(p, HEAD + METRICS + METRICS), "has 3 rows, metrics.csv.gz has 6"),
        (lambda p: write_metrics(p, "a\n1\n"), "no column 'modeldir'"),
        (lambda p: write_metrics(p, HEAD + METRICS.replace(",86,", ",,")), "2 of 3"),
        (edit("layout.csv", "varname", "name"), "no column 'varname'"),
        (edit("layout.csv", "dense/kernel", "dense/gamma"), "neither kernel nor bias"),
        (edit("layout.csv", "16,160", "17,161"), "expected from 16 on"),
        (edit("layout.csv", "(3, 3, 1, 16)", "(3, x)"), "is not of the form"),
    ],
)
def test_files_that_do_not_fit(source: Path, tmp_path: Path, damage, message):
    damage(source)
    with pytest.raises(ZooError, match=message):
        import_zoo("small-cnn-zoo", source, tmp_path / "zoo")
    assert not (tmp_path / "zoo" / "networks.parquet").exists()
