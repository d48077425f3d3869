"""Weights under parametrisations and pruning masks are read as the modules compute them, or noted as not read."""

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, prune

from sne.checkpoints import read_network

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def values(state):
    """The values of every part of the network in a state dict, by the name of its tensor."""
    network = read_network({f"fc.{key}": value for key, value in state.items()})
    return {part.tensor.removeprefix("fc."): network.source.load(part.tensor) for _, part in network.parts()}


MODULES = {
    "linear": (lambda: nn.Linear(5, 4), torch.ones(2, 5)),
    "convolution": (lambda: nn.Conv2d(6, 4, 3), torch.ones(2, 6, 5, 5)),
    "transposed": (lambda: nn.ConvTranspose2d(6, 4, 3), torch.ones(2, 6, 5, 5)),
    "square transposed": (lambda: nn.ConvTranspose2d(8, 8, 3), torch.ones(2, 8, 5, 5)),
    "square convolution": (lambda: nn.Conv2d(8, 8, 3), torch.ones(2, 8, 5, 5)),
}


@pytest.mark.parametrize("normalise", [nn.utils.spectral_norm, parametrizations.spectral_norm])
@pytest.mark.parametrize("case", MODULES)
def test_spectral_norm(case, normalise):
    make, x = MODULES[case]
    module = normalise(make())
    for _ in range(20):
        module(x)
    module.eval()
    module(x)
    found = values(module.state_dict())
    assert set(found) == {"weight", "bias"}
    torch.testing.assert_close(found["weight"], module.weight.detach())


def test_spectral_norm_of_vectors_that_do_not_fit_is_noted():
    state = {"weight_orig": torch.ones(4, 5), "weight_u": torch.ones(3), "weight_v": torch.ones(5)}
    assert not values(state | {"x.weight": torch.ones(2, 2)}).keys() & state.keys()


def test_spectral_norm_along_an_open_axis_is_refused_at_loading():
    state = {"fc.weight_orig": torch.ones(3, 3, 1), "fc.weight_u": torch.ones(3), "fc.weight_v": torch.ones(3)}
    with pytest.raises(Exception, match="first or the second axis"):
        read_network(state).source.load("fc.weight")


def test_spectral_norms_that_step_in_each_evaluation():
    weight, left = torch.randn(4, 3, 2), torch.randn(1, 4)
    matrix = weight.reshape(4, 6)
    right = left[0] @ matrix / (left[0] @ matrix).norm()
    new = matrix @ right / (matrix @ right).norm()
    expected = weight / (new @ matrix @ right)
    biggan = values({"weight": weight, "u0": left, "sv0": torch.ones(1)})
    older = values({"weight_bar": weight, "weight_u": left[0], "weight_v": torch.ones(6)})
    for found in (biggan, older):
        assert list(found) == ["weight"]
        torch.testing.assert_close(found["weight"], expected)


@pytest.mark.parametrize("name", ["weight", "bias"])
def test_pruning(name):
    module = prune.random_unstructured(nn.Conv1d(6, 4, 3), name, amount=0.5)
    found = values(module.state_dict())
    assert set(found) == {"weight", "bias"}
    assert torch.equal(found[name], getattr(module, name))
    assert int((found[name] == 0).sum()) == getattr(module, name).numel() // 2


def test_pruning_of_a_direction():
    module = nn.utils.weight_norm(nn.Linear(6, 4))
    module.weight_g.data *= 3
    prune.random_unstructured(module, "weight_v", amount=0.5)
    module(torch.ones(1, 6))
    module(torch.ones(1, 6))
    found = values(module.state_dict())
    assert set(found) == {"weight", "bias"}
    torch.testing.assert_close(found["weight"], module.weight.detach())


def test_pruning_before_spectral_norm():
    module = nn.utils.spectral_norm(nn.Linear(6, 4))
    prune.random_unstructured(module, "weight_orig", amount=0.5)
    for _ in range(3):
        module(torch.ones(1, 6))
    module.eval()
    module(torch.ones(1, 6))
    found = values(module.state_dict())
    assert set(found) == {"weight", "bias"}
    torch.testing.assert_close(found["weight"], module.weight.detach())


class Symmetric(nn.Module):
    """A parametrisation without a state."""

    def forward(self, x):
        """Returns the symmetric part."""
        return x.triu() + x.triu(1).transpose(-1, -2)


class Scaled(nn.Module):
    """A parametrisation with a state."""

    def __init__(self):
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(2.0))

    def forward(self, x):
        """Returns a multiple."""
        return x * self.factor


@pytest.mark.parametrize("case", ["orthogonal", "symmetric", "scaled", "after weight norm", "after spectral norm"])
def test_unknown_parametrisations_are_noted(case):
    module = nn.Linear(4, 4)
    if case == "orthogonal":
        parametrizations.orthogonal(module)
    elif case == "symmetric":
        nn.utils.parametrize.register_parametrization(module, "weight", Symmetric())
    elif case == "scaled":
        nn.utils.parametrize.register_parametrization(module, "weight", Scaled())
    else:
        (parametrizations.weight_norm if "weight norm" in case else parametrizations.spectral_norm)(module)
        nn.utils.parametrize.register_parametrization(module, "weight", Scaled(), unsafe=True)
    state = module.state_dict()
    network = read_network({f"fc.{key}": value for key, value in state.items()} | {"x.weight": torch.ones(2, 2)})
    assert not [part for _, part in network.parts() if "weight" in part.tensor and part.tensor != "x.weight"]
    noted = {note.tensor for note in network.notes if "not read" in note.reason}
    assert noted >= {f"fc.{key}" for key in state if key != "bias"}


def test_weight_norm_of_other_names():
    module = nn.utils.weight_norm(nn.LSTM(3, 4), "weight_hh_l0")
    module = nn.utils.weight_norm(module, "weight_ih_l0")
    module.weight_hh_l0_g.data *= 2
    module(torch.ones(1, 1, 3))
    network = read_network(module.state_dict())
    for name in ("weight_hh_l0", "weight_ih_l0"):
        torch.testing.assert_close(network.source.load(name), getattr(module, name).detach())
    assert not {part.tensor for _, part in network.parts() if part.tensor.endswith(("_g", "_v"))}


def test_lengths_of_one_axis():
    direction, length = torch.randn(4, 3, 2), torch.rand(4) + 1
    found = values({"weight_v": direction, "weight_g": length})
    expected = torch._weight_norm(direction, length[:, None, None], 0)
    torch.testing.assert_close(found["weight"], expected)


@pytest.mark.parametrize("shape", [(1,), (3,), (2, 1)])
def test_a_length_that_does_not_fit_is_noted(shape):
    state = {"fc.weight_v": torch.randn(4, 3), "fc.weight_g": torch.ones(shape), "other.weight": torch.ones(2, 2)}
    network = read_network(state)
    assert {part.tensor for _, part in network.parts()} == {"other.weight"}
    reasons = {note.tensor: note.reason for note in network.notes}
    assert "length does not fit" in reasons["fc.weight_v"] and reasons["fc.weight_v"] == reasons["fc.weight_g"]


def test_a_length_of_both_sizes_of_a_square_weight_is_noted():
    state = {"weight_v": torch.randn(4, 4), "weight_g": torch.ones(4), "x.weight": torch.ones(2, 2)}
    assert set(values(state)) == {"x.weight"}


def test_mixing_factors_of_rwkv_are_no_weight_norm():
    state = {f"time_mix_{letter}": torch.rand(1, 1, 6) for letter in "kvrg"}
    found = values(state)
    assert all(torch.equal(found[name], value) for name, value in state.items())


@pytest.mark.parametrize("normalise", ["weight_norm", "spectral_norm", "pruning", "parametrised"])
def test_a_square_transposed_convolution_is_known_by_its_class(normalise, tmp_path):
    layer = nn.ConvTranspose2d(6, 6, 3)
    if normalise == "pruning":
        prune.random_unstructured(layer, "weight", amount=0.5)
    elif normalise == "parametrised":
        parametrizations.weight_norm(layer)
    else:
        getattr(nn.utils, normalise)(layer)
    module = nn.Sequential(layer)
    networks = [read_network(module)]
    if normalise != "parametrised":  # such a module cannot be pickled
        with torch.no_grad():  # its weight would be part of a graph otherwise
            module(torch.ones(1, 6, 4, 4))
        torch.save(module, tmp_path / "whole.pt")
        networks.append(read_network(tmp_path / "whole.pt"))
    for network in networks:
        assert [layer.type.value for layer in network.layers] == ["conv_transpose2d"]
