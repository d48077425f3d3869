"""Finds the symmetry of a network from names and shapes, by the first layout that explains every tensor."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol, runtime_checkable

from sne.networks import Hint, Network, TensorInfo
from sne.networks.stems import common_prefix
from sne.symmetry.by_name.claims import Claims, UncertainError, nothing
from sne.symmetry.by_name.known import Known, known_from
from sne.symmetry.by_name.layouts import (
    BERT,
    GPT2,
    LLAMA,
    NANO_GPT,
    SMALL_TEXT,
    SMALL_VISION,
    T5,
    TIMM_VIT,
    TRANSFORMERS_VIT,
    convnext,
)
from sne.symmetry.by_name.resnet import fits_resnet, read_resnet
from sne.symmetry.by_name.stack import read_stack
from sne.symmetry.by_name.tables import Layout, fits, read_table
from sne.symmetry.symmetry import Group, Mixing, Symmetry

_LAYOUTS: Sequence[Layout] = (
    TIMM_VIT,
    TRANSFORMERS_VIT,
    BERT,
    GPT2,
    NANO_GPT,
    LLAMA,
    T5,
    SMALL_VISION,
    SMALL_TEXT,
    *(convnext(stages) for stages in (1, 2, 3, 4, 5)),
)
_Reader = Callable[[Claims], None]


@runtime_checkable
class _Hinted(Protocol):
    """A source that knows more than names and shapes: tied tensors and classes of modules."""

    @property
    def hints(self) -> Mapping[str, Hint]: ...


def symmetry_by_name(
    network: Network | Mapping[str, TensorInfo],
    *,
    heads: int | None = None,
    config: Mapping[str, Any] | None = None,
    activation: str | None = None,
    assume_sequential: bool = False,
) -> Symmetry:
    """Finds the symmetries of a network that the names and shapes of its tensors make certain.

    Args:
        network: A network from `sne.read_network`, or tensors by name. A network also provides which tensors are
            tied and, if it was read from a module, the classes of its layers.
        heads: Number of query heads in every attention, which names and shapes do not contain. Without it, heads
            and their channels stay fixed.
        config: Configuration of the checkpoint as in transformers, for the number of heads and `tie_word_embeddings`.
        activation: Activation of hidden layers: relu, leaky_relu, tanh, sine, none, gelu, sigmoid or silu. It allows
            scaling or sign flips as well, between two layers with only the activation and pooling between them.
        assume_sequential: Whether the layers of a plain stack follow one another without skips, and none is used twice.

    Returns:
        The groups that are certain; `fixed` gives the reason for every other axis.

    Raises:
        SymmetryError: The arguments contradict each other or the shapes.

    Example:
        >>> shapes = {"fc1.weight": (8, 5), "fc1.bias": (8,), "fc2.weight": (3, 8)}
        >>> symmetry = symmetry_by_name({name: TensorInfo(name, shape, "float32") for name, shape in shapes.items()})
        >>> [(group.size, len(group.spans)) for group in symmetry.groups]
        [(8, 3)]
    """
    facts = known_from(heads, config, activation, assume_sequential)
    infos, hints = network, {}
    if isinstance(network, Network):
        infos = network.source.infos
        hints = network.source.hints if isinstance(network.source, _Hinted) else {}
    assert not isinstance(infos, Network)
    empty = next((name for name, info in infos.items() if info.num_entries == 0), None)
    if empty is not None:
        return nothing(infos, f"{empty} is empty")
    prefix, infos, hints = _without_prefix(infos, hints)
    aliases = _aliases(infos, hints)
    reasons = []
    for read in _readers(infos, facts, hints):
        claims = Claims(infos, aliases)
        try:
            read(claims)
        except UncertainError as error:
            reasons.append(str(error))
        else:
            return _with_prefix(claims.build(), prefix)
    return _with_prefix(nothing(infos, "; ".join(reasons)), prefix)


def _readers(infos: Mapping[str, TensorInfo], facts: Known, hints: Mapping[str, Hint]) -> list[_Reader]:
    """Returns the readers of the layouts that fit the names, or the reader of plain stacks if none fits."""
    readers: list[_Reader] = [
        lambda claims, layout=layout: read_table(layout, claims, facts) for layout in _LAYOUTS if fits(layout, infos)
    ]
    if fits_resnet(infos):
        readers.append(lambda claims: read_resnet(claims, facts))
    return readers or [lambda claims: read_stack(claims, facts, hints)]


def _aliases(infos: Mapping[str, TensorInfo], hints: Mapping[str, Hint]) -> dict[str, str]:
    """Returns the first name of each tied tensor by its other names."""
    first: dict[str, str] = {}
    aliases: dict[str, str] = {}
    for name in infos:
        mark = hints.get(name, Hint()).tied
        if mark is not None and first.setdefault(mark, name) != name:
            aliases[name] = first[mark]
    return aliases


def _without_prefix(
    infos: Mapping[str, TensorInfo], hints: Mapping[str, Hint]
) -> tuple[str, dict[str, TensorInfo], dict[str, Hint]]:
    """Returns the wrapper prefix that all names share, and tensors and hints without it. Inverse: `_with_prefix`."""
    prefix = common_prefix(infos)
    cut = len(prefix)
    short = {name[cut:]: replace(info, name=name[cut:]) for name, info in infos.items()}
    return prefix, short, {path[cut:]: hint for path, hint in hints.items() if path.startswith(prefix)}


def _with_prefix(symmetry: Symmetry, prefix: str) -> Symmetry:
    """Returns a symmetry under the stored names. Inverse of `_without_prefix`."""
    if not prefix:
        return symmetry

    def stored(one: Group | Mixing) -> tuple:
        return tuple(replace(span, tensor=prefix + span.tensor) for span in one.spans)

    return Symmetry(
        tuple(replace(group, spans=stored(group)) for group in symmetry.groups),
        tuple(replace(mixing, spans=stored(mixing)) for mixing in symmetry.mixings),
        {prefix + name: shape for name, shape in symmetry.shapes.items()},
        {prefix + alias: prefix + name for alias, name in symmetry.aliases.items()},
        tuple(replace(fixed, tensor=prefix + fixed.tensor) for fixed in symmetry.fixed),
    )
