"""What families share: activations, usual hyper-parameters, dropout, initialisers, networks of sine activations."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float, Int32, UInt8
from torch import Tensor, nn

from sne.errors import ZooError
from sne.making.families.space import Choice, LogUniform, Space, Uniform
from sne.making.hashing import bytes_of

ACTIVATIONS: Mapping[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "gelu": nn.GELU,
    "leaky_relu": nn.LeakyReLU,
    "none": nn.Identity,
}


PRACTICE: Space = {
    "activation": Choice(("relu", "relu", "gelu", "leaky_relu", "tanh")),
    "dropout": Uniform(0.0, 0.5),
    "optimizer": Choice(("adam", "adam", "adamw", "momentum", "rmsprop")),
    "learning_rate": LogUniform(1e-3, 1e-2),
    "schedule": Choice(("constant", "cosine")),
    "weight_decay": LogUniform(1e-6, 2e-3),
    "augment": Choice(("none", "crop")),
    "init": Choice(("torch", "he_normal", "glorot_normal")),
    "init_std": Choice((0.05,)),
    "train_fraction": Choice((1.0,)),
    "batch_size": Choice((64,)),
}
"""Hyper-parameters of classifiers that are trained as people train them: values that work, and common ones more often.

Draws depend on the order of a space, so that families replace values in place and add their own before them.
"""


class ByteDropout(nn.Module):
    """Dropout with one random byte per entry, eight bytes per draw: it is faster than a small convolution.

    Masks come from torch's default generator. If `key` is set, they are hashes of key and position, and the module
    can run under `torch.vmap` with one key and one threshold per network.

    Args:
        probability: Probability that an entry is zeroed, rounded to 1/256. Kept entries are scaled to keep the mean.
        salt: Number of the dropout layer within its network, so that each has a key of its own.
    """

    key: Int32[Tensor, ""] | None = None

    def __init__(self, probability: float, salt: int = 0) -> None:
        super().__init__()
        self.salt = salt
        self.threshold: int | Tensor = min(round(probability * 256), 255)

    def forward(self, x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Zeroes entries at random while training; otherwise the identity."""
        if not self.training or (isinstance(self.threshold, int) and self.threshold == 0):
            return x
        if self.key is not None:
            bits = _KeyedBytes.apply(self.key, x.numel())
            assert isinstance(bits, Tensor)
        else:
            words = torch.empty((x.numel() + 7) // 8, dtype=torch.int64).random_(-(2**63), None)
            bits = words.view(torch.uint8)[: x.numel()]
        kept = bits.view(x.shape) >= self.threshold
        return x * (kept.to(x.dtype) * (256 / (256 - self.threshold)))


class _KeyedBytes(torch.autograd.Function):
    """`bytes_of` with a rule for vmap, which cannot view 32-bit words as bytes by itself."""

    @staticmethod
    def forward(key: Tensor, count: int) -> UInt8[Tensor, " bytes"]:
        return bytes_of(key, count)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.mark_non_differentiable(output)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        return None, None

    @staticmethod
    def vmap(info: Any, in_dims: Any, *args: Any) -> tuple[Tensor, int]:
        key, count = args
        return bytes_of(key.movedim(in_dims[0], 0), count), 0


INITIALISERS = (
    "glorot_normal", "he_normal", "orthogonal", "normal", "truncated_normal",
    "uniform", "he_uniform", "torch",
)  # fmt: skip


def initialise(module: nn.Module, kind: str, std: float, generator: torch.Generator) -> None:
    """Draws all weights in place: matrices and kernels by the initialiser; biases become zero, norms one.

    With "torch", every layer draws its weights and biases as it does when torch builds it.

    Args:
        module: The network; its parameters are visited in their own order.
        kind: Name of the initialiser, one of INITIALISERS.
        std: Standard deviation for "normal", "truncated_normal" and "uniform"; others have their own.
        generator: Generator of the weights.
    """
    if kind == "torch":
        _draw_as_built(module, generator)
        return
    for name, parameter in module.named_parameters():
        if parameter.ndim >= 2:
            _draw(parameter, kind, std, generator)
        elif "bias" in name:
            nn.init.zeros_(parameter)
        else:
            nn.init.ones_(parameter)


def _draw_as_built(module: nn.Module, generator: torch.Generator) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(torch.randint(2**62, (), generator=generator)))
        for layer in module.modules():
            if callable(reset := getattr(layer, "reset_parameters", None)):
                reset()


def _draw(weight: Tensor, kind: str, std: float, generator: torch.Generator) -> None:
    match kind:
        case "glorot_normal":
            nn.init.xavier_normal_(weight, generator=generator)
        case "he_normal":
            nn.init.kaiming_normal_(weight, nonlinearity="relu", generator=generator)
        case "he_uniform":
            nn.init.kaiming_uniform_(weight, nonlinearity="relu", generator=generator)
        case "orthogonal":
            nn.init.orthogonal_(weight, generator=generator)
        case "normal":
            nn.init.normal_(weight, std=std, generator=generator)
        case "truncated_normal":
            nn.init.trunc_normal_(weight, std=std, a=-2 * std, b=2 * std, generator=generator)
        case "uniform":
            bound = math.sqrt(3) * std
            nn.init.uniform_(weight, -bound, bound, generator=generator)
        case _:
            raise ZooError(f"init {kind!r} is not known, expected one of {', '.join(INITIALISERS)}")


class Siren(nn.Module):
    """Linear layers with sin(w0 x) between them.

    Source: Sitzmann et al., "Implicit Neural Representations with Periodic Activation Functions",
    arXiv 2006.09661, section 3.2.

    Args:
        inputs: Number of coordinates per point.
        hidden: Width of the hidden layers.
        depth: Number of hidden layers.
        outputs: Number of values per point.
        w0: Frequency of all activations.
    """

    def __init__(self, inputs: int, hidden: int, depth: int, outputs: int, w0: float) -> None:
        super().__init__()
        widths = [inputs, *[hidden] * depth, outputs]
        self.layers = nn.ModuleList(nn.Linear(widths[i], widths[i + 1]) for i in range(len(widths) - 1))
        self.w0 = w0

    def forward(self, x: Float[Tensor, "*points inputs"]) -> Float[Tensor, "*points outputs"]:
        """Returns the values at coordinates."""
        for layer in list(self.layers)[:-1]:
            x = torch.sin(self.w0 * layer(x))
        return self.layers[-1](x)


def initialise_siren(module: nn.Module, generator: torch.Generator) -> None:
    """Draws all weights in place: first layer U(-1/n, 1/n), others U(-sqrt(6/n)/w0, sqrt(6/n)/w0), biases zero.

    Source: Sitzmann et al., section 3.2. Differs: biases start at zero.

    Args:
        module: A `Siren`.
        generator: Generator of the weights.
    """
    assert isinstance(module, Siren)
    for number, layer in enumerate(module.layers):
        assert isinstance(layer, nn.Linear)
        bound = 1 / layer.in_features if number == 0 else math.sqrt(6 / layer.in_features) / module.w0
        nn.init.uniform_(layer.weight, -bound, bound, generator=generator)
        nn.init.zeros_(layer.bias)
