"""Every relation, its direction and its p-value."""

import pytest
import torch
from provenance.descendants import cnn, copy_of, noisy, perceptron, pruned, quantised
from torch import nn

from sne import CheckpointError, Relation, compare


@pytest.fixture(scope="module")
def module():
    return perceptron(0)


@pytest.fixture(scope="module")
def state(module):
    return module.state_dict()


def test_a_network_is_identical_to_itself(state):
    found = compare(state, {name: values.clone() for name, values in state.items()})
    assert found.relation is Relation.IDENTICAL and found.related and found.direction is None
    assert found.p_value is not None and found.p_value < 1e-50
    assert all(layer.equal == 1 and layer.relative_change == 0 for layer in found.layers)


def test_networks_of_other_seeds_are_independent(state):
    found = compare(state, perceptron(1).state_dict())
    assert found.relation is Relation.INDEPENDENT and not found.related and found.direction is None
    assert found.p_value is not None and found.p_value > 1e-3


@pytest.mark.parametrize("kinds", [("permutation",), ("scaling",), ("permutation", "scaling")])
def test_copies_with_the_same_function_are_found(module, state, kinds):
    found = compare(state, copy_of(module, torch.randn(2, 16), kinds=kinds))
    assert found.relation is Relation.SAME_FUNCTION and found.direction is None
    assert ("units moved" in found.aligned) == ("permutation" in kinds)
    assert ("scales changed" in found.aligned) == ("scaling" in kinds)
    assert found.p_value is not None and found.p_value < 1e-30
    assert bool(found.assumed) == ("scaling" in kinds)


def test_flipped_units_are_found():
    module = nn.Sequential(nn.Linear(12, 20), nn.Tanh(), nn.Linear(20, 3))
    found = compare(module.state_dict(), copy_of(module, torch.randn(2, 12), kinds=("permutation", "sign")))
    assert found.relation is Relation.SAME_FUNCTION and "signs flipped" in found.aligned


def test_permuted_convolutions_with_batch_norm_are_found():
    module = cnn(0)
    found = compare(module.state_dict(), copy_of(module, torch.randn(1, 3, 9, 9)))
    assert found.relation is Relation.SAME_FUNCTION and found.aligned == ("units moved",)


def test_a_permuted_and_trained_copy_is_a_fine_tune(module, state):
    copied = noisy(copy_of(module, torch.randn(2, 16)), 0.2)
    found = compare(state, copied)
    assert found.relation is Relation.FINE_TUNE and found.aligned == ("units moved",)
    assert found.p_value is not None and found.p_value < 1e-12 and "agree in another order only" in found.why
    assert "another order" not in compare(state, noisy(state, 0.2)).why


@pytest.mark.parametrize("widths", [(16, 32, 32, 4), (32, 64, 64, 64, 10)])
def test_equal_widths_do_not_hide_permuted_copies(widths):
    """Names do not exclude skip connections between layers of equal width, so these copies move apart in each layer."""
    module = perceptron(0, widths)
    copied = copy_of(module, torch.randn(2, widths[0]))
    assert compare(module.state_dict(), copied).relation is Relation.SAME_FUNCTION
    found = compare(module.state_dict(), noisy(copied, 0.05))
    assert (
        found.relation is Relation.FINE_TUNE and found.assumed and found.p_value is not None and found.p_value < 1e-12
    )


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_rounded_networks_are_children(state, dtype):
    rounded = {name: values.to(dtype) for name, values in state.items()}
    for pair, direction in (((state, rounded), "second from first"), ((rounded, state), "first from second")):
        found = compare(*pair)
        assert found.relation is Relation.PRECISION and found.direction == direction and found.confidence == 1


@pytest.mark.parametrize("bits", [4, 8])
def test_quantised_networks_are_children(state, bits):
    made = {name: quantised(values, bits) for name, values in state.items()}
    found = compare(made, state)
    assert found.relation is Relation.PRECISION and found.direction == "first from second"
    assert f"int{bits}" in found.why


@pytest.mark.parametrize("bits", [4, 8])
def test_scales_of_long_rows_are_found(bits):
    """The largest entry of a row, which gives its scale, stands at its end; the entries at its start are small."""
    state = perceptron(0, (784, 32, 10)).state_dict()
    state["0.weight"][:, :400] *= 0.01
    found = compare(state, {name: quantised(values, bits) for name, values in state.items()})
    assert found.relation is Relation.PRECISION and f"int{bits}" in found.why


def test_relatives_with_few_large_weights_at_the_same_places_are_relatives():
    """After long training with weight decay, few weights are large; their places are no common identity."""
    generator = torch.Generator().manual_seed(0)

    def noise(values):
        return torch.randn(values.shape, generator=generator)

    first = perceptron(0, (48, 64, 56, 40)).state_dict()
    for name in ("0.weight", "2.weight", "4.weight"):
        values = noise(first[name])
        first[name] = torch.where(torch.rand(values.shape, generator=generator) < 0.05, 8 * values.sign(), values)
    second = {name: values + 0.5 * noise(values) for name, values in first.items()}
    found = compare(first, second)
    assert [layer.pattern for layer in found.layers if layer.is_random_matrix] == ["peaks"] * 3
    assert found.related and found.p_value is not None and found.p_value < 1e-30
    peaks = {name: torch.where(values.abs() == 8, values, noise(values)) for name, values in first.items()}
    assert compare(first, peaks).p_value is None and not compare(first, peaks).related


def test_a_padding_row_that_was_filled_beside_pruned_tensors_is_not_pruned():
    torch.manual_seed(0)
    parent = {"embed.weight": torch.randn(50, 16), "1.weight": torch.randn(32, 16), "2.weight": torch.randn(8, 32)}
    parent["embed.weight"][0] = 0
    child = {name: values.clone() for name, values in parent.items()}
    child["embed.weight"][0] = torch.randn(16)
    child["1.weight"][torch.rand(32, 16) < 0.5] = 0
    found = compare(parent, child)
    assert found.relation is Relation.PARTIAL and not found.is_exact


def test_a_row_that_was_pruned_beside_many_others_is_pruned():
    torch.manual_seed(0)
    state = {f"{number}.weight": torch.randn(32, 32) for number in range(3)}
    pruned = {name: values.clone() for name, values in state.items()}
    pruned["0.weight"][::4] = 0
    pruned["1.weight"][5] = 0
    found = compare(state, pruned)
    assert (found.relation, found.direction, found.confidence) == (Relation.PRUNED, "second from first", 1.0)
    assert found.is_exact and compare(pruned, state).direction == "first from second"
    both = {**pruned, "2.weight": state["2.weight"]}
    other = {**state, "1.weight": pruned["1.weight"], "2.weight": state["2.weight"].clone()}
    other["2.weight"][::4] = 0
    both["1.weight"] = state["1.weight"]
    assert (compare(both, other).relation, compare(both, other).direction) == (Relation.PRUNED, None)
    retrained = {**pruned, "1.weight": state["1.weight"].clone()}
    retrained["1.weight"][5] = torch.randn(32)
    assert not compare(state, retrained).is_exact


@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_pruned_networks_are_children(state, share):
    made = {name: pruned(values, share) for name, values in state.items()}
    found = compare(state, made)
    assert found.relation is Relation.PRUNED and found.direction == "second from first" and found.confidence == 1


@pytest.mark.parametrize("rank", [1, 2, 4])
def test_merged_adapters_are_low_rank_updates(state, rank):
    torch.manual_seed(3)
    weight = state["2.weight"]
    made = {**state, "2.weight": weight + 0.1 * torch.randn(24, rank) @ torch.randn(rank, 32)}
    for pair in ((state, made), (made, state)):
        found = compare(*pair)
        assert found.relation is Relation.LOW_RANK and found.direction is None
        assert f"rank {rank}" in found.why


@pytest.mark.parametrize("rows", [[7], [3, 9, 20]])
def test_changed_rows_and_columns_are_named(rows):
    torch.manual_seed(0)
    state = {"embed.weight": torch.randn(50, 16), "mix.weight": torch.randn(40, 16), "head.weight": torch.randn(5, 40)}
    words = "row 7" if rows == [7] else "rows 3, 9, 20"
    for name in ("embed.weight", "mix.weight"):
        made = {**state, name: state[name].clone()}
        made[name][rows] += torch.randn(len(rows), 16)
        found = compare(state, made)
        assert found.relation is Relation.PARTIAL and found.why.endswith(f" ({words})")
        assert f"changed: {name.split('.')[0]}." in found.why
    made = {**state, "mix.weight": state["mix.weight"].clone()}
    made["mix.weight"][:, 2] *= 1.5
    assert compare(state, made).why.endswith("changed: mix.weight (column 2)")
    alone = {"mix.weight": state["mix.weight"]}
    assert compare(alone, {"mix.weight": made["mix.weight"]}).relation is Relation.PARTIAL


def test_changed_rows_are_named_wherever_they_are(monkeypatch):
    monkeypatch.setattr("sne.provenance.changed_lines.PIECE", 200)
    state = {"0.weight": torch.randn(60, 40), "2.weight": torch.randn(5, 60)}
    for rows in ([59], [0, 7, 30]):
        made = {**state, "0.weight": state["0.weight"].index_fill(0, torch.tensor(rows), 1.0)}
        layer = compare(state, made).layers[0]
        assert layer.detail == f"row{'s' * (len(rows) > 1)} {', '.join(map(str, rows))}"


def test_updates_of_rank_one_have_no_direction():
    for seed in range(30):
        torch.manual_seed(seed)
        state = {"0.weight": torch.randn(32, 24), "2.weight": torch.randn(5, 32)}
        made = {**state, "0.weight": state["0.weight"] + torch.outer(torch.randn(32), torch.randn(24))}
        found = compare(state, made)
        assert found.relation is Relation.LOW_RANK and found.direction is None


def test_copies_of_one_network_have_no_direction(state):
    """Neither was made from the other one, as values show that lie next to borders between levels."""
    wide, narrow = ({name: quantised(values, bits) for name, values in state.items()} for bits in (8, 4))
    for pair in ((wide, narrow), (narrow, wide)):
        found = compare(*pair)
        assert found.relation is Relation.PRECISION and found.direction is None and "a third network" in found.why
    torch.manual_seed(0)
    wide = {"0.weight": quantised(torch.randn(64, 48), 8), "2.weight": quantised(torch.randn(32, 64), 8)}
    found = compare(wide, {name: quantised(values, 4) for name, values in wide.items()})
    assert found.relation is Relation.PRECISION and found.direction == "second from first" and found.confidence == 1


def test_a_changed_head_is_a_partial_fine_tune(state):
    found = compare(state, noisy(state, 0.3, only="4"))
    assert found.relation is Relation.PARTIAL and found.why.endswith("changed: 4.weight, 4.bias")


@pytest.mark.parametrize("rows", [5, 12])
def test_a_new_head_says_nothing_about_the_direction(state, rows):
    """Biases of a new head are small, so that the other network seems to be trained further."""
    torch.manual_seed(7)
    columns = state["4.weight"].shape[1]
    trained = {**state, "4.bias": torch.randn(len(state["4.bias"]))}
    made = {**trained, "4.weight": torch.randn(rows, columns) * 0.1, "4.bias": torch.full((rows,), 1e-3)}
    made["4.bias"][0] = 0
    for pair in ((trained, made), (made, trained)):
        found = compare(*pair)
        assert (found.relation, found.direction) == (Relation.PARTIAL, None)
        assert "replaced (cosine below 0.3): 4" in found.why


def test_a_last_layer_that_looks_untrained_is_named_without_a_direction(state):
    """That network may have a new head, or may be the one from which training of the head started."""
    torch.manual_seed(7)
    columns = state["4.weight"].shape[1]
    trained = {**state, "4.bias": torch.randn(len(state["4.bias"]))}
    untrained = {**trained, "4.weight": torch.randn(12, columns) * 0.02, "4.bias": torch.zeros(12)}
    for pair, place in (((trained, untrained), "second"), ((untrained, trained), "first")):
        found = compare(*pair)
        assert (found.relation, found.direction) == (Relation.PARTIAL, None)
        assert f"the last layer of the {place} network looks untrained" in found.why


def test_additional_rows_are_counted(state):
    rows, columns = state["4.weight"].shape
    grown = {**state, "4.weight": torch.cat([state["4.weight"], torch.randn(7, columns)])}
    grown["4.bias"] = torch.cat([state["4.bias"], torch.zeros(7)])
    found = compare(state, grown)
    assert (found.relation, found.direction) == (Relation.PARTIAL, None)
    assert found.why == "what both networks have is equal, but the sizes of 4.weight, 4.bias differ"
    resized = {pair.first.name: pair.size_difference for pair in found.matching.pairs if pair.size_difference}
    assert resized["4.weight"] == f"{rows} rows in the first, {rows + 7} in the second"
    assert [one["second"] for one in found.to_json()["resized"]] == [[rows + 7, columns, 1], [rows + 7, 1, 1]]


def test_noise_in_all_layers_is_a_fine_tune(state):
    found = compare(state, noisy(state, 0.2))
    assert found.relation is Relation.FINE_TUNE and found.related


def test_networks_that_only_start_alike_are_told_from_fine_tunes(state):
    """Each learned a large direction of its own on top of the same initial weights."""

    def learned(seed):
        torch.manual_seed(seed)
        return {
            name: values + 0.5 * torch.randn(len(values), 2) @ torch.randn(2, values.shape[1])
            if values.ndim > 1
            else values
            for name, values in state.items()
        }

    twins = compare(learned(1), learned(2))
    assert twins.relation is Relation.SAME_START and twins.direction is None
    child = {name: values + 0.05 * torch.randn_like(values) for name, values in learned(1).items()}
    assert compare(learned(1), child).relation is Relation.FINE_TUNE


def test_a_merge_has_its_weights(state):
    other = noisy(state, 0.5)
    merged = {name: 0.3 * state[name] + 0.7 * other[name] for name in state}
    found = compare(merged, state, other)
    assert found.relation is Relation.MERGE and found.merge is not None
    assert found.merge.weights == pytest.approx((0.3, 0.7), abs=1e-4)
    assert compare(noisy(state, 0.1, seed=9), state, other).relation is Relation.FINE_TUNE


def test_renamed_keys_and_prefixes_do_not_matter(state):
    renamed = {"encoder." + name: values for name, values in state.items()}
    assert compare(state, renamed).relation is Relation.IDENTICAL
    words = {"0": "first", "2": "second", "4": "third"}
    renamed = {f"{words[name[0]]}.{name[2:]}": values for name, values in state.items()}
    found = compare(state, renamed)
    assert found.relation is Relation.IDENTICAL
    assert found.layers[0].pair.second.name == "first.weight"


def test_an_added_head_leaves_the_rest_comparable(state):
    grown = {**state, "aux.weight": torch.randn(3, 24)}
    found = compare(state, grown)
    assert found.relation is Relation.PARTIAL and [place.name for place in found.matching.only_second] == ["aux.weight"]


def test_a_grown_vocabulary_is_compared_by_its_common_rows():
    torch.manual_seed(0)
    state = {"embed.weight": torch.randn(50, 16), "mix.weight": torch.randn(40, 16), "head.weight": torch.randn(50, 40)}
    grown = {**state, "embed.weight": torch.cat([state["embed.weight"], torch.randn(5, 16)])}
    found = compare(state, grown)
    table = next(layer for layer in found.layers if layer.pair.first.name.startswith("embed"))
    assert not table.pair.is_whole and table.equal == 1 and found.related


def test_networks_of_other_architectures_are_not_comparable(state):
    found = compare(state, nn.Linear(5, 3).state_dict())
    assert found.relation is Relation.NOT_COMPARABLE and not found.related and found.p_value is None
    assert "counterpart" in found.why


def test_json_has_everything(state):
    import json

    found = json.loads(json.dumps(compare(state, noisy(state, 0.1)).to_json()))
    assert found["relation"] == "fine-tune" and len(found["layers"]) == 6
    assert {"tensor", "counterpart", "cosine", "rank", "zeros", "change"} <= found["layers"][0].keys()


def test_a_missing_file_is_an_error():
    with pytest.raises(CheckpointError, match=r"missing\.pt"):
        compare("missing.pt", {"0.weight": torch.randn(3, 3)})


@pytest.mark.parametrize("odd", [{}, {"empty.weight": torch.zeros(0, 4)}, {"scale": torch.tensor(2.0)}])
def test_odd_tensors_beside_a_network_do_not_disturb(state, odd):
    found = compare({**state, **odd}, {**{name: values.clone() for name, values in state.items()}, **odd})
    assert found.relation is Relation.IDENTICAL
    assert compare({**state, **odd}, {**noisy(state, 0.2), **odd}).related


def test_a_tensor_that_is_rounded_in_part_is_not_rounded():
    """Pieces that are equal count: their values do not fit the type."""
    generator = torch.Generator().manual_seed(0)
    one = {
        "0.weight": torch.randn(3000, 128, generator=generator),
        "2.weight": torch.randn(4, 3000, generator=generator),
    }
    one["0.weight"][:8] = 0.0
    other = {name: values.clone() for name, values in one.items()}
    other["0.weight"][2048:] = other["0.weight"][2048:].half().float()
    assert compare(one, other).relation is not Relation.PRECISION
    assert compare(one, {name: values.half().float() for name, values in one.items()}).relation is Relation.PRECISION


def test_layers_that_are_left_out_are_named_and_identical_only_if_their_values_are_equal():
    one = {name: values.clone() for name, values in perceptron(0).state_dict().items()}
    other = {name: values.clone() for name, values in one.items()}
    one["0.weight"][0, 0], other["0.weight"] = torch.nan, torch.full_like(one["0.weight"], torch.inf)
    found = compare(one, other, allow_nonfinite=True)
    assert found.relation is not Relation.IDENTICAL
    assert found.left_out[0][0] == found.left_out[1][0] == "0.weight"
    assert found.to_json()["left_out"] == [list(some) for some in found.left_out]
    other["0.weight"] = one["0.weight"].clone()
    assert compare(one, other, allow_nonfinite=True).relation is Relation.IDENTICAL
    other["0.weight"][0, 1], other["0.weight"][0, 0] = torch.nan, 0.0
    assert compare(one, other, allow_nonfinite=True).relation is not Relation.IDENTICAL
    changed = {**one, "0.bias": one["0.bias"] + 0.1}
    assert compare(one, changed, allow_nonfinite=True).relation is not Relation.IDENTICAL
    assert compare(perceptron(0), perceptron(0)).left_out == ((), ())
