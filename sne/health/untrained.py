"""Layers that were never trained: weights that still are what an initialiser draws.

Weights alone do not tell: in a wide or a briefly trained network they may have moved less than any test can see. A
layer is named only if a second sign agrees, one that a single step of training removes:

- constants: its biases are all equal, as initialisers set them; without biases, the norm after it has scale 1 and
  shift 0;
- edge: its weights are uniform between two ends and none is beyond them, and its biases are drawn like them, as torch
  does;
- contrast: no such sign can be read, but the weights agree with a usual initialiser at its exact scale, while most
  other layers of the network agree with none.

The last layer is the one that is made anew most often, and small: there, an edge counts with few weights, too, if the
largest one is as near to it as the largest of so many draws is, and the other layers were trained.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sne.errors import counted
from sne.health.finding import Finding, Severity, finding
from sne.health.initialisers import ANY_SCALE, ENOUGH, FEWEST, OF_TORCH, initialisers
from sne.health.layers import MOST_LINES, LayerHealth, listed
from sne.health.tensors import DRAWN, TensorHealth
from sne.networks import Layer, LayerType, Role
from sne.networks.parts import NORMS

LOOKS_UNTRAINED = "looks untrained"
"""What is said of a last layer that was never trained."""

FEWEST_AT_EDGE = 500
"""Least number of weights whose edge counts as a sign."""

FEWEST_AT_EDGE_OF_HEAD = 64
"""Least number of weights of a last layer whose edge counts as a sign, if they reach it.

In `judge_layers`, other layers have to be trained, too.
"""

GAP = 6.0
"""Largest distance from the edge to the largest of n weights of that layer, in units of the edge divided by n.

Of layers that are drawn so, one in 400 is farther away.
"""

FAR = 3.5
"""Deviation of the mean and of the variance of a bias, in standard deviations, from which it was not drawn so."""

FEWEST_IN_CONTRAST = 2000
"""Least number of weights of a layer that is named by contrast."""

MOST_IN_CONTRAST = 0.25
"""Largest share of the layers of a network that may be named by contrast."""


MOST_LARGE = 0.8
"""Share of the layers with many weights that agree with an initialiser in a network that was never trained."""

_BIASES = (Role.BIAS, Role.RECURRENT_BIAS)


@dataclass(frozen=True)
class Untrained:
    """A layer that was never trained.

    Args:
        layer: Name of the layer.
        num_weights: Number of its entries.
        message: What shows it.
    """

    layer: str
    num_weights: int
    message: str


@dataclass(frozen=True)
class Judgement:
    """What is said of the layers of a network.

    Args:
        untrained: The layers that were never trained.
        num_judged: Number of layers that have weights.
        is_whole: Whether the network as a whole was never trained.
    """

    untrained: tuple[Untrained, ...]
    num_judged: int
    is_whole: bool


def judge_layers(layers: Sequence[LayerHealth]) -> Judgement:
    """Finds the layers of a network that were never trained.

    The network as a whole was not, if no layer shows a sign of training, all norms are as initialised, and most
    layers that are large enough agree with an initialiser; some layer has to show a sign that it was not trained.

    Args:
        layers: The layers of the network and what was measured of them.
    """
    judged = list(_judge_each(layers))
    last = max((one.layer.level for one in judged), default=0)
    is_body_trained = any(one.shows_training for one in judged if one.layer.level < last)
    found: list[Untrained] = []
    by_contrast: list[Untrained] = []
    for one in (one for one in judged if one.is_drawn):
        names = " and ".join(dict.fromkeys(tensor.initialiser.removeprefix(ANY_SCALE) for tensor in one.drawn))
        is_usual = not any(tensor.initialiser.startswith(ANY_SCALE) for tensor in one.drawn)
        is_head = one.layer.level == last and is_body_trained
        lead = f"the last layer {LOOKS_UNTRAINED}: " if is_head else ""
        sign = one.sign or (_sign_of_head(one) if is_head else "")
        if sign:
            found.append(Untrained(one.layer.name, one.count, f"{lead}weights as drawn by {names}; {sign}"))
        elif one.sign is None and one.has_weights_alone and is_usual and one.count >= FEWEST_IN_CONTRAST:
            message = f"{lead}weights as drawn by {names}, unlike those of the other layers"
            by_contrast.append(Untrained(one.layer.name, one.count, message))
    num_drawn = sum(one.is_drawn for one in judged)
    if num_drawn <= MOST_IN_CONTRAST * len(judged):
        found += by_contrast
    large = [one.is_drawn for one in judged if one.fewest >= ENOUGH]
    are_drawn = num_drawn > 0 and sum(large) >= MOST_LARGE * len(large)
    has_sign = any(one.is_drawn and one.sign for one in judged) or any(layer.type in NORMS for layer, _ in layers)
    is_trained = any(one.sign == "" or one.has_moved for one in judged)
    is_whole = has_sign and are_drawn and not is_trained and _are_norms_initial(layers)
    return Judgement(tuple(found), len(judged), is_whole)


@dataclass(frozen=True)
class _Judged:
    """A layer with weights, and what they say.

    Args:
        layer: The layer.
        tensors: What was measured of its parts.
        drawn: Those that are drawn at random before training.
        sign: The sign that it was not trained, see `_sign`.
    """

    layer: Layer
    tensors: Sequence[TensorHealth]
    drawn: Sequence[TensorHealth]
    sign: str | None

    @property
    def is_drawn(self) -> bool:
        """Whether all weights agree with an initialiser."""
        return all(tensor.initialiser for tensor in self.drawn)

    @property
    def count(self) -> int:
        """Number of weights."""
        return sum(tensor.num_entries for tensor in self.drawn)

    @property
    def fewest(self) -> int:
        """Number of entries of the smallest weight."""
        return min(tensor.num_entries for tensor in self.drawn)

    @property
    def has_weights_alone(self) -> bool:
        """Whether it has no biases or other parts."""
        return len(self.drawn) == len(self.tensors)

    @property
    def has_moved(self) -> bool:
        """Whether it is small (see `ENOUGH`), agrees with no usual initialiser, and has biases that have moved."""
        return FEWEST <= self.fewest < ENOUGH and not self.is_drawn and _have_biases_moved(self.tensors)

    @property
    def shows_training(self) -> bool:
        """Whether its biases have moved, or its weights agree with no initialiser although there are enough of them."""
        return self.sign == "" or (self.fewest >= FEWEST and not self.is_drawn)


def _judge_each(layers: Sequence[LayerHealth]) -> Iterator[_Judged]:
    for number, (layer, tensors) in enumerate(layers):
        drawn = [tensor for tensor in tensors if tensor.role in DRAWN and tensor.num_entries > 1]
        if drawn and layer.type is not LayerType.OTHER:  # how those are drawn is not known
            yield _Judged(layer, tensors, drawn, _sign(layers, number, drawn))


def untrained_heads(layers: Sequence[LayerHealth]) -> list[str]:
    """Returns the names of last layers that were never trained, whatever the layers before them say.

    Args:
        layers: The last layers of a network and what was measured of them.
    """
    heads = [one for one in _judge_each(layers) if one.is_drawn]
    return [one.layer.name for one in heads if one.sign or _sign_of_head(one)]


def _sign_of_head(head: _Judged) -> str:
    """Returns the sign that a last layer with few weights was not trained; empty if there is none."""
    if head.sign is not None:
        return head.sign
    biases = [tensor for tensor in head.tensors if tensor.role in _BIASES]
    # trained heads of this size agree with other initialisers by chance
    is_of_torch = all(tensor.initialiser == OF_TORCH for tensor in head.drawn)
    if head.count < FEWEST_AT_EDGE_OF_HEAD or not is_of_torch:
        return ""
    if not all(_is_drawn_like(bias, head.drawn[-1]) for bias in biases):
        return ""
    if not all(_reaches_edge(head.layer, tensor) for tensor in head.drawn):
        return ""
    like = "its biases are drawn like its weights, and none" if biases else "none"
    return f"{like} is beyond the edge"


def _reaches_edge(layer: Layer, tensor: TensorHealth) -> bool:
    """Whether the largest of the weights is as near to the edge of its initialiser as that of so many draws is."""
    part = next(part for part in layer.parts if (part.tensor, part.label) == (tensor.tensor, tensor.label))
    edge = next(math.sqrt(3) * one.std for one in initialisers(layer, part) if one.name == tensor.initialiser)
    return tensor.num_entries * (1 - tensor.magnitude / edge) <= GAP


def _have_biases_moved(tensors: Sequence[TensorHealth]) -> bool:
    """Whether some biases are not all equal."""
    return any(not tensor.is_constant for tensor in tensors if tensor.role in _BIASES and tensor.num_entries > 1)


def _are_norms_initial(layers: Sequence[LayerHealth]) -> bool:
    """Whether all scales of norms are constant, and their shifts 0."""
    norms = [tensor for layer, tensors in layers if layer.type in NORMS for tensor in tensors]
    return all(
        tensor.is_constant if tensor.role is Role.SCALE else tensor.is_zero
        for tensor in norms
        if tensor.role in (Role.SCALE, Role.BIAS) and tensor.num_entries > 1
    )


def _sign(layers: Sequence[LayerHealth], number: int, drawn: Sequence[TensorHealth]) -> str | None:
    """Returns the sign that a layer was not trained: empty if there is one that it was, None if nothing tells."""
    tensors = layers[number][1]
    vectors = [tensor for tensor in tensors if tensor.role in _BIASES]
    is_edge = sum(tensor.num_entries for tensor in drawn) >= FEWEST_AT_EDGE
    is_edge = is_edge and all(_has_edge(tensor) for tensor in drawn)
    if vectors:
        if all(tensor.is_constant for tensor in vectors):
            values = dict.fromkeys(f"{tensor.largest:.4g}" for tensor in vectors)
            return f"all biases are {' or '.join(values)}"
        if not all(_is_drawn_like(tensor, drawn[-1]) for tensor in vectors):
            return ""
        return "its biases are drawn like its weights, and none is beyond the edge" if is_edge else None
    sign = _sign_of_norm(layers, number)
    return "no weight is beyond the edge of that distribution" if is_edge and sign is None else sign


def _has_edge(tensor: TensorHealth) -> bool:
    """Whether a weight agrees with a uniform initialiser at its exact scale."""
    return "uniform" in tensor.initialiser and not tensor.initialiser.startswith(ANY_SCALE)


def _is_drawn_like(bias: TensorHealth, weight: TensorHealth) -> bool:
    """Whether the entries of a bias are uniform between the ends of its weight, as in torch's linear layers."""
    if not weight.rms > 0:
        return False
    edge = math.sqrt(3) * weight.rms
    count = max(bias.num_entries, 1)
    spread = (bias.rms / weight.rms) ** 2 - 1
    is_as_wide = abs(spread) <= FAR * math.sqrt(0.8 / count)
    is_centred = abs(bias.mean) <= FAR * weight.rms / math.sqrt(count)
    return bias.magnitude <= edge * 1.05 and is_as_wide and is_centred


def _sign_of_norm(layers: Sequence[LayerHealth], number: int) -> str | None:
    layer, _ = layers[number]
    for other, tensors in layers[number + 1 :]:
        if other.level > layer.level + 1:
            break
        if other.level == layer.level + 1 and other.type in NORMS:
            scales = [tensor for tensor in tensors if tensor.role is Role.SCALE]
            shifts = [tensor for tensor in tensors if tensor.role is Role.BIAS]
            is_initial = all(one.is_constant for one in scales) and all(one.is_zero for one in shifts)
            return f"the norm {other.name} is as initialised" if scales and is_initial else None
    return None


def untrained_findings(layers: Sequence[LayerHealth]) -> Iterator[Finding]:
    """Yields the findings on layers that were never trained; one if that is the whole network."""
    judged = judge_layers(layers)
    found, number = judged.untrained, counted(judged.num_judged, "layer")
    if judged.is_whole:
        example = f", for example {found[0].layer}: {found[0].message}" if found else ""
        message = f"none of {number} shows a sign of training{example}"
        yield finding("untrained-network", Severity.WARNING, "network", message)
        return
    if len(found) > MOST_LINES:
        names = listed([one.layer for one in found])
        message = f"{len(found)} of {number} are untrained: {names}"
        yield finding("untrained-layer", Severity.WARNING, "network", message)
        return
    for one in found:
        yield finding("untrained-layer", Severity.WARNING, one.layer, one.message)
