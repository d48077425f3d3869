"""Names of features: as many as values, unique, and true to what each entry reacts to."""

import pytest
import torch
from oracles import handmade
from torch import nn

from sne import read_network
from sne.encoders import PRESETS, TensorSetEncoder
from sne.encoders.descriptors import DESCRIPTOR_BLOCKS
from sne.encoders.features import FeatureBlock, compute_features, names_of
from sne.encoders.layer_signals import SIGNAL_BLOCKS, LayerResponse, Meeting
from sne.encoders.measures import WholeTensor
from sne.encoders.signals import OUTPUT_BLOCKS, OutputResponse
from sne.encoders.tensor_tokens import TOKEN_NAMES, tokenize
from sne.encoders.token_places import DEPTH_NAMES, depth_features


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


FEEDS, READS = random(3, 4, 6), random(3, 4, 5)
MEETING = Meeting(FEEDS.norm(dim=2), READS.norm(dim=2), random(3, 4), FEEDS, READS)
RESPONSE = LayerResponse(random(3, 42, 5), random(3, 5).square(), 4, MEETING)
TABLES = {
    "matrix": (DESCRIPTOR_BLOCKS, WholeTensor(random(3, 4, 5, 9)), (3,)),
    "vector": (DESCRIPTOR_BLOCKS, WholeTensor(random(3, 4, 1, 1)), (3,)),
    "signals": (SIGNAL_BLOCKS, RESPONSE, (3,)),
    "signals without a layer before": (SIGNAL_BLOCKS, LayerResponse(RESPONSE.values, RESPONSE.gain, 4, None), (3,)),
    "outputs": (OUTPUT_BLOCKS, OutputResponse(random(3, 18, 5), random(3, 5)), (3, 5)),
    "outputs without a bias": (OUTPUT_BLOCKS, OutputResponse(random(3, 18, 5), None), (3, 5)),
}


@pytest.mark.parametrize("table", TABLES)
def test_every_block_gives_one_value_per_name(table):
    blocks, source, batch = TABLES[table]
    for block in blocks:
        values = block.compute(source)
        assert values.shape == (*batch, block.size) and block.size == len(block.entries), block.name
    assert compute_features(blocks, source).shape == (*batch, len(names_of(blocks)))


def test_names_are_unique():
    for blocks in (DESCRIPTOR_BLOCKS + SIGNAL_BLOCKS, OUTPUT_BLOCKS):
        assert len(set(names_of(blocks))) == sum(block.size for block in blocks)
    block: FeatureBlock[int] = FeatureBlock("a", ("b", "c"), lambda source: torch.tensor([source, 2.0 * source]))
    assert names_of([block]) == ("a/b", "a/c") and compute_features([block], 3).tolist() == [3, 6]


def test_an_encoder_names_its_features_and_its_summary():
    encoder = TensorSetEncoder()
    items = encoder.prepare([handmade.network(handmade.cnn()), handmade.network(handmade.gru())])
    assert all(item.features.shape[1] == len(encoder.feature_names) for item in items)
    assert encoder.summarize(items).shape == (2, len(encoder.summary_names))
    assert len(set(encoder.summary_names)) == len(encoder.summary_names)
    summary = dict(zip(encoder.summary_names, encoder.summarize(items)[0].tolist(), strict=True))
    for column, name in enumerate(encoder.feature_names):
        matrices = items[0].features[items[0].is_matrix][:, column]
        vectors = items[0].features[~items[0].is_matrix][:, column]
        assert summary[f"matrices/first/{name}"] == matrices[0] and summary[f"matrices/last/{name}"] == matrices[-1]
        assert summary[f"vectors/last_but_one/{name}"] == vectors[-2]
        assert summary[f"vectors/mean/{name}"] == pytest.approx(float(vectors.mean()), abs=1e-6)
    assert summary["outputs/largest/output_bias/share"] == float(items[0].outputs[:, 1].max())


@pytest.mark.parametrize("preset", PRESETS)
def test_summaries_and_their_names_have_one_length(preset):
    encoder = PRESETS[preset]()
    summary = encoder.summarize(encoder.prepare([handmade.network(handmade.mlp())]))
    assert len(encoder.summary_names) == (0 if summary is None else summary.shape[1])


def test_depth_features_have_names():
    features = depth_features(torch.tensor([0, 1, 4]), torch.tensor([4, 3, 0]))
    assert features.shape[1] == len(DEPTH_NAMES) == len(set(DEPTH_NAMES))
    column = dict(zip(DEPTH_NAMES, features.T.tolist(), strict=True))
    assert column["is_first"] == [1, 0, 0] and column["is_last"] == [0, 0, 1]
    assert column["relative_position"] == [-1, -0.5, 1]


def mlp() -> dict[str, torch.Tensor]:
    module = nn.Sequential(nn.Linear(5, 9), nn.ReLU(), nn.Linear(9, 7))
    return {name: random(*tensor.shape, seed=seed) for seed, (name, tensor) in enumerate(module.state_dict().items())}


def moved_signals(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor], row: int) -> set[str]:
    """Names of the features of one part that differ between two states."""
    one, other = (item.features[row] for item in tokenize([read_network(before), read_network(after)]))
    change = (one - other).abs().tolist()
    return {name for name, difference in zip(TOKEN_NAMES, change, strict=True) if difference > 1e-4}


def test_neurons_that_no_longer_meet_move_the_match_of_the_layers():
    """Permuting one layer alone leaves that layer alone; the next one reads other neurons."""
    state = mlp()
    order = torch.tensor([3, 1, 8, 0, 2, 7, 5, 4, 6])
    changed = state | {"0.weight": state["0.weight"][order], "0.bias": state["0.bias"][order]}
    assert not moved_signals(state, changed, 0)
    names = moved_signals(state, changed, 2)
    assert {name.split("/")[0] for name in names} == {
        "response_relu",
        "response_tanh",
        "growth",
        "norm_match",
        "subspaces",
    }
    match = {name.removeprefix("norm_match/") for name in names if name.startswith("norm_match/")}
    assert match == {"correlation_read_written", "correlation_read_bias", "deviation_of_norm_product"}
    subspaces = {name for name in names if name.startswith("subspaces/")}
    assert subspaces == {f"subspaces/overlap_of_power_{power}" for power in (1, 2, 4)}


def test_a_larger_first_layer_moves_its_sizes_alone():
    state = mlp() | {"0.bias": torch.zeros(9)}
    names = moved_signals(state, state | {"0.weight": 2 * state["0.weight"]}, 0)
    sizes = (
        "magnitude",
        "spread_over_neurons",
        "spread_over_probes",
        "share_saturated",
    )  # without a bias, the mean is 0
    expected = {f"response_{slot}/{size}" for slot in ("relu", "tanh") for size in sizes} | {"growth/log_gain"}
    assert names == expected | {"distribution/log_rms", "gain/log_fan_in", "gain/log_fan_out"}


def test_a_bias_moves_the_response_but_not_the_growth():
    state = mlp()
    names = moved_signals(state, state | {"0.bias": state["0.bias"] + 1}, 0)
    assert {name.split("/")[0] for name in names} == {"response_relu", "response_tanh"}


def test_output_names():
    state = mlp()
    state["2.weight"] = torch.zeros_like(state["2.weight"])  # every probe gets the biases
    (item,) = tokenize([read_network(state)])
    named = dict(zip(names_of(OUTPUT_BLOCKS), item.outputs.T, strict=True))
    shares = state["2.bias"].softmax(0)
    for name, values in named.items():
        if name != "output_bias/centred":
            torch.testing.assert_close(values, shares, msg=name)
    assert torch.equal(named["output_bias/centred"].argsort(), state["2.bias"].argsort())
