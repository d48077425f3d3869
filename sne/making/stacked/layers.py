"""Layers that replace those which cannot run under vmap, or are slow there."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import linear, unfold


class MatrixConv2d(nn.Conv2d):
    """A convolution by gathering windows and multiplying: under vmap it is one batched product for all networks.

    An ordinary convolution of n networks becomes one with n groups under vmap, which is slow for the few channels of
    small networks.
    """

    def forward(self, input: Float[Tensor, "batch in height width"]) -> Float[Tensor, "batch out h w"]:
        """Computes the same as `nn.Conv2d`, for one group and zero padding."""
        (kh, kw), (sh, sw), (ph, pw) = self.kernel_size, self.stride, _pair(self.padding)
        batch, _, height, _ = input.shape
        windows = unfold(input, (kh, kw), padding=(ph, pw), stride=(sh, sw))
        columns = windows.transpose(0, 1).flatten(1)
        out = self.weight.flatten(1) @ columns
        if self.bias is not None:
            out = out + self.bias[:, None]
        rows = (height + 2 * ph - kh) // sh + 1
        return out.unflatten(1, (batch, rows, -1)).transpose(0, 1)


class UnrolledGRU(nn.GRU):
    """A GRU of one layer and direction, step by step: the fused GRU cannot run under vmap."""

    weight_ih_l0: Tensor
    weight_hh_l0: Tensor
    bias_ih_l0: Tensor
    bias_hh_l0: Tensor

    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, input: Float[Tensor, "batch steps inputs"], hx: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Computes the same as `nn.GRU`, batch first, from a state of zeros."""
        read = linear(input, self.weight_ih_l0, self.bias_ih_l0)
        state, states = torch.zeros_like(read[:, 0, : self.hidden_size]), []
        for step in range(input.shape[1]):
            input_parts = read[:, step].chunk(3, -1)
            state_parts = linear(state, self.weight_hh_l0, self.bias_hh_l0).chunk(3, -1)
            reset, update = ((input_parts[i] + state_parts[i]).sigmoid() for i in range(2))
            new = torch.tanh(input_parts[2] + reset * state_parts[2])
            state = new + update * (state - new)
            states.append(state)
        return torch.stack(states, 1), state[None]


class UnrolledLSTM(nn.LSTM):
    """An LSTM of one layer and direction, step by step: the fused LSTM cannot run under vmap."""

    weight_ih_l0: Tensor
    weight_hh_l0: Tensor
    bias_ih_l0: Tensor
    bias_hh_l0: Tensor

    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, input: Float[Tensor, "batch steps inputs"], hx: tuple[Tensor, Tensor] | None = None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Computes the same as `nn.LSTM`, batch first, from states of zeros."""
        read = linear(input, self.weight_ih_l0, self.bias_ih_l0)
        state = cell = torch.zeros_like(read[:, 0, : self.hidden_size])
        states = []
        for step in range(input.shape[1]):
            gates = read[:, step] + linear(state, self.weight_hh_l0, self.bias_hh_l0)
            input_gate, forget_gate, new, output_gate = gates.chunk(4, -1)
            cell = forget_gate.sigmoid() * cell + input_gate.sigmoid() * new.tanh()
            state = output_gate.sigmoid() * cell.tanh()
            states.append(state)
        return torch.stack(states, 1), (state[None], cell[None])


def use_stackable_layers(module: nn.Module) -> None:
    """Replaces the layers of a module by those of this file, where they can be replaced."""
    for layer in module.modules():
        if type(layer) is nn.Conv2d:
            padded = layer.padding_mode == "zeros" and not isinstance(layer.padding, str)
            if padded and layer.groups == 1 and layer.dilation == (1, 1):
                layer.__class__ = MatrixConv2d
        elif isinstance(layer, nn.GRU) and layer.num_layers == 1 and not layer.bidirectional:
            layer.__class__ = UnrolledGRU
        elif isinstance(layer, nn.LSTM) and layer.num_layers == 1 and not layer.bidirectional:
            layer.__class__ = UnrolledLSTM


def _pair(padding: object) -> tuple[int, int]:
    assert isinstance(padding, tuple)
    return padding[0], padding[1]
