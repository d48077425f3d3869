"""The linear maps inside set blocks, started so that signals keep their size through many blocks."""

from torch import nn

BRANCH_GAIN = 0.5
"""At 1 sums grow from block to block, and embeddings start ten times too large for a head to learn from."""


def projection(dim: int, *, has_bias: bool = True, gain: float = 1.0) -> nn.Linear:
    """A linear layer dim -> dim whose start keeps the size of its input, times a gain.

    torch's own start divides the variance by 3. A network passes twenty such maps on its way to an embedding,
    so that two networks would start all but equal.

    Args:
        dim: width, in and out.
        has_bias: whether there is a bias; it starts at zero.
        gain: factor on the size; `BRANCH_GAIN` for maps whose result is added to what it was computed from.

    Returns:
        The layer.

    Source: Glorot and Bengio, AISTATS 2010.
    Differs: nothing.
    """
    layer = nn.Linear(dim, dim, bias=has_bias)
    nn.init.xavier_uniform_(layer.weight, gain)
    if has_bias:
        nn.init.zeros_(layer.bias)
    return layer
