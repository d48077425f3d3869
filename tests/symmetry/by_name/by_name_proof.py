"""The proof: outputs before and after drawn transformations, in float64."""

from dataclasses import replace

import torch
from torch import nn

from sne.checkpoints.read import read_network
from sne.symmetry import apply, sample, symmetry_by_name

DRAWS = 10


def shake(module: nn.Module, seed: int = 0) -> nn.Module:
    """The module in float64 and eval mode, every parameter and statistic random, as if it had been trained."""
    generator = torch.Generator().manual_seed(seed)
    module.double().eval()
    for name, tensor in module.state_dict(keep_vars=True).items():
        if tensor.is_floating_point():
            noise = torch.randn(tensor.shape, generator=generator, dtype=torch.float64)
            with torch.no_grad():
                if name.endswith("running_var"):
                    tensor.copy_(noise.abs() + 0.5)
                elif tensor.ndim > 1:
                    tensor.copy_(noise * (2 / tensor[0].numel()) ** 0.5)
                else:
                    tensor.copy_(0.3 * noise + (1.0 if "weight" in name else 0.2))  # few units die
    return module


@torch.no_grad()
def largest_change(module, inputs, symmetry, kinds, draws=DRAWS) -> float:
    """The largest change of an output over several draws, against the outputs' size."""
    state = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    before = module(*inputs)
    worst = 0.0
    for seed in range(draws):
        changed = apply(sample(symmetry, seed, kinds=kinds), state)
        assert not symmetry.groups or any(not torch.equal(changed[name], state[name]) for name in state)
        module.load_state_dict(changed)
        worst = max(worst, float((module(*inputs) - before).abs().max() / before.abs().max().clamp(min=1.0)))
    module.load_state_dict(state)
    return worst


def prove(module, *inputs, kinds=("permutation", "scaling", "sign", "mixing"), **options):
    """Claims made by names alone and with the module's hints: both must keep the outputs; sizes by group."""
    shake(module)
    network = read_network(module)
    symmetry = symmetry_by_name(dict(network.source.infos), **options)
    assert largest_change(module, inputs, symmetry, kinds) < 1e-10
    hinted = symmetry_by_name(network, **options)
    if hinted != symmetry:
        assert largest_change(module, inputs, hinted, kinds) < 1e-10
    assert_all_axes(symmetry, network.source.infos)
    for group in hinted.groups:  # the same without one weight is no symmetry, and shows
        gone = next(span for span in group.spans if len(hinted.shapes[span.tensor]) > 1)
        spans = tuple(span for span in group.spans if span != gone)
        illegal = replace(hinted, groups=(replace(group, spans=spans),), mixings=())
        assert largest_change(module, inputs, illegal, ("permutation",), draws=3) > 1e-6, group.name
    return {group.name: group.size for group in symmetry.groups}


def assert_all_axes(symmetry, infos):
    """Every axis is free or fixed, never both."""
    free = {(span.tensor, span.dim) for one in (*symmetry.groups, *symmetry.mixings) for span in one.spans}
    fixed = [(one.tensor, one.dim) for one in symmetry.fixed]
    every = {(name, dim) for name, info in infos.items() for dim in range(len(info.shape))}
    assert len(set(fixed)) == len(fixed) and free.isdisjoint(fixed)
    assert free | set(fixed) == every
