"""What the caller knows of a network beyond names and shapes."""

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
    """What the caller knows.

    Args:
        heads: of the queries, in every attention; None where unknown.
        activation: of hidden layers; None where unknown.
        is_tied: the token embedding is the output layer too.
        is_sequential: a stack has neither skips nor shared layers.
    """

    heads: int | None = None
    activation: str | None = None
    is_tied: bool = False
    is_sequential: bool = False


def known(
    heads: int | None, config: Mapping[str, Any] | None, activation: str | None, assume_sequential: bool
) -> Known:
    """Checks and joins what the caller passes; see `symmetry_by_name`.

    Raises:
        SymmetryError: the activation is not known, heads are no positive number, or the configuration says otherwise.
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
        raise SymmetryError(f"heads is {heads!r}, expected a whole number from 1")
    return Known(heads, activation, config.get("tie_word_embeddings") is True, assume_sequential)


def kinds_through(activation: str | None) -> tuple[str, ...]:
    """Kinds besides permutations that pass an activation between two layers.

    Args:
        activation: its name; None where unknown.
    """
    scaling = ("scaling",) if activation in _POSITIVE else ()
    return (*scaling, "sign") if activation in _ODD else scaling
