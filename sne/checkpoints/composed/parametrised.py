"""Weights under parametrisations whose function is not stored."""

from collections.abc import Mapping

from sne.checkpoints.composed.weight import Facts, Found
from sne.networks import TensorInfo

_PARAMETRIZED = "parametrizations"
_REASON = (
    "state of a parametrised weight, not read: the function that forms the weight is not stored; call "
    "torch.nn.utils.parametrize.remove_parametrizations before saving"
)


def find_parametrised(facts: Facts) -> Found:
    """Finds the tensors below `x.parametrizations.weight`, such as those of orthogonal weights.

    `torch.nn.utils.parametrizations.orthogonal` stores its state, but not which of its three maps forms the weight.
    Parametrisations that users write store what they like. Functions that form the weight from such a state come
    before this one in `COMPOSITIONS`.

    Args:
        facts: What is known about the checkpoint.

    Returns:
        The tensors, as recognised and not read.

    Example:
        >>> info = TensorInfo("fc.parametrizations.weight.original", (4, 3), "float32")
        >>> list(find_parametrised(Facts({info.name: info})).packed)
        ['fc.parametrizations.weight.original']
    """
    return Found({}, {name: _REASON for name in facts.infos if _PARAMETRIZED in name.split(".")[:-2]})


def parametrised_weights(infos: Mapping[str, TensorInfo]) -> dict[str, tuple[str, set[str]]]:
    """Finds the weights under `torch.nn.utils.parametrize`.

    Args:
        infos: Every stored tensor, by name.

    Returns:
        By the name of the weight without parametrisation: the path of its state, and the names below it.

    Example:
        >>> names = ("fc.parametrizations.weight.original", "fc.parametrizations.weight.0._u")
        >>> found = parametrised_weights({name: TensorInfo(name, (4,), "float32") for name in names})
        >>> found["fc.weight"][0], sorted(found["fc.weight"][1])
        ('fc.parametrizations.weight.', ['0._u', 'original'])
    """
    found: dict[str, tuple[str, set[str]]] = {}
    for name in infos:
        module, mark, rest = name.rpartition(f"{_PARAMETRIZED}.")
        parameter, dot, leaf = rest.partition(".")
        if mark and dot and (not module or module.endswith(".")):
            found.setdefault(module + parameter, (f"{module}{mark}{parameter}.", set()))[1].add(leaf)
    return found
