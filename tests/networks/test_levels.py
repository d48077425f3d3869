"""Levels: the order of layers for the names of the common libraries."""

import random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from network_modules import Held, module, order, read, timm_vit, torchvision_resnet, vector
from torch import nn

from sne.networks import recognise


def test_sequential_in_natural_order():
    net = nn.Sequential(*[nn.Linear(4, 4) for _ in range(12)])
    assert order(read(net)) == [str(index) for index in range(12)]


def test_resnet():
    assert order(read(torchvision_resnet())) == [
        "conv1",
        "bn1",
        *[f"layer1.{b}.{name}" for b in (0, 1) for name in ("conv1", "bn1", "conv2", "bn2")],
        "layer2.0.conv1 layer2.0.downsample.0",
        "layer2.0.bn1 layer2.0.downsample.1",
        "layer2.0.conv2",
        "layer2.0.bn2",
        *[f"layer2.1.{name}" for name in ("conv1", "bn1", "conv2", "bn2")],
        "fc",
    ]


def test_vision_transformer():
    expected = ["cls_token patch_embed.proj pos_embed"]
    for block in range(11):
        expected += [
            f"blocks.{block}.norm1",
            " ".join(f"blocks.{block}.attn.qkv.{piece}" for piece in ("key", "query", "value")),
            f"blocks.{block}.attn.proj",
            f"blocks.{block}.ls1.gamma",
            f"blocks.{block}.norm2",
            f"blocks.{block}.mlp.fc1",
            f"blocks.{block}.mlp.fc2",
        ]
    assert order(read(timm_vit(depth=11))) == [*expected, "norm", "head"]


CASES = {
    "encoder layer": (
        nn.TransformerEncoderLayer(8, 2, 16),
        ["norm1", "self_attn.key self_attn.query self_attn.value", "self_attn.out_proj", "norm2", "linear1", "linear2"],
    ),
    "small cnn": (
        module(fc2=nn.Linear(8, 3), conv2=nn.Conv2d(4, 6, 3), conv1=nn.Conv2d(1, 4, 3), fc1=nn.Linear(10, 8)),
        ["conv1", "conv2", "fc1", "fc2"],
    ),
    "unknown names, chained": (
        module(zeta=nn.Linear(4, 6), alpha=nn.Linear(6, 9), mu=nn.Linear(9, 2)),
        ["zeta", "alpha", "mu"],
    ),
    "norms of a fully connected stack": (
        module(
            out=nn.Linear(5, 2), fc1=nn.Linear(4, 6), bn1=nn.BatchNorm1d(6),
            fc2=nn.Linear(6, 5), bn2=nn.BatchNorm1d(5),
        ),
        ["fc1", "bn1", "fc2", "bn2", "out"],
    ),
    "norm before its convolution": (
        module(bn1=nn.BatchNorm2d(4), conv1=nn.Conv2d(4, 6, 3), bn2=nn.BatchNorm2d(6), conv2=nn.Conv2d(6, 9, 3)),
        ["bn1", "conv1", "bn2", "conv2"],
    ),
    "gated mlp": (
        module(w1=nn.Linear(4, 9), w2=nn.Linear(9, 4), w3=nn.Linear(4, 9)),
        ["w1 w3", "w2"],
    ),
    "inverted residual": (
        module(
            conv_dw=nn.Conv2d(9, 9, 3, groups=9), conv_pw=nn.Conv2d(4, 9, 1), conv_pwl=nn.Conv2d(9, 5, 1),
        ),
        ["conv_pw", "conv_dw", "conv_pwl"],
    ),
    "squeeze and excite": (
        module(se=module(expand=nn.Conv2d(2, 8, 1), reduce=nn.Conv2d(8, 2, 1))),
        ["se.reduce", "se.expand"],
    ),
    "two towers": (
        module(
            visual_projection=nn.Linear(4, 2), text_projection=nn.Linear(4, 2),
            text_model=nn.Linear(4, 4), vision_model=nn.Linear(4, 4),
        ),
        ["text_model vision_model", "text_projection visual_projection"],
    ),
    "latent mean and variance": (
        module(dec=nn.Linear(2, 8), enc=nn.Linear(8, 6), logvar=nn.Linear(6, 2), mu=nn.Linear(6, 2)),
        ["enc", "logvar mu", "dec"],
    ),
    "encoder and decoder": (
        module(decoder=nn.Linear(3, 8), encoder=nn.Linear(8, 3)),
        ["encoder", "decoder"],
    ),
    "language model": (
        module(
            lm_head=nn.Linear(4, 9, bias=False), ln_f=nn.LayerNorm(4), h=nn.ModuleList([nn.Linear(4, 4)]),
            wte=nn.Embedding(9, 4), wpe=nn.Embedding(5, 4),
        ),
        ["wpe wte", "h.0", "ln_f", "lm_head"],
    ),
    "recurrent classifier": (
        module(fc=nn.Linear(5, 2), embedding=nn.Embedding(9, 3), rnn=nn.RNN(3, 5)),
        ["embedding", "rnn.l0", "fc"],
    ),
    "cross attention": (
        nn.TransformerDecoderLayer(8, 2, 16),
        ["norm1", "self_attn.key self_attn.query self_attn.value", "self_attn.out_proj", "norm2",
         "multihead_attn.key multihead_attn.query multihead_attn.value", "multihead_attn.out_proj",
         "norm3", "linear1", "linear2"],
    ),
    "experts side by side": (
        module(gate=nn.Linear(4, 2), experts=nn.ModuleList([nn.Linear(4, 4) for _ in range(2)])),
        ["gate", "experts.0 experts.1"],
    ),
    "own parameters beside modules": (
        module(fc=nn.Linear(3, 2), net=module(weight=vector(4, 3), bias=vector(4), next=nn.Linear(4, 3))),
        ["net", "net.next", "fc"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_order_of_siblings(case):
    net, expected = CASES[case]
    network = read(net)
    assert order(network) == expected
    assert not [note for note in network.notes if "guess" in note.reason]


def test_an_open_order_is_said_to_be_a_guess():
    network = read(module(beta=nn.Linear(4, 4), alpha=nn.Linear(4, 4)))
    assert order(network) == ["alpha", "beta"]
    (note,) = network.notes
    assert "a guess: alpha, beta" in note.reason


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "model.", "module._orig_mod.model."])
def test_common_prefixes_leave_names_alone(prefix):
    state = torchvision_resnet().state_dict()
    wrapped = read({prefix + name: value for name, value in state.items()})
    assert [(a.name, a.type, a.level) for a in wrapped.layers] == [
        (b.name, b.type, b.level) for b in read(state).layers
    ]
    assert all(part.tensor.startswith(prefix) for _, part in wrapped.parts())


@pytest.mark.parametrize("net", [torchvision_resnet(), timm_vit(), *[net for net, _ in CASES.values()]])
def test_order_of_keys_does_not_matter(net):
    infos = Held(net.state_dict()).infos
    expected = _recognise_anew(infos)
    for seed in range(5):
        names = list(infos)
        random.Random(seed).shuffle(names)
        assert _recognise_anew({name: infos[name] for name in names}) == expected


def _recognise_anew(infos):
    from sne.networks.recognition import recognise_anew

    return recognise_anew(infos)


words = st.sampled_from(
    ["conv", "conv1", "bn1", "norm", "fc", "fc2", "attn", "q", "k", "v", "out", "mlp", "w1", "w2", "0", "1", "10",
     "block", "downsample", "embed", "pos_embed", "gate", "x", "", "LayerNorm", "layer2", "qkv", "in_proj", "experts",
     "c_attn", "query_key_value", "gate_up_proj", "output", "dense", "shortcut", "h"]
)  # fmt: skip
leaves = st.sampled_from(
    ["weight", "bias", "running_mean", "num_batches_tracked", "gamma", "in_proj_weight", "in_proj_bias", "kernel",
     "weight_ih_l0", "weight_hh_l0", "bias_hh_l0", "weight_hr_l0", "w1", "b1", "fc_bias", "scale", "beta",
     "q_proj_weight", "k_proj_weight", "v_proj_weight"]
)  # fmt: skip
tensors = st.dictionaries(
    st.tuples(st.lists(words, max_size=4), leaves).map(lambda t: ".".join([*t[0], t[1]])),
    st.lists(st.integers(0, 6), max_size=6).map(tuple),
    max_size=14,
)


@settings(max_examples=120, deadline=None)
@given(tensors, st.randoms())
def test_any_names_and_shapes(drawn, rng):
    """No tensor is lost, none is read twice, no order of keys matters, and slices stay inside their tensors."""
    state = {name: torch.zeros(shape) for name, shape in drawn.items()}
    network = read(state)
    keys = list(state)
    rng.shuffle(keys)
    infos = Held({key: state[key] for key in keys}).infos
    assert _recognise_anew(infos) == (network.layers, network.notes)
    entries = dict.fromkeys(state, 0)
    for _, part in network.parts():
        entries[part.tensor] += part.num_entries
        assert network.read(part).shape == part.arranged_shape
        assert part.restore(network.read(part)).shape == part.shape
    noted = {note.tensor for note in network.notes}
    for name, value in state.items():
        assert entries[name] == value.numel() or (entries[name] == 0 and name in noted), name
    if network.layers:
        assert {layer.level for layer in network.layers} == set(range(network.num_levels))


def test_recognition_is_remembered():
    state = timm_vit(depth=24).state_dict()
    first = read(state)
    assert read(state).layers is first.layers
    assert recognise(Held(state).infos)[0] is first.layers
