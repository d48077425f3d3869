"""The proof that an imported symmetry is one of the network: outputs before and after drawn changes, in float64."""

import torch
from torch import nn

from sne.symmetry import apply, sample
from sne.zoo import Zoo

KINDS = ("permutation", "scaling", "sign", "mixing")


@torch.no_grad()
def prove(zoo: Zoo, row: int, module: nn.Module, *inputs: torch.Tensor, not_stored: tuple[str, ...] = ()) -> dict:
    """Draws changes of a row's weights, all kinds at once and each alone; kinds by group.

    Args:
        zoo: the imported zoo.
        row: of the network.
        module: computes what the network does; its first output is compared.
        inputs: of the module.
        not_stored: names of the module's tensors that the zoo does not hold.
    """
    symmetry, source = zoo.symmetry(row), zoo.network(row).source
    assert symmetry is not None
    module.double().eval()
    state = {name: source.load(name).double() for name in source.infos}
    before = outputs(module, state, inputs, not_stored)
    moved = False
    for seed, kinds in enumerate([*([KINDS] * 4), *((kind,) for kind in KINDS)]):
        changed = apply(sample(symmetry, seed, kinds=kinds), state)
        moved |= any(not torch.equal(changed[name], state[name]) for name in state)
        change = (outputs(module, changed, inputs, not_stored) - before).abs().max()
        assert float(change / before.abs().max().clamp(min=1.0)) < 1e-10, (seed, kinds)
    assert moved
    return {group.name: group.kinds for group in symmetry.groups}


def outputs(module, state, inputs, not_stored):
    missing, unexpected = module.load_state_dict(state, strict=False)
    assert not unexpected and set(missing) <= set(not_stored)
    return module(*inputs)
