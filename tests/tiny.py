"""A small encoder and a small zoo for tests of what stands above encoders and zoos."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from sne.encoders import Limits, NetworkEncoder
from sne.symmetry import Group, Span, Symmetry
from sne.zoo import Split, ZooWriter, split_by_run


@dataclass(frozen=True)
class TinyBatch:
    features: torch.Tensor
    num_networks: int

    def to(self, device):
        return TinyBatch(self.features.to(device), self.num_networks)


class TinyEncoder(NetworkEncoder):
    """Mean and standard deviation of each part, averaged over the parts, then a small network."""

    def __init__(self, *, dim: int = 8, dropout: float = 0.0):
        super().__init__()
        self.dim = dim
        self._dropout = dropout
        self.register_buffer("shift", torch.zeros(4))
        self.register_buffer("scale", torch.ones(4))
        self.layers = nn.Sequential(nn.Linear(4, dim), nn.Tanh(), nn.Dropout(dropout), nn.Linear(dim, dim))

    def settings(self):
        return {"dim": self.dim, "dropout": self._dropout}

    def num_read(self, network, limits):
        if limits.budget is None or network.num_weights <= limits.budget:
            return network.num_weights
        return sum(len(values[limits.seed % 2 :: 4]) for values in self._values(network))

    def _values(self, network):
        return [network.read(part).flatten() for _, part in network.parts()]

    def prepare(self, networks, *, limits=Limits()):
        items = []
        for network in networks:
            parts = self._values(network)
            if limits.budget is not None and network.num_weights > limits.budget:
                parts = [values[limits.seed % 2 :: 4] for values in parts]
            rows = [torch.stack([p.mean(), p.std(unbiased=False)]) for p in parts]
            items.append(torch.cat([torch.stack(rows).mean(dim=0), torch.stack(rows).amax(dim=0)]))
        return items

    def fit_scale(self, prepared):
        features = torch.stack(list(prepared))
        self.shift.copy_(features.mean(dim=0))
        self.scale.copy_(features.std(dim=0, unbiased=False).clamp(min=1e-6))

    def collate(self, prepared):
        return TinyBatch(torch.stack(list(prepared)), len(prepared))

    def forward(self, batch):
        return self.layers((batch.features - self.shift) / self.scale)


ENCODERS = {"TinyEncoder": TinyEncoder}


def mlp_state(generator: torch.Generator, *, width: int, gain: float) -> dict[str, torch.Tensor]:
    return {
        "0.weight": gain * torch.randn(width, 4, generator=generator),
        "0.bias": gain * torch.randn(width, generator=generator),
        "2.weight": gain * torch.randn(3, width, generator=generator),
        "2.bias": torch.zeros(3),
    }


def mlp_symmetry(width: int) -> Symmetry:
    """Of `mlp_state` with a ReLU between the layers."""
    spans = (Span("0.weight", 0, power=1), Span("0.bias", 0, power=1), Span("2.weight", 1, power=-1))
    shapes = {"0.weight": (width, 4), "0.bias": (width,), "2.weight": (3, width)}
    return Symmetry((Group("hidden", width, spans, ("permutation", "scaling")),), (), shapes)


def write_tiny_zoo(
    path: Path,
    *,
    runs: int = 30,
    seed: int = 0,
    split: bool = True,
    start: int = 0,
    dataset: str = "digits",
    known: Callable[[int], bool] = lambda run: False,
) -> Path:
    """Two checkpoints a run; the accuracy grows with the spread of the weights; of some the symmetry is known."""
    generator = torch.Generator().manual_seed(seed)
    names, families = [], []
    with ZooWriter(path) as writer:
        for run in range(start, start + runs):
            family = ("narrow", "wide")[run % 2]
            gain = float(torch.rand((), generator=generator))
            for step in (1, 2):
                noise = 0.02 * float(torch.randn((), generator=generator))
                harder = 0.0 if dataset == "digits" else 0.05
                accuracy = min(max(0.1 + 0.4 * gain * step + noise - harder, 0.0), 1.0)
                writer.add(
                    id=f"run{run:03d}-{step}",
                    run=f"run{run:03d}",
                    family=family,
                    dataset=dataset,
                    step=step,
                    state=mlp_state(generator, width=4 + 2 * (run % 2), gain=gain * step),
                    properties={
                        "test_accuracy": accuracy if run != start + 1 else None,
                        "test_loss": 3.0 - 2.0 * gain * step,
                    },
                    hyperparameters={"learning_rate": gain / 10, "activation": ("relu", "tanh")[gain > 0.5]},
                    symmetry=mlp_symmetry(4 + 2 * (run % 2)) if known(run) else None,
                )
                names.append(f"run{run:03d}")
                families.append(family)
    if split:
        cut: Split = split_by_run(names, val=0.2, test=0.2, seed=0, families=families)
        cut.save(path / "split.json")
    return path
