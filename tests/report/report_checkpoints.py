"""Checkpoints for the tests of cards, small enough to be made in each test."""

from functools import cache

import torch
from torch import Tensor, nn


def classifier(seed: int = 0) -> nn.Sequential:
    """A small CNN of the shape that the packaged predictor knows, untrained."""
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, 16, 3), nn.ReLU(), nn.Conv2d(16, 16, 3), nn.ReLU(), nn.Conv2d(16, 16, 3), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10),
    )  # fmt: skip


@cache
def trained_classifier(steps: int) -> nn.Sequential:
    """The classifier after some steps on scikit-learn's digits: 10 are worth an accuracy of 0.37, 100 one of 0.8."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = torch.tensor(digits.images / 8 - 1).float()[:, None]
    labels = torch.tensor(digits.target)
    net, generator = classifier(), torch.Generator().manual_seed(0)
    optimizer = torch.optim.Adam(net.parameters(), 3e-3)
    for _ in range(steps):
        chosen = torch.randint(0, len(images), (64,), generator=generator)
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(images[chosen]), labels[chosen]).backward()
        optimizer.step()
    return net


def transformer_state(blocks: int, width: int = 8) -> dict[str, Tensor]:
    """A state dict with the names of GPT-2."""
    generator = torch.Generator().manual_seed(0)

    def weight(*shape: int) -> Tensor:
        return 0.02 * torch.randn(*shape, generator=generator)

    state = {"wte.weight": weight(50, width), "wpe.weight": weight(16, width)}
    for n in range(blocks):
        for norm in ("ln_1", "ln_2"):
            state |= {f"h.{n}.{norm}.weight": torch.ones(width), f"h.{n}.{norm}.bias": torch.zeros(width)}
        for name, out in (("attn.c_attn", 3 * width), ("attn.c_proj", width)):
            state |= {f"h.{n}.{name}.weight": weight(width, out), f"h.{n}.{name}.bias": torch.zeros(out)}
        state |= {f"h.{n}.mlp.c_fc.weight": weight(width, 4 * width), f"h.{n}.mlp.c_fc.bias": torch.zeros(4 * width)}
        state |= {f"h.{n}.mlp.c_proj.weight": weight(4 * width, width), f"h.{n}.mlp.c_proj.bias": torch.zeros(width)}
    return state | {"ln_f.weight": torch.ones(width), "ln_f.bias": torch.zeros(width)}
