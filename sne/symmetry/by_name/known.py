"""Facts about a network that the caller provides in addition to names and shapes."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sne.errors import SymmetryError

_HEADS = ("num_attention_heads", "n_head", "num_heads")
_POSITIVE = frozenset({"relu", "leaky_relu", "none"})
_ODD = frozenset({"tanh", "sine", "none"})
ACTIVATIONS = ("relu", "leaky_relu", "tanh", "sine", "none", "gelu", "sigmoid", "silu")


@dataclass(frozen=True)
class Known:
    """Facts about a network that the caller provides.

    Args:
        heads: Number of query heads in every attention; None if unknown.
        activation: Activation of hidden layers; None if unknown.
        is_tied: Whether the token embedding is the output layer too.
        is_sequential: Whether a stack has neither skips nor shared layers.
    """

    heads: int | None = None
    activation: str | None = None
    is_tied: bool = False
    is_sequential: bool = False


def known_from(
    heads: int | None, config: Mapping[str, Any] | None, activation: str | None, assume_sequential: bool
) -> Known:
    """Checks the arguments of `symmetry_by_name` and joins them.

    Args:
        heads: Number of query heads.
        config: Configuration of the checkpoint.
        activation: Name of the activation.
        assume_sequential: Whether a stack has neither skips nor shared layers.

    Raises:
        SymmetryError: The activation is not known, `heads` is not a positive integer, or the configuration has
            another number of heads.
    """
    if activation is not None and activation not in ACTIVATIONS:
        raise SymmetryError(f"activation {activation!r} is not known, expected one of {', '.join(ACTIVATIONS)}")
    config = config or {}
    for key in _HEADS:
        found = config.get(key)
        if found is None:
            continue
        if heads is not None and found != heads:
            raise SymmetryError(f"heads is {heads}, the configuration's {key} is {found}")
        heads = found
    if heads is not None and (not isinstance(heads, int) or isinstance(heads, bool) or heads < 1):
        raise SymmetryError(f"heads is {heads!r}, expected an integer of at least 1")
    return Known(heads, activation, config.get("tie_word_embeddings") is True, assume_sequential)


def kinds_through(activation: str | None) -> tuple[str, ...]:
    """Returns the kinds of changes, other than permutations, that pass an activation between two layers.

    Args:
        activation: Name of the activation; None if unknown.
    """
    scaling = ("scaling",) if activation in _POSITIVE else ()
    return (*scaling, "sign") if activation in _ODD else scaling
