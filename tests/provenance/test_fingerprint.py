"""What fingerprints depend on, and what not."""

import numpy as np
import pytest
import torch
from provenance.descendants import cnn, copy_of, noisy, perceptron

from sne import read_network
from sne.provenance.chain import CHAIN
from sne.provenance.fingerprint import SKETCH, fingerprint


def of(state):
    return fingerprint(read_network(state))


@pytest.mark.parametrize(("make", "inputs"), [(perceptron, torch.zeros(2, 16)), (cnn, torch.zeros(1, 3, 9, 9))])
def test_permutations_change_the_sketch_and_not_the_chain(make, inputs):
    module = make(0)
    one, other = of(module.state_dict()), of(copy_of(module, inputs))
    assert one.chain == pytest.approx(other.chain, abs=1e-4) and one.layout == other.layout
    assert one.content != other.content and one.sketch @ other.sketch < 0.9


def test_names_order_and_type_of_numbers_do_not_change_the_content():
    state = perceptron(0).state_dict()
    words = {"0": "first", "2": "second", "4": "third"}
    renamed = {f"{words[name[0]]}.{name[2:]}": values.double() for name, values in state.items()}
    assert of(state).content == of(renamed).content
    changed = {**state, "4.bias": state["4.bias"] + 1e-6}
    assert of(state).content != of(changed).content


def test_relatives_have_near_sketches_and_strangers_have_not():
    state = perceptron(0).state_dict()
    mine = of(state).sketch
    assert mine @ of(noisy(state, 0.2)).sketch > 0.9
    strangers = np.stack([of(perceptron(seed).state_dict()).sketch for seed in range(1, 30)])
    assert np.abs(strangers @ mine).max() < 0.5
    assert np.std(strangers @ mine) == pytest.approx(SKETCH**-0.5, rel=0.5)


@pytest.mark.parametrize(
    "state",
    [
        {"0.weight": torch.zeros(4, 3), "2.weight": torch.zeros(2, 4)},
        {"0.bias": torch.ones(3)},
        {"conv.weight": torch.randn(8, 1, 3, 3), "fc.weight": torch.randn(5, 8 * 49)},
    ],
)
def test_odd_networks_have_finite_fingerprints(state):
    found = of(state)
    assert found.sketch.shape == (SKETCH,) and found.chain.shape == (CHAIN,)
    assert np.isfinite(found.sketch).all() and np.isfinite(found.chain).all()


def test_the_content_of_large_tensors_does_not_depend_on_their_layout(monkeypatch):
    """Stored [in, out] as in GPT-2, and [out, in]."""
    monkeypatch.setattr("sne.provenance.fingerprint.MOST_CHAINED", 10)
    monkeypatch.setattr("sne.provenance.fingerprint.BLOCK", 100)
    torch.manual_seed(0)
    weights = {"h.0.attn.c_attn.weight": torch.randn(16, 48), "h.0.attn.c_proj.weight": torch.randn(16, 16)}
    turned = {name: values.T.contiguous() for name, values in weights.items()}
    assert of(weights).content == of(turned).content
    assert of({"0.weight": torch.zeros(4, 3)}).content == of({"0.weight": -torch.zeros(4, 3)}).content
