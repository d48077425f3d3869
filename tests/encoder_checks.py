"""Encoding, and comparing what encoders prepare and give; for the contract tests of every encoder."""

import torch

from sne.encoders import NetworkEncoder
from sne.networks import Network


def encode(encoder: NetworkEncoder, some: list[Network]) -> torch.Tensor:
    with torch.no_grad():
        return encoder(encoder.collate(encoder.prepare(some)))


def assert_same(a: torch.Tensor, b: torch.Tensor) -> None:
    torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


def assert_same_items(a: list, b: list) -> None:
    for one, other in zip(a, b, strict=True):
        for name, value in vars(one).items():
            assert torch.equal(value, vars(other)[name]), name
