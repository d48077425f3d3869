"""On a fixture in the layout that the authors' scripts write, with the modules' names of their model."""

from pathlib import Path

import numpy as np
import pytest
import torch
from imported_proof import prove
from small_transformer import DIM, Transformer

from sne.zoo import ZooError, import_zoo

HEAD = "batch_size,dataset,dropout,epochs,lr,optimizer,seed,is_cuda,ckpt_epoch,ckpt_file"


def state(seed: int, *, has_embedding: bool) -> dict[str, torch.Tensor]:
    torch.manual_seed(seed)
    return Transformer(has_embedding).state_dict()


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "zoo_as_published"
    for name in ("mnist", "ag_news", "metadata"):
        (folder / name).mkdir(parents=True)
    files = ("1a2b3c4d_75_9512", "1a2b3c4d_100_9530", "1a2b3c4d_best1_9544", "007_75_1135")
    for seed, file in enumerate(files):
        torch.save(state(seed, has_embedding=True), folder / "mnist" / f"{file}.pt")
    (folder / "metadata" / "mnist.csv").write_text(
        f"{HEAD},test_top1_accuracy\n"
        "128,mnist,0.1,100,0.003,adam,3,True,75,mnist/1a2b3c4d_75_9512.pt,0.9512\n"
        "128,mnist,0.1,100,0.003,adam,3,True,100,mnist/1a2b3c4d_100_9530.pt,0.953\n"
        "128,mnist,0.1,100,0.003,adam,3,True,best1,mnist/model/mnist/1a2b3c4d_best1_9544.pt,0.9544\n"
        "128,mnist,0.1,100,0.07,sgd,3,True,75,mnist/007_75_1135.pt,0.1135\n"
    )
    torch.save(state(9, has_embedding=False), folder / "ag_news" / "zz_50_8800.pt")
    torch.save({"embedding.embedding.weight": torch.ones(4, DIM)}, folder / "ag_news" / "embedding.pt")
    (folder / "metadata" / "ag_news.csv").write_text(
        f"{HEAD},test_accuracy\n128,ag_news,0.1,100,0.003,adam,3,True,50,ag_news/zz_50_8800.pt,0.88\n"
    )
    return folder


def test_rows(source: Path, tmp_path: Path):
    seen = []
    zoo = import_zoo("small-transformer-zoo", source, tmp_path / "zoo", progress=lambda done, _: seen.append(done))
    assert zoo.ids == [
        "ag_news/zz_50_8800", "mnist/1a2b3c4d_75_9512", "mnist/1a2b3c4d_100_9530", "mnist/1a2b3c4d_best1_9544",
        "mnist/007_75_1135",
    ]  # fmt: skip
    assert zoo.runs == ["ag_news/zz", *["mnist/1a2b3c4d"] * 3, "mnist/007"] and seen == [1, 2, 3, 4, 5]
    assert zoo.column("step").tolist() == [50, 75, 100, 100, 75]
    assert zoo.column("is_best").tolist() == [0, 0, 0, 1, 0]
    assert zoo.column("test_accuracy").tolist() == [0.88, 0.9512, 0.953, 0.9544, 0.1135]
    assert zoo.column("dataset").tolist() == ["ag_news", *["mnist"] * 4] and set(zoo.families) == {"small_transformer"}
    assert zoo.property_names == ["test_accuracy", "is_best"]
    assert set(zoo.hyperparameter_names) == {
        f"config.{name}" for name in ("batch_size", "dropout", "epochs", "lr", "optimizer", "seed", "is_cuda")
    }
    assert zoo.column("config.optimizer").tolist() == ["adam"] * 4 + ["sgd"]
    assert np.allclose(zoo.column("config.lr"), [0.003] * 4 + [0.07])
    for row, expected in [(0, state(9, has_embedding=False)), (2, state(1, has_embedding=True))]:
        network = zoo.network(row)
        assert set(network.source.infos) == set(expected)
        assert all(torch.equal(network.source.load(name), value) for name, value in expected.items())
        assert len({layer.name for layer in network.layers}) == 14 + 2 * (row > 0)


def with_heads(source: Path, heads: str):
    """Adds the column that the authors' settings have."""
    for path in (source / "metadata").iterdir():
        first, *lines = path.read_text().splitlines()
        path.write_text("\n".join([f"{first},n_attention_heads", *(f"{line},{heads}" for line in lines)]) + "\n")


@pytest.mark.parametrize("has_skips", [False, True])
@pytest.mark.parametrize("heads", [None, 1, 2])
def test_symmetries(source: Path, tmp_path: Path, heads: int | None, has_skips: bool):
    """Names do not tell whether there are skips, so what is claimed holds either way."""
    if heads:
        with_heads(source, str(heads))
    zoo = import_zoo("small-transformer-zoo", source, tmp_path / "zoo")
    images = torch.randn(2, 1, 28, 28, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    words = torch.randn(2, 6, DIM, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    vision = prove(zoo, 1, Transformer(True, heads or 2, has_skips), images)
    text = prove(zoo, 0, Transformer(False, heads or 2, has_skips), words)
    hidden = {f"hidden.{name}": ("permutation", "scaling") for name in ("0", "1", "classifier")}
    assert {**hidden, "stream": ("permutation",)}.items() <= vision.items() and hidden.items() <= text.items()
    per_head = {f"attention.{block}.{head}" for block in (0, 1) for head in range(heads or 0)}
    between_heads = {f"attention.{block}.heads" for block in (0, 1) if heads == 2}
    values, keys = ({f"{name}.{part}" for name in per_head} for part in ("value", "key"))
    assert set(text) - set(hidden) == between_heads | values
    assert set(vision) - set(hidden) - {"stream"} == between_heads | values | keys
    assert zoo.symmetry(1) is zoo.symmetry(4) and len(zoo.symmetries) == 2


def test_heads_that_do_not_fit(source: Path, tmp_path: Path):
    with_heads(source, "3")
    lines = []
    zoo = import_zoo("small-transformer-zoo", source, tmp_path / "zoo", report=lines.append)
    assert len(zoo) == 5 and [zoo.symmetry(row) for row in range(5)] == [None] * 5
    assert len(lines) == 2 and all("heads is 3, which does not divide queries of width 8" in line for line in lines)


def test_damaged_and_missing_files(source: Path, tmp_path: Path):
    (source / "mnist" / "007_75_1135.pt").unlink()
    (source / "mnist" / "1a2b3c4d_75_9512.pt").write_bytes(b"PK\x03\x04 cut")
    lines = []
    with pytest.raises(ZooError, match="2 of 5 checkpoints"):
        import_zoo("small-transformer-zoo", source, tmp_path / "zoo", report=lines.append)
    assert "1a2b3c4d_75_9512.pt: " in lines[0] and "007_75_1135.pt: no such file" in lines[1]
    assert not (tmp_path / "zoo" / "networks.parquet").exists()
    assert len(import_zoo("small-transformer-zoo", source, tmp_path / "zoo", skip_bad=True)) == 3


@pytest.mark.parametrize(
    "old, new, message",
    [
        ("ckpt_file", "file", "no column 'ckpt_file'"),
        ("test_top1_accuracy", "accuracy", "neither of the columns test_top1_accuracy, test_accuracy"),
        (",75,", ",late,", "2 of 5"),
        ("mnist/007_75_1135.pt", "", "1 of 5"),
        ("adam,3,True,75", "adam,3,75", "row 2 has 10 entries"),
    ],
)
def test_bad_metadata(source: Path, tmp_path: Path, old: str, new: str, message: str):
    table = source / "metadata" / "mnist.csv"
    table.write_text(table.read_text().replace(old, new))
    with pytest.raises(ZooError, match=message):
        import_zoo("small-transformer-zoo", source, tmp_path / "zoo")


def test_a_path_cannot_lead_elsewhere(source: Path, tmp_path: Path):
    torch.save(state(0, has_embedding=True), tmp_path / "secret.pt")
    table = source / "metadata" / "mnist.csv"
    table.write_text(table.read_text().replace("mnist/007_75_1135.pt", str(tmp_path / "secret.pt")))
    with pytest.raises(ZooError, match="1 of 5"):
        import_zoo("small-transformer-zoo", source, tmp_path / "zoo")


def test_no_metadata(tmp_path: Path):
    with pytest.raises(ZooError, match="expected a folder metadata"):
        import_zoo("small-transformer-zoo", tmp_path, tmp_path / "zoo")
