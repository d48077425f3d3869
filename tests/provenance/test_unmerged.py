"""Adapters that were not merged, next to networks, next to each other, and in searches."""

import json

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from sne import Predictor, Relation, compare, read_network
from sne.provenance.comparison import relative
from sne.provenance.index import Index
from sne.provenance.search import search
from sne.provenance.unmerged import find_adapter

State = dict[str, Tensor]


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed + sum(shape)))


def base(seed: int = 0) -> State:
    state = {"model.embed_tokens.weight": drawn(100, 32, seed=seed)}
    for number in range(2):
        block = f"model.layers.{number}"
        for position, name in enumerate("qkvo"):
            state[f"{block}.self_attn.{name}_proj.weight"] = drawn(32, 32, seed=seed + 10 * number + position)
        state[f"{block}.mlp.up_proj.weight"] = drawn(64, 32, seed=seed + number)
        state[f"{block}.mlp.down_proj.weight"] = drawn(32, 64, seed=seed + number)
    return state


def adapter(seed: int = 0, rank: int = 4, sizes: tuple[int, int] = (64, 32)) -> State:
    state = {}
    for number in range(2):
        path = f"base_model.model.model.layers.{number}.mlp.up_proj"
        state[f"{path}.lora_A.weight"] = drawn(rank, sizes[1], seed=seed + number)
        state[f"{path}.lora_B.weight"] = drawn(sizes[0], rank, seed=seed + number)
    return state


def test_an_adapter_fits_its_base(tmp_path):
    folder = tmp_path / "adapter"
    folder.mkdir()
    save_file(adapter(), folder / "adapter_model.safetensors")
    (folder / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "org/tiny", "r": 4}))
    save_file(base(), tmp_path / "tiny.safetensors")
    found = compare(folder, tmp_path / "tiny.safetensors")
    assert found.relation is Relation.NOT_COMPARABLE and not found.related
    assert found.why.startswith(
        "the first is an adapter of rank 4 for 2 of the 13 matrices of the other network, all of which fit; "
    )
    assert f"names the base 'org/tiny', and the other network is {tmp_path / 'tiny.safetensors'};" in found.why
    assert "merge it into its base" in found.why
    turned = compare(tmp_path / "tiny.safetensors", folder / "adapter_model.safetensors")
    assert turned.why == found.why.replace("the first", "the second")
    assert relative(read_network(folder), read_network(base())) is None


@pytest.mark.parametrize("content", ["[1]", "{", '{"base_model_name_or_path": 3}', "{}"])
def test_a_configuration_that_names_no_base(tmp_path, content):
    save_file(adapter(), tmp_path / "adapter_model.safetensors")
    (tmp_path / "adapter_config.json").write_text(content)
    assert "names the base" not in compare(tmp_path / "adapter_model.safetensors", base()).why


def test_what_does_not_fit_is_named():
    why = compare(adapter(sizes=(48, 32)), base()).why
    assert "2 of the 13 matrices of the other network, of which 2 have another size" in why
    assert "base_model.model.model.layers.0.mlp.up_proj" in why
    elsewhere = {name.replace("layers.1", "layers.7"): values for name, values in adapter().items()}
    assert (
        "; not there: 1 of its 2 layers (base_model.model.model.layers.7.mlp.up_proj);"
        in compare(elsewhere, base()).why
    )
    assert "2 of its 2 layers" in compare({"x.ia3_l": drawn(32), "y.ia3_l": drawn(32)}, base()).why


def test_kernels_and_transposed_matrices_fit():
    kernels = {
        "lora_unet_down_blocks_0_attentions_0_proj_in.lora_down.weight": drawn(4, 32, 3, 3),
        "lora_unet_down_blocks_0_attentions_0_proj_in.lora_up.weight": drawn(16, 4, 1, 1),
        "lora_unet_down_blocks_0_attentions_0_proj_in.alpha": torch.tensor(4.0),
    }
    unet = {"down_blocks.0.attentions.0.proj_in.weight": drawn(16, 32, 3, 3), "conv_in.weight": drawn(8, 3, 3, 3)}
    assert "1 of the 2 matrices of the other network, all of which fit" in compare(kernels, unet).why
    fused = {"h.0.attn.c_attn.lora_A.weight": drawn(4, 32), "h.0.attn.c_attn.lora_B.weight": drawn(96, 4)}
    gpt = {"h.0.attn.c_attn.weight": drawn(32, 96), "h.0.attn.c_proj.weight": drawn(32, 32)}
    assert "all of which fit" in compare(fused, gpt).why


def test_ranks():
    assert str(find_adapter(read_network({**adapter(rank=2), **lone(8)}))) == "an adapter of rank 2 to 8"
    assert find_adapter(read_network(base())) is None
    assert find_adapter(read_network({**base(), **adapter()})) is None


def lone(rank: int) -> State:
    path = "base_model.model.model.layers.0.mlp.down_proj"
    return {f"{path}.lora_A.weight": drawn(rank, 64), f"{path}.lora_B.weight": drawn(32, rank)}


def test_adapters_are_compared_with_each_other():
    one = adapter()
    assert compare(one, dict(one)).relation is Relation.IDENTICAL
    assert compare(one, {name: values.half() for name, values in one.items()}).relation is Relation.PRECISION
    assert not compare(one, adapter(seed=50)).related
    merged = base()
    for number in range(2):
        path = f"layers.{number}.mlp.up_proj"
        factors = [one[f"base_model.model.model.{path}.lora_{factor}.weight"] for factor in "BA"]
        merged[f"model.{path}.weight"] = merged[f"model.{path}.weight"] + 0.1 * factors[0] @ factors[1]
    assert compare(base(), merged).relation is Relation.LOW_RANK


def test_a_search_for_an_adapter_says_what_is_sought(tmp_path):
    paths = [tmp_path / "base.safetensors", tmp_path / "adapter.safetensors"]
    save_file(base(), paths[0])
    save_file(adapter(), paths[1])
    predictor = Predictor.from_pretrained()
    index = Index.open_or_create(tmp_path / "index", predictor)
    index.add(map(str, paths), predictor, errors=lambda path, error: pytest.fail(str(error)))
    warnings = []
    hits = search(read_network(adapter()), index, warn=warnings.append)
    assert [(hit.path, hit.relation) for hit in hits] == [(str(paths[1]), Relation.IDENTICAL)]
    assert warnings == [
        "state dict: an adapter of rank 4; its base is not sought. "
        "Search for the relatives of the merged network instead"
    ]
