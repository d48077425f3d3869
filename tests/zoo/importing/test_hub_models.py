"""On folders and a hub cache as `transformers` and `huggingface_hub` write them."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from imported_proof import prove
from safetensors.torch import save_file
from torch import nn

from sne.zoo import ZooError, import_zoo

CONFIG = {
    "_name_or_path": "google/vit-tiny", "architectures": ["ViTForImageClassification"], "model_type": "vit",
    "hidden_size": 8, "layer_norm_eps": 1e-12, "qkv_bias": True, "hidden_act": "gelu", "id2label": {"0": "cat"},
    "image_size": [28, 28], "torch_dtype": "float32", "classifier_dropout": None,
}  # fmt: skip
CARD = """---
license: apache-2.0
base_model: google/vit-tiny
tags:
- image-classification
- generated_from_trainer
datasets:
- beans
language: en
model-index:
- name: vit-beans
  results:
  - task:
      name: Image Classification
      type: image-classification
    dataset:
      name: Beans
      type: beans
      split: test
    metrics:
    - name: Accuracy
      type: accuracy
      value: {accuracy}
    - name: Loss
      type: loss
      value: 0.31
  - dataset:
      name: Beans
      type: beans
      split: train
    metrics:
    - type: accuracy
      value: 0.99
  - dataset:
      name: Other beans
      type: org/other-beans
      config: fr
      split: validation
    metrics:
    - type: accuracy
      value: 71.5
    - type: wer
      value: 20.9
---
# A model
---
not: metadata
---
"""


def model(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(6, 8), nn.LayerNorm(8), nn.Linear(8, 3))


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A single file with a card; two shards with their index; a torch file without config and card."""
    folder = tmp_path / "models"
    for name in ("a-vit", "org/b-sharded", "c-plain"):
        (folder / name).mkdir(parents=True)
    save_file(model(0).state_dict(), folder / "a-vit" / "model.safetensors")
    (folder / "a-vit" / "config.json").write_text(json.dumps(CONFIG))
    (folder / "a-vit" / "README.md").write_text(CARD.format(accuracy="0.9213"))
    (folder / "a-vit" / "training_args.bin").write_bytes(b"\x80\x02not weights")
    state = model(1).state_dict()
    shards = {f"model-0000{i + 1}-of-00002.safetensors": list(state)[3 * i : 3 * i + 3] for i in range(2)}
    for file, names in shards.items():
        save_file({name: state[name] for name in names}, folder / "org" / "b-sharded" / file)
    index = {"metadata": {}, "weight_map": {name: file for file, names in shards.items() for name in names}}
    (folder / "org" / "b-sharded" / "model.safetensors.index.json").write_text(json.dumps(index))
    (folder / "org" / "b-sharded" / "config.json").write_text(json.dumps({"architectures": ["Own"], "depth": 2}))
    (folder / "org" / "b-sharded" / "README.md").write_text("# no metadata\n")
    torch.save(model(2).state_dict(), folder / "c-plain" / "pytorch_model.bin")
    return folder


def test_rows(source: Path, tmp_path: Path):
    zoo = import_zoo("hugging-face", source, tmp_path / "zoo", dataset="unsaid")
    assert zoo.ids == zoo.runs == ["a-vit", "c-plain", "org/b-sharded"]
    assert zoo.families == ["vit", "unknown", "Own"]
    assert zoo.column("dataset").tolist() == ["beans", "unsaid", "unsaid"]
    assert set(zoo.property_names) == {
        "license", "base_model", "tags", "language", "accuracy", "loss", "train_accuracy",
        "accuracy_on_org_other_beans_fr_validation", "wer",
    }  # fmt: skip
    assert np.array_equal(zoo.column("accuracy"), [0.9213, np.nan, np.nan], equal_nan=True)
    assert zoo.column("accuracy_on_org_other_beans_fr_validation")[0] == 0.715 and zoo.column("wer")[0] == 20.9
    assert zoo.column("tags")[0] == "image-classification,generated_from_trainer"
    assert set(zoo.hyperparameter_names) == {
        f"config.{name}"
        for name in ("model_type", "hidden_size", "layer_norm_eps", "qkv_bias", "hidden_act", "torch_dtype", "depth")
    }
    for row, seed in enumerate((0, 2, 1)):
        network = zoo.network(row)
        assert set(network.source.infos) == set(model(seed).state_dict())
        for name, value in model(seed).state_dict().items():
            assert torch.equal(network.source.load(name), value)


def test_percentages(source: Path, tmp_path: Path):
    for text, expected in [("92.13", 0.9213), ("'92.13%'", 0.9213), ("1.0", 1.0), ("100", 1.0), ("many", np.nan)]:
        (source / "a-vit" / "README.md").write_text(CARD.format(accuracy=text))
        out = tmp_path / f"zoo{text}"
        column = import_zoo("hugging-face", source / "a-vit", out).column
        if text == "many":  # the next of that name takes its place
            assert column("accuracy")[0] == 0.715
        else:
            assert np.isclose(column("accuracy")[0], expected)


def test_hub_cache(source: Path, tmp_path: Path):
    cache = tmp_path / "hub"
    for name, hashes, main in [("models--org--one", ("aaa", "bbb"), "bbb"), ("models--two", ("ccc", "ddd"), None)]:
        for number, commit in enumerate(hashes):
            snapshot = cache / name / "snapshots" / commit
            snapshot.mkdir(parents=True)
            blob = cache / name / "blobs" / f"blob{number}"
            blob.parent.mkdir(exist_ok=True)
            save_file(model(number).state_dict(), blob)
            (snapshot / "model.safetensors").symlink_to(f"../../blobs/blob{number}")
        if main:
            (cache / name / "refs").mkdir()
            (cache / name / "refs" / "main").write_text(main)
    (cache / "datasets--x" / "snapshots" / "e").mkdir(parents=True)
    save_file({"w": torch.ones(2)}, cache / "datasets--x" / "snapshots" / "e" / "x.safetensors")
    zoo = import_zoo("hugging-face", cache, tmp_path / "zoo")
    assert zoo.ids == ["org/one", "two@ccc", "two@ddd"] and zoo.runs == ["org/one", "two", "two"]
    assert torch.equal(zoo.network(0).source.load("0.weight"), model(1).state_dict()["0.weight"])


TOKENS = torch.randint(0, 11, (2, 6), generator=torch.Generator().manual_seed(1))
ATTENTION = {f"attention.0.{place}" for place in ("heads", "0.key", "0.value", "1.key", "1.value")}


def gpt2(kind: type) -> nn.Module:
    torch.manual_seed(0)
    return kind(transformers.GPT2Config(n_layer=1, n_head=2, n_embd=8, vocab_size=11, n_positions=16))


class First(nn.Module):
    """A module of transformers, giving its first output; names as without the wrapper."""

    def __init__(self, inner: nn.Module):
        super().__init__()
        self.inner = [inner]
        for name, child in inner.named_children():
            self.add_module(name, child)

    def forward(self, x):
        return self.inner[0].eval()(x, return_dict=True)[0]


def test_symmetries(tmp_path: Path):
    """Heads and tied word embeddings stand in the configs; without a head, the stream is the output."""
    kinds = {"a": transformers.GPT2LMHeadModel, "b": transformers.GPT2Model, "c": transformers.GPT2LMHeadModel}
    for name, kind in kinds.items():
        gpt2(kind).save_pretrained(tmp_path / "models" / name)
        path = tmp_path / "models" / name / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"tie_word_embeddings": True}))
    zoo = import_zoo("hugging-face", tmp_path / "models", tmp_path / "zoo")
    tied = prove(zoo, 0, First(gpt2(kinds["a"])), TOKENS, not_stored=("lm_head.weight",))
    assert set(tied) == {"stream", "hidden.0", *ATTENTION}
    headless = prove(zoo, 1, First(gpt2(kinds["b"])), TOKENS)
    assert set(headless) == {"hidden.0", *ATTENTION} and zoo.symmetry(0) is zoo.symmetry(2)


@pytest.mark.parametrize(
    "settings, expected, message",
    [
        ({"n_head": None}, {"stream", "hidden.0"}, None),
        (
            {"n_head": [2]},
            {"stream", "hidden.0"},
            "heads is [2], expected an integer of at least 1; kept without the symm",
        ),
        (
            {"n_head": 3},
            None,
            "heads is 3, which does not divide queries of width 8 and keys of width 8; kept without its symmetry",
        ),
        ({"architectures": "GPT2LMHeadModel"}, {"hidden.0", *ATTENTION}, None),
    ],
)
def test_configs_that_say_little_or_wrong(tmp_path: Path, settings: dict, expected: set | None, message: str | None):
    gpt2(transformers.GPT2LMHeadModel).save_pretrained(tmp_path / "models" / "gpt")
    path = tmp_path / "models" / "gpt" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"tie_word_embeddings": True} | settings))
    lines = []
    symmetry = import_zoo("hugging-face", tmp_path / "models", tmp_path / "zoo", report=lines.append).symmetry(0)
    assert (symmetry and {group.name for group in symmetry.groups}) == expected
    assert len(lines) == (message is not None) and all(message in line for line in lines)


def test_a_module_of_transformers(tmp_path: Path):
    """Written by `save_pretrained`, tied weights and all."""
    gpt = gpt2(transformers.GPT2LMHeadModel)
    gpt.save_pretrained(tmp_path / "models" / "gpt")
    zoo = import_zoo("hugging-face", tmp_path / "models", tmp_path / "zoo")
    assert zoo.families == ["gpt2"] and zoo.column("config.n_embd").tolist() == [8]
    source = zoo.network(0).source
    expected = gpt.state_dict()
    assert len(source.infos) >= 16
    assert all(torch.equal(source.load(name), expected[name]) for name in source.infos)


@pytest.mark.parametrize(
    "text, message",
    [
        ("---\ntags: [\n---\n", "the YAML at its top cannot be read"),
        ("---\n- 1\n---\n", "expected names and values at its top, found a list"),
        ("---\na: !!python/object/apply:os.system ['touch MARKER']\n---\n", "cannot be read"),
        ("---\n? [1]\n: 2\n---\n", "cannot be read"),
        ("---\na: 2021-99-99\n---\n", "cannot be read"),
        ("---\na: " + "[" * 5000 + "\n---\n", "cannot be read"),
        ("\xff", "is not UTF-8"),
    ],
)
def test_bad_cards(source: Path, tmp_path: Path, text: str, message: str):
    marker = tmp_path / "marker"
    (source / "a-vit" / "README.md").write_text(text.replace("MARKER", str(marker)), encoding="latin-1")
    lines = []
    with pytest.raises(ZooError, match="1 of 3"):
        import_zoo("hugging-face", source, tmp_path / "zoo", report=lines.append)
    assert "a-vit/README.md" in lines[0] and message in lines[0] and "\n" not in lines[0] and not marker.exists()
    assert import_zoo("hugging-face", source, tmp_path / "zoo", skip_bad=True).ids == ["c-plain", "org/b-sharded"]


def test_a_card_of_odd_things(source: Path, tmp_path: Path):
    """Nothing of it is of the specified form, and a few bytes of aliases stand for gigabytes."""
    bomb = "".join(f"l{i}: &l{i} [{', '.join([f'*l{i - 1}'] * 9)}]\n" for i in range(1, 12))
    (source / "a-vit" / "README.md").write_text(
        f"---\nl0: &l0 [x, x]\n{bomb}tags: *l11\nlicense: {{a: 1}}\ndatasets: 3\nmodel-index:\n- results: 4\n- 5\n"
        "- results:\n  - metrics:\n    - 7\n    - {type: id, value: 1}\n    - {type: '', value: 1}\n"
        "    - {type: f1, value: .inf}\n    - {type: auc, value: true}\n---\n"
    )
    zoo = import_zoo("hugging-face", source / "a-vit", tmp_path / "zoo")
    assert zoo.property_names == ["id_on_"] and zoo.column("dataset").tolist() == ["3"]


def test_without_pyyaml(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "yaml", None)
    lines = []
    with pytest.raises(ZooError, match="1 of 3"):
        import_zoo("hugging-face", source, tmp_path / "zoo", report=lines.append)
    assert "model cards needs PyYAML; install the extra 'cards': " in lines[0]


def test_bad_folders(source: Path, tmp_path: Path):
    (source / "c-plain" / "pytorch_model.bin").write_bytes(b"PK")
    (source / "a-vit" / "config.json").write_text("{")
    (source / "org" / "b-sharded" / "model-00002-of-00002.safetensors").unlink()
    lines = []
    with pytest.raises(ZooError, match="3 of 3"):
        import_zoo("hugging-face", source, tmp_path / "zoo", skip_bad=True, report=lines.append)
    parts = ("a-vit/config.json is not JSON", "c-plain/pytorch_model.bin: ", "1 of 2 shards are missing")
    assert all(part in line for part, line in zip(parts, lines, strict=True))
    (tmp_path / "empty").mkdir()
    with pytest.raises(ZooError, match=r"no folder with config\.json or weights"):
        import_zoo("hugging-face", tmp_path / "empty", tmp_path / "zoo")


def test_settings_of_several_kinds_are_reported(tmp_path: Path):
    for number, value in enumerate((4, 8, "auto")):
        folder = tmp_path / "models" / str(number)
        folder.mkdir(parents=True)
        torch.save({"0.weight": torch.ones(2, 3)}, folder / "pytorch_model.bin")
        (folder / "config.json").write_text(json.dumps({"window": value}))
    lines = []
    zoo = import_zoo("hugging-face", tmp_path / "models", tmp_path / "zoo", report=lines.append)
    assert lines == ["column config.window: 2 numbers, 1 text ('auto', network 2); stored as text"]
    assert zoo.column("config.window").tolist() == ["4", "8", "auto"]
