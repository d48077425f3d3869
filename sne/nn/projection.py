"""The linear maps inside set blocks, started so that signals keep their size through many blocks."""

from torch import nn


def projection(dim: int, *, has_bias: bool = True) -> nn.Linear:
    """A linear layer dim -> dim whose start keeps the variance of its input.

    torch's own start divides the variance by 3. A network passes twenty such maps on its way to an embedding,
    so that two networks would start all but equal.

    Args:
        dim: width, in and out.
        has_bias: whether there is a bias; it starts at zero.

    Returns:
        The layer.

    Source: Glorot and Bengio, AISTATS 2010.
    Differs: nothing.
    """
    layer = nn.Linear(dim, dim, bias=has_bias)
    nn.init.xavier_uniform_(layer.weight)
    if has_bias:
        nn.init.zeros_(layer.bias)
    return layer
