"""Predictions of several experts for the same networks; neural experts of one form are evaluated together."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias, final

import torch
from torch import Tensor, nn

from sne.encoders import NetworkEncoder, TensorSetEncoder
from sne.encoders.stacked_tensor_sets import StackedTensorSets
from sne.predictors.experts.contract import Expert, Outputs, Prepared
from sne.predictors.experts.loop import EncoderWithHeads
from sne.predictors.experts.neural import NeuralExpert

STACKS: Mapping[type[NetworkEncoder], Callable[[Sequence[Any]], Callable[[Any], Tensor]]] = {
    TensorSetEncoder: StackedTensorSets
}
"""Functions that make one function of several encoders with the same settings: batch -> [members, networks, dim]."""

Stamp: TypeAlias = tuple[int, int, int] | None


@final
class MemberStack:
    """Models whose encoders have one class, which is among `STACKS`, and the same settings.

    Args:
        models: The models.

    Example:
        >>> from sne import read_network
        >>> from sne.predictors import Property
        >>> from sne.predictors.experts import PropertyHeads
        >>> heads = [PropertyHeads(96, [Property("test_accuracy", "fraction")]) for _ in range(2)]
        >>> members = MemberStack([EncoderWithHeads(TensorSetEncoder(), one) for one in heads])
        >>> items = TensorSetEncoder().prepare([read_network(nn.Linear(3, 2))])
        >>> [outputs.values.shape for outputs in members.predict(Prepared(items))]
        [torch.Size([1, 1]), torch.Size([1, 1])]
    """

    def __init__(self, models: Sequence[EncoderWithHeads]) -> None:
        self.models = list(models)
        self._places = [place for model in models for place in _tensor_places(model.encoder)]
        self._stamps: list[Stamp] | None = None
        self._encode: Callable[[Any], Tensor] | None = None

    @torch.inference_mode()
    def predict(self, prepared: Prepared) -> list[Outputs]:
        """Predicts with every model, dropout off."""
        first = self.models[0]
        embeddings = self._stack()(first.encoder.collate(prepared.items).to(first.device)).float()
        return [model.outputs(rows) for model, rows in zip(self.models, embeddings, strict=True)]

    def __reduce__(self) -> tuple[type["MemberStack"], tuple[list[EncoderWithHeads]]]:
        return MemberStack, (self.models,)  # a copy makes its own stack

    def _stack(self) -> Callable[[Any], Tensor]:
        """Returns the encoders as one function, which is made again if a parameter has changed."""
        stamps = [_stamp(values[name]) for values, name in self._places]
        if self._encode is None or stamps != self._stamps or None in stamps:
            encoders = [model.encoder for model in self.models]
            self._encode, self._stamps = STACKS[type(encoders[0])](encoders), stamps
        return self._encode


def predict_together(
    experts: Sequence[Expert], prepared: Prepared, stacks: dict[int, MemberStack] | None = None
) -> list[Outputs]:
    """Predicts networks with every expert.

    Args:
        experts: The experts.
        prepared: The networks.
        stacks: Stacks of earlier calls by the place of their first expert, which are used again as long as they fit;
            new ones are added. None to keep none.

    Returns:
        One result per expert, in order: what its `predict` returns, up to rounding.
    """
    stacks = {} if stacks is None else stacks
    found: dict[int, Outputs] = {}
    for places in _alike(experts):
        models = [expert.model for expert in (experts[place] for place in places) if isinstance(expert, NeuralExpert)]
        stack = stacks.get(places[0])
        if stack is None or stack.models != models:
            stack = stacks[places[0]] = MemberStack(models)
        found.update(zip(places, stack.predict(prepared), strict=True))
    return [found[place] if place in found else expert.predict(prepared) for place, expert in enumerate(experts)]


def _alike(experts: Sequence[Expert]) -> list[list[int]]:
    """Returns the places of experts that can be stacked, in groups with one class, settings and device."""
    groups: list[tuple[tuple[Any, ...], list[int]]] = []
    for place, expert in enumerate(experts):
        if not isinstance(expert, NeuralExpert) or type(expert.model.encoder) not in STACKS:
            continue
        kind = (type(expert.model.encoder), expert.model.encoder.settings(), expert.model.device)
        for known, places in groups:
            if known == kind:
                places.append(place)
                break
        else:
            groups.append((kind, [place]))
    return [places for _, places in groups]


def _tensor_places(module: nn.Module) -> list[tuple[Mapping[str, Tensor | None], str]]:
    """Returns where a module and those in it keep their parameters and buffers."""
    return [
        (values, name)
        for part in module.modules()
        for values in (part._parameters, part._buffers)
        for name, value in values.items()
        if value is not None
    ]


def _stamp(tensor: Tensor | None) -> Stamp:
    """Returns what changes with a tensor; None where changes are not counted."""
    if tensor is None or tensor.is_inference():
        return None
    return id(tensor), tensor.data_ptr(), tensor._version
