"""Is a network the weighted mean of two others?"""

from dataclasses import dataclass

import torch

from sne.networks import Network
from sne.provenance.matching import match
from sne.provenance.patterns import looks_random
from sne.provenance.states import Counterpart, StoredState

LARGEST_RESIDUAL = 0.02
"""Largest norm of what two parents do not explain, over that of their difference times the smaller weight."""

MOST_MISSING = 0.01
"""Largest share of weights that a parent may lack."""

LEAST_WEIGHT = 0.02
"""Least weight of a parent."""


LEAST_RANDOM = 16
"""Least number of entries of tensors whose difference looks random: some constants are weighted means of any others."""

LONGEST = 65_536
"""Number of first entries of a tensor that are looked at for this."""


@dataclass(frozen=True)
class Merge:
    """Weights of two parents in a merged network.

    Args:
        weights: Weight of each parent over all tensors.
        by_tensor: Weights of both parents by tensor, for tensors in which the parents differ.
        residual: Norm of the rest over the norm of the network.
    """

    weights: tuple[float, float]
    by_tensor: dict[str, tuple[float, float]]
    residual: float


def merged_from(child: Network, first: Network, second: Network) -> Merge | None:
    """Tests whether a network is a weighted mean of two others, tensor by tensor.

    Args:
        child: The network that may be a merge.
        first: One parent.
        second: The other parent.

    Returns:
        The weights of the parents by least squares; None if they leave more than rounding unexplained.
    """
    states = StoredState(child), *(Counterpart(child, parent, match(child, parent)) for parent in (first, second))
    by_tensor, rest, size, spread, num_random = {}, 0.0, 0.0, 0.0, 0
    products, targets = torch.zeros(2, 2, dtype=torch.float64), torch.zeros(2, dtype=torch.float64)
    tensors = [name for name in states[0] if name in states[1] and name in states[2]]
    missing = sum(part.num_entries for _, part in child.parts() if part.tensor not in tensors)
    if missing > MOST_MISSING * child.num_weights:
        return None
    for name in tensors:
        made, *parents = (state[name].double().flatten() for state in states)
        if torch.equal(*parents):
            rest += float((made - parents[0]).square().sum())
            continue
        basis = torch.stack(parents)
        gram, target = basis @ basis.T, basis @ made
        weights = torch.linalg.lstsq(gram, target[:, None]).solution[:, 0]
        left = made - weights @ basis
        by_tensor[name] = (float(weights[0]), float(weights[1]))
        products, targets = products + gram, targets + target
        rest, size = rest + float(left @ left), size + float(made @ made)
        spread += float((parents[0] - parents[1]).square().sum())
        if looks_random((parents[0] - parents[1])[None, :LONGEST]):
            num_random += len(made)
    if num_random < LEAST_RANDOM or size == 0:
        return None
    totals = torch.linalg.lstsq(products, targets[:, None]).solution[:, 0]
    weights = (float(totals[0]), float(totals[1]))
    explained = rest <= (LARGEST_RESIDUAL * min(map(abs, weights))) ** 2 * spread
    if not explained or min(weights) < LEAST_WEIGHT:
        return None
    return Merge(weights, by_tensor, (rest / size) ** 0.5)
