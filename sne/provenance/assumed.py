"""Symmetries that names and shapes do not make certain: of sequential stacks, of attentions, and of norms."""

from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import replace

from sne.errors import SymmetryError
from sne.networks import LayerType, Network, Part, Role
from sne.symmetry import symmetry_by_name
from sne.symmetry.symmetry import Group, Span, Symmetry

BATCH_NORM = (Role.SCALE, Role.RUNNING_MEAN)
"""Vectors of a batch norm that change their signs with the rows of the matrix before it."""

OTHER_NORMS = (LayerType.LAYER_NORM, LayerType.RMS_NORM)
"""Norms whose scales may be exchanged with those of the columns that read them."""

TIED = {"tie_word_embeddings": True}
"""Configuration of networks whose table of tokens is their last layer, too."""


def sequential_symmetry(network: Network, activation: str | None = None) -> Symmetry:
    """Returns the symmetry by name of a network whose layers follow one another, and whose attentions have one head.

    One head allows every change that several heads allow: queries and keys move together, and values and outputs do.
    A table of tokens is assumed to be the last layer, too, where no other last layer is stored.

    Args:
        network: The network.
        activation: Activation between the layers; None if unknown.
    """
    try:
        return symmetry_by_name(network, heads=1, config=TIED, assume_sequential=True, activation=activation)
    except SymmetryError:  # keys are narrower than queries
        return symmetry_by_name(network, config=TIED, assume_sequential=True, activation=activation)


def assumed_symmetry(network: Network) -> Symmetry:
    """Returns all changes that may leave a network's function unchanged, of which some hold for no activation.

    Scales and signs are among them wherever some activation lets them pass: at their canonical point, networks that
    differ in scales or in signs are equal whatever the activation is.
    """
    found = sequential_symmetry(network, activation="none")
    groups = tuple(
        replace(group, kinds=tuple(dict.fromkeys([*group.kinds, "sign"]))) if "scaling" in group.kinds else group
        for group in found.groups
    )
    return with_norms(replace(found, groups=groups), network)


def scaled_by_batch_norms(network: Network, units_of: Callable[[Part], Hashable]) -> dict[str, Part]:
    """Returns the matrix whose rows each batch norm scales, by the name of the norm.

    It is the first matrix before the norm that feeds the same units and has no batch norm yet.

    Args:
        network: The network.
        units_of: The units that a part feeds.
    """
    waiting: list[Part] = []
    found: dict[str, Part] = {}
    for layer, part in network.parts():
        if part.in_axis is not None:
            waiting.append(part)
        elif layer.type is LayerType.BATCH_NORM and part.role in (Role.SCALE, Role.RUNNING_VAR):
            units = units_of(part), part.num_entries
            place = next((i for i, one in enumerate(waiting) if (units_of(one), one.arranged_shape[0]) == units), None)
            if place is not None and layer.name not in found:
                found[layer.name] = waiting.pop(place)
    return found


def with_norms(symmetry: Symmetry, network: Network) -> Symmetry:
    """Adds the changes that norms hide to a symmetry: signs before batch norms, scales and signs after others.

    They hold if batch norms follow their matrices, and if other norms are read by nothing but the matrices after them.

    Args:
        symmetry: A symmetry of the network.
        network: The network.
    """
    owners = {(span.tensor, span.dim): group.name for group in symmetry.groups for span in group.spans}
    groups = [*_before_batch_norms(network, owners), *_after_other_norms(network, owners)]
    shapes = {span.tensor: network.source.infos[span.tensor].shape for group in groups for span in group.spans}
    return Symmetry(
        (*symmetry.groups, *groups),
        shapes={**symmetry.shapes, **shapes},
        aliases=symmetry.aliases,
    )


def _before_batch_norms(network: Network, owners: Mapping[tuple[str, int], str]) -> Iterator[Group]:
    """Yields a group per batch norm: rows of the matrix before it, with the bias, change signs with its vectors."""
    matrices = scaled_by_batch_norms(network, lambda part: owners.get((part.tensor, part.out_axis or 0)))
    parts = list(network.parts())
    names = {part: layer.name for layer, part in parts}
    for name, matrix in matrices.items():
        vectors = [part for layer, part in parts if layer.name == name and part.role in BATCH_NORM]
        biases = [part for layer, part in parts if layer.name == names[matrix] and part.role is Role.BIAS]
        is_whole = matrix.axis is None and all(_is_vector(network, part) for part in (*vectors, *biases))
        if is_whole and {part.role for part in vectors} == set(BATCH_NORM):
            tensors = [part.tensor for part in (*vectors, *biases)]
            spans = (Span(matrix.tensor, matrix.out_axis or 0, power=1), *(Span(one, 0, power=1) for one in tensors))
            yield Group(f"{name}: sign", matrix.arranged_shape[0], spans, ("sign",))


def _after_other_norms(network: Network, owners: Mapping[tuple[str, int], str]) -> Iterator[Group]:
    """Yields a group per other norm: its vectors, and columns of the matrices that read the same units after it."""
    spans: dict[str, list[Span]] = {}
    sizes: dict[str, int] = {}
    last: dict[Hashable, str] = {}
    for layer, part in network.parts():
        if layer.type in OTHER_NORMS and part.role in (Role.SCALE, Role.BIAS) and _is_vector(network, part):
            last[owners.get((part.tensor, 0)), part.num_entries] = layer.name
            sizes[layer.name] = part.num_entries
            spans.setdefault(layer.name, []).append(Span(part.tensor, 0, power=1))
        elif part.in_axis is not None:
            name = last.get((owners.get((part.tensor, part.in_axis)), part.arranged_shape[1]))
            span = Span(part.tensor, part.in_axis, power=-1)
            if name is not None and part.axis != part.in_axis and span not in spans[name]:
                spans[name].append(span)
    for name, some in spans.items():
        if any(span.power < 0 for span in some):
            yield Group(f"{name}: scaling and sign", sizes[name], tuple(some), ("scaling", "sign"))


def _is_vector(network: Network, part: Part) -> bool:
    """Whether a part is a whole tensor of one axis."""
    return part.axis is None and len(network.source.infos[part.tensor].shape) == 1
