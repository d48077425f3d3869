"""Names of known layouts with tensors missing, added, and of wrong shapes: a symmetry or one clear line."""

import pytest
import torch
from by_name_proof import assert_all_axes
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from sne.networks import TensorInfo
from sne.symmetry import SymmetryError, apply, sample, symmetry_by_name, symmetry_from_json, symmetry_to_json

LLAMA = {
    "model.embed_tokens.weight": (11, 8), "model.layers.0.self_attn.q_proj.weight": (8, 8),
    "model.layers.0.self_attn.k_proj.weight": (4, 8), "model.layers.0.self_attn.v_proj.weight": (4, 8),
    "model.layers.0.self_attn.o_proj.weight": (8, 8), "model.layers.0.mlp.gate_proj.weight": (6, 8),
    "model.layers.0.mlp.up_proj.weight": (6, 8), "model.layers.0.mlp.down_proj.weight": (8, 6),
    "model.layers.0.input_layernorm.weight": (8,), "model.norm.weight": (8,), "lm_head.weight": (11, 8),
}  # fmt: skip
VIT = {
    "pos_embed": (1, 4, 8), "patch_embed.proj.weight": (8, 1, 2, 2), "blocks.0.attn.qkv.weight": (24, 8),
    "blocks.0.attn.qkv.bias": (24,), "blocks.0.attn.proj.weight": (8, 8), "blocks.0.mlp.fc1.weight": (6, 8),
    "blocks.0.mlp.fc2.weight": (8, 6), "head.weight": (3, 8),
}  # fmt: skip
RESNET = {
    "conv1.weight": (4, 3, 3, 3), "bn1.weight": (4,), "bn1.running_mean": (4,), "fc.weight": (2, 8),
    "layer1.0.conv1.weight": (8, 4, 3, 3), "layer1.0.bn1.running_mean": (8,), "layer1.0.conv2.weight": (8, 8, 3, 3),
    "layer1.0.bn2.running_mean": (8,), "layer1.0.downsample.0.weight": (8, 4, 1, 1),
    "layer1.0.downsample.1.running_mean": (8,),
}  # fmt: skip
STACK = {
    "conv1.weight": (4, 3, 3, 3), "conv1.bias": (4,), "bn1.weight": (4,), "bn1.running_mean": (4,),
    "bn1.running_var": (4,), "conv2.weight": (6, 4, 3, 3), "fc1.weight": (8, 24), "fc2.weight": (3, 8),
}  # fmt: skip
RECURRENT = {
    "embedding.weight": (11, 6), "rnn.weight_ih_l0": (20, 6), "rnn.weight_hh_l0": (20, 5), "rnn.bias_ih_l0": (20,),
    "rnn.bias_hh_l0": (20,), "fc.weight": (3, 5),
}  # fmt: skip
ADDED = ["x", "", ".", "0.weight", "fc.bias", "conv1..weight", "layer1.0.conv9.weight"]
SHAPES = st.lists(st.sampled_from([0, 1, 2, 3, 4, 6, 8, 24]), max_size=6).map(tuple)


@pytest.mark.parametrize("shapes", [LLAMA, VIT, RESNET, STACK, RECURRENT])
def test_as_they_are_they_have_groups(shapes):
    assert symmetry_by_name({name: TensorInfo(name, shape, "float32") for name, shape in shapes.items()}).groups


@settings(max_examples=120, deadline=None)
@given(
    st.sampled_from([LLAMA, VIT, RESNET, STACK, RECURRENT]),
    st.lists(st.tuples(st.integers(0, 30), SHAPES), max_size=3),
    st.sets(st.integers(0, 30), max_size=2),
    st.lists(
        st.sampled_from(["x", "", ".", "0.weight", "fc.bias", "conv1..weight", "layer1.0.conv9.weight"]), max_size=1
    ),
    st.sampled_from([None, 1, 2, 3]),
    st.booleans(),
)
def test_broken_ones_get_a_symmetry_or_one_line(shapes, changed, gone, added, heads, assume_sequential):
    shapes = {name: shape for i, (name, shape) in enumerate(shapes.items()) if i not in gone}
    names = list(shapes)
    for number, shape in changed:
        shapes[names[number % len(names)]] = shape
    shapes |= dict.fromkeys(added, (8, 8))
    infos = {name: TensorInfo(name, shape, "float32") for name, shape in shapes.items()}
    try:
        symmetry = symmetry_by_name(infos, heads=heads, assume_sequential=assume_sequential, activation="relu")
    except SymmetryError as error:
        assert "heads is" in str(error) and "\n" not in str(error)
        return
    assert_all_axes(symmetry, infos)
    assert symmetry_from_json(symmetry_to_json(symmetry)) == symmetry
    state = {name: torch.randn(shape) for name, shape in shapes.items()}
    apply(sample(symmetry, 0, kinds=("permutation", "scaling", "sign", "mixing")), state)


def test_the_order_of_keys_does_not_matter():
    infos = {name: TensorInfo(name, shape, "float32") for name, shape in {**STACK}.items()}
    turned = dict(reversed(infos.items()))
    one, other = symmetry_by_name(infos), symmetry_by_name(turned)
    assert {group.name: set(group.spans) for group in one.groups} == {
        group.name: set(group.spans) for group in other.groups
    }


def test_nothing_is_claimed_of_what_is_not_known():
    modules = [
        nn.Transformer(8, 2, 1, 1, 16),
        nn.MultiheadAttention(8, 2),
        nn.Sequential(nn.TransformerEncoderLayer(8, 2, 16), nn.Linear(8, 4)),
    ]
    for module in modules:
        infos = {name: TensorInfo(name, tuple(t.shape), "float32") for name, t in module.state_dict().items()}
        symmetry = symmetry_by_name(infos)
        assert not symmetry.groups and all(one.reason.startswith("not understood") for one in symmetry.fixed)
