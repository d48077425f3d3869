"""Which tensors are pairs."""

import torch

from sne import read_network
from sne.provenance.matching import MatchedBy, match
from sne.provenance.states import Counterpart


def state(*names, width=8):
    return {name: torch.randn(width, width) for name in names}


def test_names_come_first_even_in_another_order():
    one = state("a.0.weight", "a.1.weight", "a.2.weight")
    other = dict(reversed(one.items()))
    pairs = match(read_network(one), read_network(other)).pairs
    assert all(pair.first.name == pair.second.name and pair.matched_by is MatchedBy.NAME for pair in pairs)


def test_prefixes_are_found_on_either_side():
    one = state("body.fc1.weight", "body.fc2.weight")
    other = {**state("model.body.fc1.weight", "model.body.fc2.weight"), "head.weight": torch.randn(3, 8)}
    for pair in ((one, other), (other, one)):
        found = match(*map(read_network, pair))
        assert [one.matched_by for one in found.pairs] == [MatchedBy.PREFIX] * 2 and found.share == 1
        assert all(one.first.name.endswith(one.second.name[-10:]) for one in found.pairs)


def test_fused_and_separate_projections_have_the_same_values():
    """The same attention with one tensor for queries, keys and values, and with three."""
    torch.manual_seed(0)
    pieces = {name: torch.randn(16, 16) for name in ("q_proj", "k_proj", "v_proj")}
    rest = {"layers.0.attn.out_proj.weight": torch.randn(16, 16)}
    apart = {**{f"layers.0.attn.{name}.weight": values for name, values in pieces.items()}, **rest}
    fused = {"layers.0.attn.qkv.weight": torch.cat(list(pieces.values())), **rest}
    first, second = read_network(fused), read_network(apart)
    moved = Counterpart(first, second, match(first, second))
    assert torch.equal(moved["layers.0.attn.qkv.weight"], fused["layers.0.attn.qkv.weight"])
    back = Counterpart(second, first, match(second, first))
    assert torch.equal(back["layers.0.attn.k_proj.weight"], pieces["k_proj"])


def test_what_has_no_counterpart_is_listed():
    one, other = state("fc1.weight", "fc2.weight"), {**state("fc1.weight"), "odd.weight": torch.randn(3, 5)}
    found = match(read_network(one), read_network(other))
    assert [place.name for place in found.only_first] == ["fc2.weight"]
    assert [place.name for place in found.only_second] == ["odd.weight"]
    assert found.share == 64 / (64 + 15)
