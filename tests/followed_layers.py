"""What the layers of a network answer while its tokens are computed."""

import pytest
import torch
from torch import nn

from sne import read_network
from sne.encoders import recurrent_signals, signals
from sne.encoders.layer_signals import LayerResponse
from sne.encoders.tensor_tokens import tokenize
from sne.networks import Network


def randomised(module: nn.Module, seed: int = 0, std: float = 0.4) -> nn.Module:
    """Random weights and running statistics; in eval mode."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in module.state_dict().items():
            if tensor.is_floating_point():
                tensor.normal_(0.1, std, generator=generator)
            if name.endswith("running_var"):
                tensor.abs_().add_(0.3)
    return module.eval()


def responses_of(given: nn.Module | Network) -> list[LayerResponse]:
    """The responses of every layer that has a matrix, in the order followed."""
    seen = []
    real = signals.layer_signal

    def recording(response: LayerResponse) -> torch.Tensor:
        seen.append(response)
        return real(response)

    with pytest.MonkeyPatch.context() as patch:
        for module in (signals, recurrent_signals):
            patch.setattr(module, "layer_signal", recording)
        tokenize([given if isinstance(given, Network) else read_network(given)])
    return seen


def values_of(given: nn.Module | Network) -> list[torch.Tensor]:
    """The values of every layer that has a matrix, in the order followed: [row, neuron]."""
    return [response.values[0] for response in responses_of(given)]
