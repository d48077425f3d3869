import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import handmade
from oracles.pad_and_chunk import chunks_of

from sne.encoders.chunking import LAYER_TYPES, ROLES, ChunkedNetworks, chunk, chunk_each, unchunk
from sne.networks import Layer, LayerType, Network, Part, Role

LAYOUTS = {
    "mlp": handmade.mlp(),
    "inr": handmade.mlp((1, 32, 1)),
    "cnn": handmade.cnn(),
    "resnet": handmade.resnet(),
    "gru": handmade.gru(),
    "gpt": handmade.transformer(),
}


def parts_of(network: Network) -> list[torch.Tensor]:
    return [network.read(part) for _, part in network.parts()]


def mixed() -> list[Network]:
    """Layouts interleaved, two networks each."""
    return [handmade.network(layers, seed=i) for i in range(2) for layers in LAYOUTS.values()]


@pytest.mark.parametrize("chunk_size", [1, 4, 32])
def test_round_trip(chunk_size):
    networks = mixed()
    back = unchunk(chunk(networks, chunk_size))
    assert len(back) == len(networks)
    for network, parts in zip(networks, back, strict=True):
        expected = parts_of(network)
        assert len(parts) == len(expected)
        assert all(torch.equal(a, b) for a, b in zip(parts, expected, strict=True))


SHAPES = st.one_of(
    st.tuples(st.integers(1, 40)),
    st.tuples(st.integers(1, 9), st.integers(1, 40)),
    st.tuples(st.integers(1, 5), st.integers(1, 4), st.integers(1, 6), st.integers(1, 3)),
)


@settings(deadline=None, max_examples=60)
@given(SHAPES, st.integers(1, 12))
def test_chunks_equal_loop(shape, chunk_size):
    network = handmade.network((handmade.layer(LayerType.OTHER, "x", 0, *shape, bias=False),))
    batch = chunk([network], chunk_size)
    expected = chunks_of(parts_of(network)[0], chunk_size)
    assert batch.lengths.tolist() == [len(weights) for weights in expected]
    rows = [row[:n] for row, n in zip(batch.chunks.tolist(), batch.lengths.tolist(), strict=True)]
    assert rows == expected
    assert (batch.chunks[~batch.mask] == 0).all()
    (parts,) = unchunk(batch)
    assert torch.equal(parts[0], parts_of(network)[0])


def test_rows_and_kernels_are_padded_on_their_own():
    layers = (
        handmade.layer(LayerType.LINEAR, "fc", 0, 3, 5),
        handmade.layer(LayerType.CONV2D, "c", 1, 2, 4, 3, 3),
    )
    batch = chunk([handmade.network(layers)], 4)
    assert batch.part_chunks.tolist() == [3 * 2, 1, 2 * 4 * 3, 1]
    assert batch.lengths.tolist() == [4, 1] * 3 + [3] + [4, 4, 1] * 8 + [2]


def test_offsets_types_and_levels():
    batch = chunk([handmade.network(LAYOUTS["cnn"]), handmade.network(LAYOUTS["mlp"])], 8)
    assert batch.num_networks == 2 and batch.network_parts.tolist() == [6, 4]
    assert batch.part_levels.tolist() == [0, 0, 1, 1, 2, 2, 0, 0, 1, 1]
    conv, linear = LAYER_TYPES[LayerType.CONV2D], LAYER_TYPES[LayerType.LINEAR]
    assert batch.part_layer_types.tolist() == [conv] * 4 + [linear] * 6
    assert batch.part_roles.tolist() == [ROLES[Role.WEIGHT], ROLES[Role.BIAS]] * 5
    assert int(batch.part_chunks.sum()) == len(batch.chunks) == len(batch.lengths)


def test_the_vocabulary_is_whole_and_its_numbers_stay():
    assert set(LAYER_TYPES) == set(LayerType) and set(ROLES) == set(Role)
    assert sorted(LAYER_TYPES.values()) == list(range(len(LAYER_TYPES)))
    assert sorted(ROLES.values()) == list(range(len(ROLES)))
    assert (LAYER_TYPES[LayerType.OTHER], LAYER_TYPES[LayerType.POSITION], ROLES[Role.TABLE]) == (0, 20, 7)


def test_each_equals_alone_whatever_the_others():
    networks = mixed()
    for item, network in zip(chunk_each(networks, 8), networks, strict=True):
        alone = chunk([network], 8)
        for name in vars(alone):
            assert torch.equal(getattr(item, name), getattr(alone, name)), name


def test_pieces_of_a_fused_tensor_are_cut_out_and_loaded_once():
    fused = torch.arange(6 * 4.0).reshape(6, 4)
    kinds = (LayerType.ATTENTION_QUERY, LayerType.ATTENTION_KEY, LayerType.ATTENTION_VALUE)
    layers = tuple(
        Layer(f"a.{kind}", kind, 0, (Part("in_proj_weight", Role.WEIGHT, (2, 4), 0, 1, axis=0, start=2 * i),))
        for i, kind in enumerate(kinds)
    )
    source = handmade.TensorsInMemory({"in_proj_weight": fused})
    (parts,) = unchunk(chunk([Network("n", layers, source)], 3))
    assert [part.squeeze(-1).tolist() for part in parts] == [fused[i : i + 2].tolist() for i in (0, 2, 4)]
    assert source.loads == ["in_proj_weight"]


def test_transposed_storage_and_other_dtypes():
    part = Part("w", Role.WEIGHT, (4, 3), out_axis=1, in_axis=0)  # [in, out], as GPT-2's Conv1D
    stored = torch.randn(4, 3, generator=torch.Generator().manual_seed(0)).to(torch.bfloat16)
    layers = (Layer("c", LayerType.LINEAR, 0, (part,)),)
    batch = chunk([Network("n", layers, handmade.TensorsInMemory({"w": stored}))], 4)
    assert batch.chunks.dtype == torch.float32
    assert torch.equal(batch.chunks, stored.T.float())


def test_parts_without_entries_are_left_out():
    empty = Layer("e", LayerType.LINEAR, 0, (Part("e.weight", Role.WEIGHT, (0, 4), 0, 1),))
    tensors = {"e.weight": torch.zeros(0, 4), "fc0.weight": torch.ones(2, 2), "fc0.bias": torch.ones(2)}
    network = Network("n", (empty, *handmade.mlp((2, 2))), handmade.TensorsInMemory(tensors))
    assert chunk([network], 4).part_shapes.tolist() == [[2, 2, 1], [2, 1, 1]]


def test_concat_and_to():
    items = chunk_each(mixed(), 8)
    both = ChunkedNetworks.concat(items)
    assert both.num_networks == len(items) and len(both.chunks) == sum(len(item.chunks) for item in items)
    assert ChunkedNetworks.concat(items[:1]) is items[0]
    moved = both.to("meta")
    assert moved.chunks.device.type == moved.network_parts.device.type == "meta"


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="chunk_size must be at least 1, got 0"):
        chunk([handmade.network(LAYOUTS["mlp"])], 0)
    with pytest.raises(ValueError, match="bare: expected a network with weights"):
        chunk([Network("bare", (), handmade.TensorsInMemory({}))], 4)
    with pytest.raises(ValueError, match="one chunk size"):
        ChunkedNetworks.concat([chunk([handmade.network(LAYOUTS["mlp"])], c) for c in (4, 8)])
    with pytest.raises(ValueError, match="one chunk size"):
        chunk([], 4)
