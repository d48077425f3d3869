"""Slow loops, written from the equations of the Set Transformer (arXiv 1810.00825, section 3)."""

import math

import torch
from torch import Tensor


def linear(layer: torch.nn.Linear, x: Tensor) -> Tensor:
    out = layer.weight @ x
    return out if layer.bias is None else out + layer.bias


def layer_norm(layer: torch.nn.Module, x: Tensor) -> Tensor:
    if isinstance(layer, torch.nn.Identity):
        return x
    centred = x - x.sum() / len(x)
    return centred / torch.sqrt((centred**2).sum() / len(x) + layer.eps) * layer.weight + layer.bias


def rff(layer: torch.nn.Module, x: Tensor) -> Tensor:
    out = linear(layer.linear, x)
    return torch.where(out > 0, out, torch.zeros_like(out))


def end(layer: torch.nn.Module, h: Tensor) -> Tensor:
    h = layer_norm(layer.norm_in, h)
    return layer_norm(layer.norm_out, h + rff(layer.feedforward, h))


def mab(block: torch.nn.Module, x: list[Tensor], y: list[Tensor]) -> list[Tensor]:
    """MAB(X, Y) = H + rFF(H), H = X W_q + Multihead(X, Y, Y)."""
    out = []
    for token in x:
        query = linear(block.query, token)
        width = len(query) // block.heads
        averages = []
        for head in range(block.heads):
            cut = slice(head * width, (head + 1) * width)
            logits = [float_dot(query[cut], linear(block.key, other)[cut]) / math.sqrt(width) for other in y]
            top = max(float(logit.detach()) for logit in logits)
            exps = [torch.exp(logit - top) for logit in logits]
            total = sum(exps)
            averages.append(sum(e / total * linear(block.value, other)[cut] for e, other in zip(exps, y, strict=True)))
        out.append(end(block.end, query + torch.cat(averages)))
    return out


def float_dot(a: Tensor, b: Tensor) -> Tensor:
    total = a.new_zeros(())
    for i in range(len(a)):
        total = total + a[i] * b[i]
    return total


def sab(block: torch.nn.Module, x: list[Tensor]) -> list[Tensor]:
    """SAB(X) = MAB(X, X)."""
    return mab(block, x, x)


def isab(block: torch.nn.Module, x: list[Tensor]) -> list[Tensor]:
    """ISAB(X) = MAB(X, MAB(I, X))."""
    return mab(block.outer, x, mab(block.inner, list(block.points), x))


def pma(block: torch.nn.Module, z: list[Tensor]) -> Tensor:
    """PMA(Z) = MAB(S, rFF(Z)), one seed."""
    (pooled,) = mab(block, list(block.seed), [rff(block.feedforward, token) for token in z])
    return pooled


def scalar_sab(block: torch.nn.Module, x: list[Tensor]) -> list[Tensor]:
    """SAB on scalars: tokens of width one."""
    return mab(block, [v.reshape(1) for v in x], [v.reshape(1) for v in x])


def tilted_mean(x: list[float], tilt: float) -> float:
    top = max(tilt * v for v in x)
    exps = [math.exp(tilt * v - top) for v in x]
    return sum(e * v for e, v in zip(exps, x, strict=True)) / sum(exps)
