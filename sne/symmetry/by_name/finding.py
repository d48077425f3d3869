"""From names and shapes to a symmetry: the first layout that fits is asked, and must account for every tensor."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from sne.networks import Hint, Network, TensorInfo
from sne.symmetry.by_name.bert import BERT
from sne.symmetry.by_name.claims import Claims, UncertainError, nothing
from sne.symmetry.by_name.convnext import convnext
from sne.symmetry.by_name.gpt2 import GPT2, NANO_GPT
from sne.symmetry.by_name.known import Known, known
from sne.symmetry.by_name.llama import LLAMA
from sne.symmetry.by_name.prefixes import with_prefix, without_prefix
from sne.symmetry.by_name.resnet import fits_resnet, read_resnet
from sne.symmetry.by_name.small_transformer import SMALL_TEXT, SMALL_VISION
from sne.symmetry.by_name.stack import read_stack
from sne.symmetry.by_name.t5 import T5
from sne.symmetry.by_name.tables import Layout, fits, read_table
from sne.symmetry.by_name.vit import TIMM_VIT, TRANSFORMERS_VIT
from sne.symmetry.symmetry import Symmetry

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
    """A source that knows more than names and shapes: which tensors are tied, which classes modules are of."""

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
    """What names and shapes of a network's tensors make certain about its symmetries; no code is needed.

    Args:
        network: read by `sne.read_network`, or its tensors by name. A network also tells which tensors are tied and,
            where it was read from a module, of which classes its layers are.
        heads: query heads of every attention, which are in no name and no shape; without them attention stays.
        config: of the checkpoint, for the number of heads and `tie_word_embeddings`, as transformers keeps them.
        activation: of hidden layers: relu, leaky_relu, tanh, sine, none, gelu, sigmoid or silu, where nothing but it
            and pooling stands between two layers. It allows scaling or sign flips besides permutations.
        assume_sequential: a plain stack is nothing but its layers one after the other: no skips, no layer used twice.

    Returns:
        The groups that are certain; `fixed` says of every other axis why it stays.

    Raises:
        SymmetryError: what the caller passes contradicts itself or the shapes.
    """
    facts = known(heads, config, activation, assume_sequential)
    infos, hints = network, {}
    if isinstance(network, Network):
        infos = network.source.infos
        hints = network.source.hints if isinstance(network.source, _Hinted) else {}
    assert not isinstance(infos, Network)
    empty = next((name for name, info in infos.items() if info.num_entries == 0), None)
    if empty is not None:
        return nothing(infos, f"{empty} is empty")
    prefix, infos, hints = without_prefix(infos, hints)
    aliases = _aliases(infos, hints)
    reasons = []
    for read in _readers(infos, facts, hints):
        claims = Claims(infos, aliases)
        try:
            read(claims)
        except UncertainError as error:
            reasons.append(str(error))
        else:
            return with_prefix(claims.build(), prefix)
    return with_prefix(nothing(infos, "; ".join(reasons)), prefix)


def _readers(infos: Mapping[str, TensorInfo], facts: Known, hints: Mapping[str, Hint]) -> list[_Reader]:
    """How to read a network of these names: as what its names say, or else as a plain stack."""
    readers: list[_Reader] = [
        lambda claims, layout=layout: read_table(layout, claims, facts) for layout in _LAYOUTS if fits(layout, infos)
    ]
    if fits_resnet(infos):
        readers.append(lambda claims: read_resnet(claims, facts))
    return readers or [lambda claims: read_stack(claims, facts, hints)]


def _aliases(infos: Mapping[str, TensorInfo], hints: Mapping[str, Hint]) -> dict[str, str]:
    """Names of tied tensors, and the name that stands for them."""
    first: dict[str, str] = {}
    aliases: dict[str, str] = {}
    for name in infos:
        mark = hints.get(name, Hint()).tied
        if mark is not None and first.setdefault(mark, name) != name:
            aliases[name] = first[mark]
    return aliases
