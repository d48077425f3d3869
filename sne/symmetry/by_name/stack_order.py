"""The order of a plain stack's layers, where their names leave no doubt about it."""

import re
from collections.abc import Iterable

from sne.networks.names import natural_key, split_number
from sne.symmetry.by_name.claims import UncertainError

_RANKS = tuple(
    (re.compile(pattern), rank)
    for rank, pattern in enumerate(
        (
            r"embed|embeds|embedding|embeddings|emb|word_embeddings?|token_embeddings?|wte",
            r"input|input_layer|input_proj|inp|stem|first|conv_in|fc_in",
            r"conv|convs|conv_layers?|features|feature_extractor|encoder|backbone|body|trunk|layer|layers|blocks?|net"
            r"|network|main|model|module|module_list|seq|sequential|hidden|hidden_layers?|cnn|mlp",
            r"lstm|gru|rnn",
            r"fc|fcs|linear|linears|lin|dense|fc_layers?|linear_layers?|decoder",
            r"classifier|head|out|output|output_layer|out_proj|fc_out|conv_out|final|last|readout|logits|regressor",
        )
    )
)
_AT_THE_SIDE = re.compile(r"bn|bns|ln|lns|norms?|batch_?norm|layer_?norm|rms_?norm|p?relu|act|activation")
Key = tuple[tuple[int, tuple[str | int, ...]], ...]


def stack_order(paths: Iterable[str], sides: Iterable[str]) -> list[str]:
    """Paths of layers in the order of depth.

    Args:
        paths: of layers that read one width and feed another.
        sides: of norms and activations with weights, whose names are checked too.

    Returns:
        The paths, ordered by numbers and by the few words that say where a layer stands.

    Raises:
        UncertainError: a word is not among them, or two siblings' order stands in neither words nor numbers.
    """
    paths = list(paths)
    keys = {path: place(path) for path in paths}
    for path in sides:
        place(path)
    numbered: set[str] = set()
    siblings: dict[tuple[str, int], set[tuple[str, bool]]] = {}
    for path in paths:
        components = path.split(".")
        for depth, component in enumerate(components):
            base, number = split_number(component)
            rank = keys[path][depth][0]
            parent = ".".join(components[:depth])
            if component.isdigit():
                numbered.add(parent)
            else:
                siblings.setdefault((parent, rank), set()).add((base, number is None))
    for (parent, _), names in siblings.items():
        if parent in numbered:
            names.add(("numbers", True))
        if len(names) > 1:
            shown = ", ".join(sorted({name for name, _ in names}))
            raise UncertainError(f"the order of {shown} in {parent or 'the network'} is in no name")
    return sorted(paths, key=keys.__getitem__)


def place(path: str) -> Key:
    """What paths are ordered by.

    Args:
        path: of a layer.

    Raises:
        UncertainError: it has a word that no plain stack has.
    """
    key = []
    for component in path.split("."):
        base, _ = split_number(component)
        if component.isdigit() or not component:
            key.append((-1, natural_key(component)))
            continue
        rank = next((rank for pattern, rank in _RANKS if pattern.fullmatch(base)), None)
        if rank is None:
            rank = len(_RANKS) if _AT_THE_SIDE.fullmatch(base) else None
        if rank is None:
            raise UncertainError(f"{path}: the name {component!r} does not tell that this is a plain stack")
        key.append((rank, natural_key(component)))
    return tuple(key)
