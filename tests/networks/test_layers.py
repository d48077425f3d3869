"""Types, roles and parts of single layers."""

import pytest
import torch
from network_modules import module, read, timm_vit, vector
from torch import nn

from sne.checkpoints import read_network
from sne.networks import Hint, LayerType, Network, Role

TYPES = {
    "linear": (nn.Linear(3, 4), LayerType.LINEAR),
    "linear without bias": (nn.Linear(3, 4, bias=False), LayerType.LINEAR),
    "conv1d": (nn.Conv1d(3, 4, 5), LayerType.CONV1D),
    "conv2d": (nn.Conv2d(3, 4, 5), LayerType.CONV2D),
    "depthwise": (nn.Conv2d(4, 4, 5, groups=4), LayerType.CONV2D),
    "conv3d": (nn.Conv3d(3, 4, 5), LayerType.CONV3D),
    "conv_transpose1d": (nn.ConvTranspose1d(3, 4, 5), LayerType.CONV_TRANSPOSE1D),
    "conv_transpose2d": (nn.ConvTranspose2d(3, 4, 5), LayerType.CONV_TRANSPOSE2D),
    "conv_transpose3d": (nn.ConvTranspose3d(3, 4, 5), LayerType.CONV_TRANSPOSE3D),
    "batch_norm": (nn.BatchNorm2d(4), LayerType.BATCH_NORM),
    "batch_norm without scale": (nn.BatchNorm2d(4, affine=False), LayerType.BATCH_NORM),
    "layer_norm": (nn.LayerNorm(4), LayerType.LAYER_NORM),
}


@pytest.mark.parametrize("case", TYPES)
def test_type_from_shapes(case):
    inner, expected = TYPES[case]
    network = read(module(body=inner))
    (layer,) = network.layers
    assert (layer.name, layer.type, layer.level) == ("body", expected, 0)
    tensors = {name for name in module(body=inner).state_dict() if "num_batches" not in name}
    assert {part.tensor for part in layer.parts} == tensors


def one(network: Network) -> LayerType:
    (layer,) = network.layers
    return layer.type


def test_type_from_names():
    assert one(read({"embed_tokens.weight": torch.ones(9, 4)})) is LayerType.EMBEDDING
    assert one(read({"wte.weight": torch.ones(9, 4)})) is LayerType.EMBEDDING
    assert one(read({"cls_token": torch.ones(1, 1, 4)})) is LayerType.EMBEDDING
    assert one(read({"wpe.weight": torch.ones(9, 4)})) is LayerType.POSITION
    assert one(read({"pos_embed": torch.ones(1, 9, 4)})) is LayerType.POSITION
    assert one(read({"norm.weight": torch.ones(4)})) is LayerType.RMS_NORM
    assert one(read({"group_norm.weight": torch.ones(4), "group_norm.bias": torch.ones(4)})) is LayerType.GROUP_NORM
    assert one(read({"LayerNorm.gamma": torch.ones(4), "LayerNorm.beta": torch.ones(4)})) is LayerType.LAYER_NORM


def test_type_from_hints():
    norm = {"a.weight": torch.ones(4), "a.bias": torch.ones(4)}
    assert one(read(norm)) is LayerType.LAYER_NORM
    assert one(read(norm, {"a": Hint(LayerType.GROUP_NORM)})) is LayerType.GROUP_NORM
    conv = {"a.weight": torch.ones(4, 4, 3, 3)}
    assert one(read(conv)) is LayerType.CONV2D
    assert one(read(conv, {"a": Hint(LayerType.CONV_TRANSPOSE2D)})) is LayerType.CONV_TRANSPOSE2D
    assert one(read({"a.weight": torch.ones(9, 4)}, {"a": Hint(LayerType.EMBEDDING)})) is LayerType.EMBEDDING


def test_a_type_that_only_the_class_tells():
    bilinear = nn.Bilinear(4, 7, 5)
    network = read_network(module(fc=nn.Linear(3, 4), both=bilinear))
    layer = next(layer for layer in network.layers if layer.name == "both")
    assert layer.type is LayerType.OTHER and [part.tensor for part in layer.parts] == ["both.weight", "both.bias"]
    assert [note.tensor for note in network.notes if "class that is not known" in note.reason] == ["both.weight"]
    state = {"a.weight": torch.ones(5, 4, 7), "a.bias": torch.ones(5)}
    assert one(read(state)) is LayerType.CONV1D
    assert one(read(state, {"a": Hint(LayerType.GRU)})) is LayerType.GRU  # as a type that is added later


def test_transposed_convolution_by_its_neighbours():
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.ConvTranspose2d(8, 6, 2, bias=False), nn.BatchNorm2d(6), nn.Conv2d(6, 2, 1)
    )
    types = [layer.type for layer in read(net).layers]
    assert types == [LayerType.CONV2D, LayerType.CONV_TRANSPOSE2D, LayerType.BATCH_NORM, LayerType.CONV2D]
    plain = nn.Sequential(nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8), nn.Conv2d(8, 6, 3, groups=2, bias=False))
    assert read(plain).layers[2].type is LayerType.CONV2D
    named = read({"deconv.weight": torch.ones(4, 4, 2, 2)})
    assert one(named) is LayerType.CONV2D
    assert "plain one too" in named.notes[0].reason


def test_bias_is_found_by_its_stem_alone():
    state = {"a.weight": torch.ones(3, 3), "z.bias": torch.ones(3), "b.weight": torch.ones(3, 3)}
    state |= {"fc_weight": torch.ones(2, 3), "fc_bias": torch.ones(2), "w1": torch.ones(5, 6), "b1": torch.ones(5)}
    network = read(state)
    parts = {layer.name: [part.tensor for part in layer.parts] for layer in network.layers}
    assert parts == {
        "a": ["a.weight"],
        "b": ["b.weight"],
        "fc": ["fc_weight", "fc_bias"],
        "1": ["w1", "b1"],
        "z.bias": ["z.bias"],
    }
    assert [note.tensor for note in network.notes if "no known layer" in note.reason] == ["z.bias"]


def test_every_tensor_is_a_part_or_noted():
    state = {
        "a.weight": torch.ones(2, 3),
        "steps": torch.tensor(3),
        "mask": torch.ones(3, dtype=torch.bool),
        "spectrum": torch.ones(3, dtype=torch.complex64),
        "odd": torch.ones(2, 3, 4, 5, 6, 7),
        "nothing": torch.ones(0, 3),
        "scale": torch.tensor(2.0),
        "tied": torch.ones(2, 3),
        "quant": torch.ones(2, dtype=torch.int8),
    }
    hints = {"a.weight": Hint(tied="x"), "tied": Hint(tied="x"), "quant": Hint(unused="for a test")}
    network = read(state, hints)
    parts = {part.tensor for _, part in network.parts()}
    noted = {note.tensor: note.reason for note in network.notes}
    assert parts == {"a.weight", "odd", "scale"}
    assert set(noted) == set(state) - {"a.weight"}
    assert "a.weight" in noted["tied"]
    assert noted["quant"] == "for a test"
    assert {layer.type for layer in network.layers if layer.name != "a"} == {LayerType.OTHER}


@pytest.mark.parametrize("kind", ["lstm", "gru", "rnn"])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_recurrent_gates(kind, bidirectional):
    maker, gates = {"lstm": (nn.LSTM, 4), "gru": (nn.GRU, 3), "rnn": (nn.RNN, 1)}[kind]
    inner = maker(3, 5, num_layers=2, bidirectional=bidirectional)
    network = read(module(body=inner, fc=nn.Linear(10 if bidirectional else 5, 2)))
    recurrent = [layer for layer in network.layers if layer.type == kind]
    directions = 2 if bidirectional else 1
    assert len(recurrent) == gates * 2 * directions
    assert [sum(layer.level == level for layer in recurrent) for level in (0, 1)] == [gates * directions] * 2
    assert network.layers[-1].name == "fc"
    assert network.layers[-1].level == 2
    assert not network.notes
    roles = (Role.WEIGHT, Role.RECURRENT_WEIGHT, Role.BIAS, Role.RECURRENT_BIAS)
    assert all(tuple(part.role for part in layer.parts) == roles for layer in recurrent)


def test_recurrent_gates_are_cut_in_the_order_of_torch():
    inner = nn.GRU(3, 5)
    network = read(module(body=inner))
    by_name = {layer.name.rpartition(".")[2]: layer for layer in network.layers}
    for index, gate in enumerate(("reset", "update", "new")):
        rows = slice(5 * index, 5 * index + 5)
        read_parts = [network.read(part) for part in by_name[gate].parts]
        assert torch.equal(read_parts[0][..., 0], inner.weight_ih_l0[rows])
        assert torch.equal(read_parts[1][..., 0], inner.weight_hh_l0[rows])
        assert torch.equal(read_parts[2].flatten(), inner.bias_ih_l0[rows])
        assert torch.equal(read_parts[3].flatten(), inner.bias_hh_l0[rows])


def test_recurrent_cells_and_projections():
    cell = read(module(cell=nn.LSTMCell(3, 5)))
    assert [layer.type for layer in cell.layers] == [LayerType.LSTM] * 4
    projected = read(module(body=nn.LSTM(3, 8, proj_size=2)))
    assert [layer.type for layer in projected.layers] == [LayerType.LSTM] * 4 + [LayerType.LINEAR]
    alone = read(nn.GRU(3, 5).state_dict())
    assert {layer.name for layer in alone.layers} == {"l0.reset", "l0.update", "l0.new"}
    strange = read({"r.weight_hh_l0": torch.ones(7, 5), "r.weight_ih_l0": torch.ones(7, 5)})
    assert {layer.type for layer in strange.layers} == {LayerType.OTHER}
    assert len(strange.notes) == 2


def test_multihead_attention():
    inner = nn.MultiheadAttention(4, 2)
    network = read(module(attn=inner))
    types = [layer.type.value for layer in network.layers]
    assert types == ["attention_key", "attention_query", "attention_value", "attention_out"]
    key = network.read(network.layers[0].parts[0])
    assert torch.equal(key[..., 0], inner.in_proj_weight[4:8])
    apart = read(module(attn=nn.MultiheadAttention(4, 2, kdim=3, vdim=5)))
    assert [layer.type.value for layer in apart.layers] == types
    assert apart.layers[0].parts[0].arranged_shape == (4, 3, 1)


@pytest.mark.parametrize("in_first", [True, False])
def test_gpt2_orientation(in_first):
    """GPT-2 stores [in, out], its rewrites with nn.Linear [out, in]; the shape of c_attn says which."""

    def weight(rows, columns):
        return torch.randn(*((columns, rows) if in_first else (rows, columns)))

    state = {"h.0.attn.c_attn.weight": weight(12, 4), "h.0.attn.c_proj.weight": weight(4, 4)}
    state |= {"h.0.mlp.c_fc.weight": weight(16, 4), "h.0.mlp.c_proj.weight": weight(4, 16)}
    network = read(state)
    shapes = {layer.name.removeprefix("h.0."): layer.parts[0].arranged_shape for layer in network.layers}
    assert shapes == {
        "attn.c_attn.query": (4, 4, 1),
        "attn.c_attn.key": (4, 4, 1),
        "attn.c_attn.value": (4, 4, 1),
        "attn.c_proj": (4, 4, 1),
        "mlp.c_fc": (16, 4, 1),
        "mlp.c_proj": (4, 16, 1),
    }
    stored = state["h.0.attn.c_proj.weight"]
    out = next(layer for layer in network.layers if layer.name == "h.0.attn.c_proj")
    assert torch.equal(network.read(out.parts[0])[..., 0], stored.T if in_first else stored)


def test_fused_grouped_queries_and_interleaved_heads():
    grouped = read({"attn.qkv_proj.weight": torch.ones(16, 8), "attn.o_proj.weight": torch.ones(8, 8)})
    assert [layer.parts[0].arranged_shape[0] for layer in grouped.layers] == [4, 8, 4, 8]
    bloom = read({"a.query_key_value.weight": torch.ones(24, 8), "a.dense.weight": torch.ones(8, 8)})
    assert bloom.layers[0].type is LayerType.LINEAR
    assert "do not tell where" in bloom.notes[0].reason
    state_space = read({"mixer.in_proj.weight": torch.ones(36, 8), "mixer.out_proj.weight": torch.ones(8, 16)})
    assert {layer.type for layer in state_space.layers} == {LayerType.LINEAR}


def test_layer_scale_and_scalars_are_other():
    network = read(module(fc=nn.Linear(3, 3), gamma=vector(3), temperature=nn.Parameter(torch.tensor(1.0))))
    assert [layer.type for layer in network.layers if layer.name != "fc"] == [LayerType.OTHER] * 2
    scalar = next(layer for layer in network.layers if layer.name == "temperature")
    assert network.read(scalar.parts[0]).shape == (1, 1, 1)


def norms(*names: str, **other: torch.Tensor) -> dict[str, LayerType]:
    """Types of norms of four channels that store scale and shift alone."""
    state = {f"{name}.{leaf}": torch.ones(4) for name in names for leaf in ("weight", "bias")}
    network = read(state | {name.replace("__", "."): value for name, value in other.items()})
    return {layer.name: layer.type for layer in network.layers if layer.name in names}


def test_norms_without_running_statistics():
    conv = {"conv__weight": torch.ones(4, 3, 3, 3)}
    assert norms("bn1", "BatchNorm2d", **conv) == dict.fromkeys(("bn1", "BatchNorm2d"), LayerType.BATCH_NORM)
    assert norms("bn1", "downsample.1", **conv)["downsample.1"] is LayerType.BATCH_NORM
    assert norms("ln1", "head.0", **conv)["head.0"] is LayerType.LAYER_NORM
    stored = {"bn1__running_mean": torch.ones(4), "bn1__running_var": torch.ones(4)}
    assert norms("bn1", "norm", **conv, **stored)["norm"] is LayerType.LAYER_NORM


def test_a_norm_of_open_type_is_noted():
    conv = {"conv.weight": torch.ones(4, 3, 3, 3)}
    norm = {"norm.weight": torch.ones(4), "norm.bias": torch.ones(4)}
    (note,) = read(conv | norm).notes
    assert note.tensor == "norm.weight"
    assert "batch norm and group norm; read as layer norm" in note.reason
    assert not read(conv | norm, {"norm": Hint(LayerType.LAYER_NORM)}).notes
    assert not [note for note in read(timm_vit()).notes if "running statistics" in note.reason]


def test_stacked_experts_are_no_convolution():
    stacked = read({
        "mlp.router.layer.weight": torch.ones(4, 8), "mlp.input_linear.weight": torch.ones(4, 12, 8),
        "moe.gate.weight": torch.ones(5, 8), "moe.experts.w1.weight": torch.ones(5, 12, 8),
    })  # fmt: skip
    types = {layer.name: layer.type for layer in stacked.layers}
    assert types["mlp.input_linear"] is types["moe.experts.w1"] is LayerType.OTHER
    assert {note.tensor for note in stacked.notes if "experts" in note.reason} == {
        "mlp.input_linear.weight", "moe.experts.w1.weight"
    }  # fmt: skip
    gated = read({"block.gate.weight": torch.ones(4, 4), "block.conv.weight": torch.ones(4, 4, 3)})
    assert LayerType.CONV1D in {layer.type for layer in gated.layers}


def test_the_weight_before_weight_drop_is_noted():
    network = read({
        "rnns.0.weight_hh_l0_raw": torch.ones(16, 4), "rnns.0.module.weight_hh_l0": torch.ones(16, 4),
        "rnns.0.module.weight_ih_l0": torch.ones(16, 3),
    })  # fmt: skip
    assert [note.tensor for note in network.notes if "weight drop" in note.reason] == ["rnns.0.weight_hh_l0_raw"]
