"""Changes of the weights that the baselines must notice, and changes that they must ignore."""

import pytest
import torch
from encoder_checks import encode
from neural_cases import fitted, traced

from sne.lab.neural import NEURAL_BASELINES, CannotTakeError
from sne.lab.neural.plain_stack import InputMixing
from sne.symmetry import apply, sample

INVARIANT = [
    (method, name)
    for method, names in {
        "nfn_np": ("mlp", "small_cnn", "cnn_s", "sine_inr"),
        "nfn_hnp": ("mlp", "small_cnn", "cnn_s", "sine_inr"),
        "nft": ("small_cnn", "cnn_s", "sine_inr"),
        "dwsnet": ("mlp", "sine_inr"),
        "deep_sets": ("small_cnn", "gru", "residual_cnn", "vit"),
    }.items()
    for name in names
]


def distance(rows: torch.Tensor) -> float:
    """Largest difference from the first row, relative to its largest entry."""
    return float((rows[1:] - rows[:1]).abs().max() / rows[0].abs().max())


@pytest.mark.parametrize(("method", "name"), INVARIANT)
def test_permutations_change_nothing(method, name):
    state, symmetry, make = traced(name)
    moved = [apply(sample(symmetry, seed), state) for seed in range(2)]
    some = [make(one) for one in (state, *moved)]
    encoder = fitted(method, some)
    assert any(not torch.equal(state[tensor], moved[0][tensor]) for tensor in state)
    assert distance(encode(encoder, some)) < 1e-5


@pytest.mark.parametrize(("method", "name"), [one for one in INVARIANT if one[0] != "deep_sets"])
def test_moving_one_tensor_alone_is_seen(method, name):
    state, symmetry, make = traced(name)
    encoder = fitted(method, [make(state)])
    for group in symmetry.groups:
        span, places = next((span, places) for span, places in group.places if state[span.tensor].ndim > 1)
        order = torch.arange(state[span.tensor].shape[span.dim])
        order[places] = places.roll(1, 0)
        changed = {**state, span.tensor: state[span.tensor].index_select(span.dim, order)}
        assert distance(encode(encoder, [make(state), make(changed)])) > 1e-6, group.name


@pytest.mark.parametrize("method", ["flat_mlp", "nfn_np", "nfn_hnp", "nft"])
def test_outputs_inputs_and_kernel_positions_keep_their_places(method):
    state, _, make = traced("small_cnn")
    encoder = fitted(method, [make(state)])
    last, first = list(state)[-2], next(iter(state))
    turned = {**state, last: state[last].flip(0), list(state)[-1]: state[list(state)[-1]].flip(0)}
    mirrored = {**state, first: state[first].flip(-1)}
    for changed in (turned, mirrored):
        assert distance(encode(encoder, [make(state), make(changed)])) > 1e-5


def test_a_flat_mlp_sees_permutations():
    state, symmetry, make = traced("small_cnn")
    some = [make(state), make(apply(sample(symmetry, 0), state))]
    assert distance(encode(fitted("flat_mlp", some), some)) > 1e-3


@pytest.mark.parametrize("method", ["nfn_hnp", "dwsnet"])
def test_wide_inputs_are_mixed(method):
    state, _, make = traced("mlp")
    encoder = NEURAL_BASELINES[method]([make(state)])
    assert isinstance(encoder.mixing, InputMixing) and encoder.mixing.weight.shape[1] == 16
    assert sum(parameter.numel() for parameter in encoder.parameters()) < 5_000_000


@pytest.mark.parametrize("method", ["nfn_np", "nfn_hnp", "nft", "dwsnet"])
@pytest.mark.parametrize("name", ["gru", "residual_cnn", "vit"])
def test_other_architectures_are_refused(method, name):
    state, _, make = traced(name)
    with pytest.raises(CannotTakeError, match=f"{method} takes plain stacks of .*{name}: layer \\d+ is [a-z]"):
        NEURAL_BASELINES[method]([make(state)])


def test_dwsnet_refuses_convolutions():
    state, _, make = traced("small_cnn")
    with pytest.raises(CannotTakeError, match="plain stacks of linear layers; small_cnn: layer 0 is conv2d"):
        NEURAL_BASELINES["dwsnet"]([make(state)])
