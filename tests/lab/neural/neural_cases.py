"""Networks for the neural baselines, and encoders built for them."""

from collections.abc import Callable, Mapping
from functools import cache

import torch
from oracles import handmade
from symmetry.networks_to_trace import build

from sne import read_network
from sne.encoders import NetworkEncoder
from sne.lab.neural import NEURAL_BASELINES
from sne.networks import Layer, Network
from sne.symmetry import Symmetry, trace

LAYOUTS: dict[str, tuple[Layer, ...]] = {
    "flat_mlp": handmade.gru(),
    "deep_sets": handmade.resnet(),
    "nfn_np": handmade.cnn((2, 4, 6, 5)),
    "nfn_hnp": handmade.cnn((2, 4, 6, 5)),
    "nft": handmade.cnn((2, 4, 6, 5)),
    "dwsnet": handmade.mlp((3, 6, 7, 4)),
}
METHODS = tuple(LAYOUTS)
OF_ONE_LAYOUT = tuple(name for name in METHODS if name != "deep_sets")


class Known(handmade.TensorsInMemory):
    """Tensors of a network with a known symmetry."""

    def __init__(self, tensors: Mapping[str, torch.Tensor], symmetry: Symmetry):
        super().__init__(tensors)
        self.symmetry = symmetry


def networks(method: str, count: int = 5) -> list[Network]:
    return [handmade.network(LAYOUTS[method], seed=seed, std=0.1 + 0.1 * seed) for seed in range(count)]


def fitted(method: str, some: list[Network]) -> NetworkEncoder:
    """An encoder whose parameters all have an effect, as after some training."""
    torch.manual_seed(0)
    encoder = NEURAL_BASELINES[method](some[:1])
    encoder.fit_scale(encoder.prepare(some))
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return encoder.eval()


@cache
def traced(name: str) -> tuple[dict[str, torch.Tensor], Symmetry, Callable[[Mapping[str, torch.Tensor]], Network]]:
    """Weights of an architecture, its symmetry, and a function from other weights to a network. Traced only once."""
    module, inputs = build(name)
    symmetry = trace(module, inputs)
    read = read_network(module)
    state = {name: tensor.float() for name, tensor in module.state_dict().items()}
    return state, symmetry, lambda changed: Network(name, read.layers, Known(changed, symmetry), read.notes)
