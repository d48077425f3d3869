"""Folders as hubs and trainers lay them out: what is read, what is noted, what is refused."""

import json
import logging

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from sne.checkpoints import CheckpointError, read_network
from sne.predictors.sources import expand_sources

STATE = {"fc1.weight": torch.ones(16, 8), "fc1.bias": torch.ones(16), "fc2.weight": torch.ones(4, 16)}


def other() -> dict[str, torch.Tensor]:
    return {"x.weight": torch.ones(5, 5)}


def is_read(path) -> dict[str, str]:
    """Checks that `STATE` is read, and returns the notes."""
    network = read_network(path)
    assert {part.tensor for _, part in network.parts()} == STATE.keys()
    return {note.tensor: note.reason for note in network.notes}


@pytest.mark.parametrize("name", ["model.th", "model.pth.tar", "weights.params", "net.model", "a.pkl", "weights"])
def test_files_are_recognised_whatever_their_suffix(name, tmp_path):
    (tmp_path / "README.md").write_text("text")
    (tmp_path / "vocab").write_text("a b c")
    torch.save(STATE, tmp_path / name)
    is_read(tmp_path)
    assert expand_sources(tmp_path) == [str(tmp_path / name)]


def test_what_stands_beside_a_network_is_noted(tmp_path):
    save_file(STATE, tmp_path / "model.safetensors")
    torch.save(other(), tmp_path / "pytorch_model.bin")
    save_file(other(), tmp_path / "adapter_model.safetensors")
    for name in ("optimizer.pt", "scheduler.pt", "rng_state_0.pth", "training_args.bin"):
        torch.save(other(), tmp_path / name)
    for name in ("2_Dense", "text_encoder/inner", "empty"):
        (tmp_path / name).mkdir(parents=True)
        if name != "empty":
            save_file(other(), tmp_path / name / "model.safetensors")
    (tmp_path / "tokenizer.json").write_text("{}")
    notes = is_read(tmp_path)
    assert notes.keys() == {"pytorch_model.bin", "adapter_model.safetensors", "optimizer.pt", "scheduler.pt",
                            "rng_state_0.pth", "training_args.bin", "2_Dense/", "text_encoder/"}  # fmt: skip
    assert "another checkpoint" in notes["pytorch_model.bin"]
    assert "an adapter" in notes["adapter_model.safetensors"]
    assert "state of the training" in notes["rng_state_0.pth"]
    assert "of its own" in notes["2_Dense/"]
    assert expand_sources(tmp_path) == [str(tmp_path)]


def test_a_folder_is_named_as_it_was_given_and_errors_name_the_file_in_it(tmp_path, monkeypatch):
    save_file({**STATE, "fc1.bias": torch.full((16,), torch.nan)}, tmp_path / "model.safetensors")
    monkeypatch.chdir(tmp_path.parent)
    network = read_network(f"{tmp_path.name}/")
    assert network.name == tmp_path.name
    with pytest.raises(CheckpointError, match=r"model\.safetensors"):
        network.source.load("fc1.bias")
    assert read_network(f"{tmp_path.name}/model.safetensors").name == f"{tmp_path.name}/model.safetensors"
    assert read_network(tmp_path, name="mine").name == "mine"


def test_an_adapter_is_read_only_alone(tmp_path):
    save_file(other(), tmp_path / "adapter_model.safetensors")
    assert read_network(tmp_path).num_weights == 25
    torch.save(STATE, tmp_path / "pytorch_model.bin")
    assert "an adapter" in is_read(tmp_path)["adapter_model.safetensors"]


def test_numpy_files_beside_checkpoints_are_passed_over_and_named(tmp_path, caplog):
    torch.save(STATE, tmp_path / "first.pt")
    np.savez(tmp_path / "data.npz", x=np.ones((4, 4), np.float32))
    with caplog.at_level(logging.WARNING, "sne"):
        assert expand_sources(tmp_path) == [str(tmp_path / "first.pt")]
    assert [record.getMessage() for record in caplog.records] == [
        f"{tmp_path}: data.npz is passed over: NumPy files beside other checkpoints are taken for data; "
        "to read one, name it"
    ]
    caplog.clear()
    np.save(tmp_path / "more.npy", np.ones((4, 4), np.float32))
    expand_sources(tmp_path)
    assert "2 NumPy files (data.npz, ...) are passed over" in caplog.text
    caplog.clear()
    (tmp_path / "first.pt").unlink()
    assert expand_sources(tmp_path) == [str(tmp_path / "data.npz"), str(tmp_path / "more.npy")] and not caplog.text


def test_an_adapter_beside_several_checkpoints_is_one_more_file(tmp_path):
    names = ["adapter_model.safetensors", "first.pt", "second.pt"]
    save_file(other(), tmp_path / names[0])
    assert expand_sources(tmp_path) == [str(tmp_path)]
    for name in names[1:]:
        torch.save(STATE, tmp_path / name)
    assert expand_sources(tmp_path) == [str(tmp_path / name) for name in names]
    assert all(read_network(path).num_weights > 0 for path in expand_sources(tmp_path))


def test_a_network_is_selected_in_a_folder(tmp_path):
    both = {f"{name}.{key}": value * scale for name, scale in (("net", 1), ("ema", 2)) for key, value in STATE.items()}
    save_file(both, tmp_path / "a.safetensors")
    assert read_network(tmp_path, select="ema").source.load("ema.fc1.bias")[0] == 2
    torch.save({"net": STATE, "ema": other()}, tmp_path / "a.pt")
    (tmp_path / "a.safetensors").unlink()
    assert read_network(tmp_path, select="ema").num_weights == 25
    (tmp_path / "a.pt").unlink()
    names = list(both)
    for shard, keys in enumerate((names[:2], names[2:]), start=1):
        save_file({key: both[key] for key in keys}, tmp_path / f"model-0000{shard}-of-00002.safetensors")
    assert {part.tensor for _, part in read_network(tmp_path).parts()} == {f"net.{name}" for name in STATE}
    assert {part.tensor for _, part in read_network(tmp_path, select="ema").parts()} == {f"ema.{key}" for key in STATE}


def test_variants_and_indexes_with_a_variant(tmp_path):
    names = list(STATE)
    weight_map = {}
    for shard, keys in enumerate((names[:1], names[1:]), start=1):
        file = f"model.fp16-0000{shard}-of-00002.safetensors"
        save_file({key: STATE[key] for key in keys}, tmp_path / file)
        weight_map |= dict.fromkeys(keys, file)
    (tmp_path / "model.safetensors.index.fp16.json").write_text(json.dumps({"weight_map": weight_map}))
    assert is_read(tmp_path) == {}
    save_file(STATE, tmp_path / "model.safetensors")
    assert len(is_read(tmp_path)) == 2


def test_parts_are_listed(tmp_path):
    for name in ("unet", "vae"):
        (tmp_path / name).mkdir()
        save_file(STATE, tmp_path / name / "diffusion_pytorch_model.safetensors")
    with pytest.raises(CheckpointError, match=r"a folder without a checkpoint; name one of its parts: unet, vae"):
        read_network(tmp_path)
    (tmp_path / "model_index.json").write_text("{}")
    with pytest.raises(CheckpointError, match=r"a pipeline of several networks; name one of its parts: unet, vae"):
        read_network(tmp_path)
    assert expand_sources(tmp_path) == [str(tmp_path / "unet"), str(tmp_path / "vae")]


def test_files_that_name_the_newest_folder(tmp_path):
    inner = tmp_path / "run" / "global_step10"
    inner.mkdir(parents=True)
    torch.save({"module": STATE, "ds_version": "0.12"}, inner / "mp_rank_00_model_states.pt")
    torch.save({"optimizer_state_dict": {}}, inner / "zero_pp_rank_0_mp_rank_00_optim_states.pt")
    (tmp_path / "run" / "latest").write_text("global_step10")
    assert "state of the training" in is_read(tmp_path / "run")["zero_pp_rank_0_mp_rank_00_optim_states.pt"]
    (tmp_path / "run" / "latest").write_text("../elsewhere")
    with pytest.raises(CheckpointError, match="its parts: global_step10"):
        read_network(tmp_path / "run")


def test_the_cache_of_hugging_face(tmp_path):
    snapshot = tmp_path / "snapshots" / "abc"
    for folder in (tmp_path / "blobs", tmp_path / "refs", snapshot):
        folder.mkdir(parents=True)
    (tmp_path / "refs" / "main").write_text("abc")
    weight_map = {}
    for number, (key, value) in enumerate(STATE.items()):
        save_file({key: value}, tmp_path / "blobs" / f"{number}")
        (snapshot / f"model-{number}.safetensors").symlink_to(f"../../blobs/{number}")
        weight_map[key] = f"model-{number}.safetensors"
    (tmp_path / "blobs" / "index").write_text(json.dumps({"weight_map": weight_map}))
    (snapshot / "model.safetensors.index.json").symlink_to("../../blobs/index")
    for path in (tmp_path, snapshot):
        is_read(path)
    assert expand_sources(tmp_path) == [str(snapshot)]


def test_folders_that_link_to_themselves(tmp_path):
    torch.save(STATE, tmp_path / "a.pt")
    (tmp_path / "loop").symlink_to(tmp_path)
    assert expand_sources(tmp_path) == [str(tmp_path / "a.pt")]
    assert read_network(tmp_path).num_weights == 16 * 8 + 16 + 64


def llama(count: int, embedding_axis: int) -> tuple[dict[str, torch.Tensor], list[dict[str, torch.Tensor]]]:
    """A network with the names of Meta's Llama, whole and cut as its parallel layers are."""
    torch.manual_seed(0)
    layer = {"attention.wq": (8, 8), "attention.wk": (4, 8), "attention.wv": (4, 8), "attention.wo": (8, 8),
             "feed_forward.w1": (12, 8), "feed_forward.w2": (8, 12), "feed_forward.w3": (12, 8)}  # fmt: skip
    whole = {f"layers.0.{name}.weight": torch.randn(shape) for name, shape in layer.items()}
    whole |= {"tok_embeddings.weight": torch.randn(20, 8), "output.weight": torch.randn(20, 8)}
    whole |= {"layers.0.attention_norm.weight": torch.randn(8), "norm.weight": torch.randn(8)}
    axes = {"wo": 1, "w2": 1, "tok_embeddings": embedding_axis}
    parts: list[dict[str, torch.Tensor]] = [{} for _ in range(count)]
    for name, value in whole.items():
        axis = axes.get(name.split(".")[-2], 0)
        pieces = [value] * count if "norm" in name else value.chunk(count, axis)
        for part, piece in zip(parts, pieces, strict=True):
            part[name] = piece.clone()
    return whole, parts


@pytest.mark.parametrize("embedding_axis", [0, 1])
def test_tensor_parallel_parts_of_llama_are_joined(embedding_axis, tmp_path):
    whole, parts = llama(2, embedding_axis)
    for number, part in enumerate(parts):
        torch.save(part, tmp_path / f"consolidated.0{number}.pth")
    network = read_network(tmp_path)
    assert {part.tensor for _, part in network.parts()} == whole.keys()
    assert all(torch.equal(network.source.load(name), value) for name, value in whole.items())
    assert "joined" in {note.tensor: note.reason for note in network.notes}["consolidated.01.pth"]
    (tmp_path / "consolidated.00.pth").unlink()
    torch.save(parts[0], tmp_path / "consolidated.02.pth")
    with pytest.raises(CheckpointError, match="parts are missing"):
        read_network(tmp_path)


def test_parts_that_are_cut_in_an_unknown_way_are_refused(tmp_path):
    for number in range(2):
        torch.save({"block.experts.weight": torch.full((4, 4), float(number))}, tmp_path / f"mp_rank_0{number}.pt")
    with pytest.raises(
        CheckpointError, match=r"2 parts of one network, mp_rank_00.pt to mp_rank_01.pt, and it is not known"
    ):
        read_network(tmp_path)
    for number in range(2):
        torch.save({"block.experts.weight": torch.ones(4 + number, 4)}, tmp_path / f"mp_rank_0{number}.pt")
    with pytest.raises(CheckpointError, match=r"not in all of them with one shape"):
        read_network(tmp_path)


def test_pipelines_of_layers_and_distributed_checkpoints_name_what_converts_them(tmp_path):
    for number in range(2):
        torch.save({"mlp.weight": torch.ones(2, 2)}, tmp_path / f"layer_0{number}-model_00-model_states.pt")
    with pytest.raises(CheckpointError, match=r"2 parts of one network.*convert_neox_to_hf"):
        read_network(tmp_path)
    (tmp_path / "dcp").mkdir()
    (tmp_path / "dcp" / "__0_0.distcp").write_bytes(b"PK")
    with pytest.raises(CheckpointError, match="dcp_to_torch"):
        read_network(tmp_path / "dcp")


def test_arrays_beside_checkpoints_are_data(tmp_path):
    import numpy as np

    torch.save(STATE, tmp_path / "a.pt")
    np.save(tmp_path / "labels.npy", np.ones((3, 3), dtype=np.float32))
    assert expand_sources(tmp_path) == [str(tmp_path / "a.pt")]
