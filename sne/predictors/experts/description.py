"""What experts on the description of a network have in common."""

import abc
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from sne.encoders import NetworkEncoder
from sne.predictors.experts.contract import (
    Examples,
    Expert,
    FitContext,
    Fold,
    Outputs,
    Prepared,
    check_names,
    description_rows,
)
from sne.predictors.experts.settings import TrainingSettings
from sne.predictors.experts.state import derive_seed
from sne.predictors.properties import Property


class DescriptionExpert(Expert):
    """Reads the description of networks, on the CPU.

    Args:
        properties: Properties to predict, in order.
        training: How it is trained; the defaults for an expert that is only asked for predictions.
    """

    def __init__(self, properties: Sequence[Property], training: TrainingSettings | None = None):
        self.properties = tuple(properties)
        self.training = training or TrainingSettings()

    @abc.abstractmethod
    def adopt(self, tensors: Mapping[str, Tensor]) -> None:
        """Takes over what `state` gave, after checking it; `num_features` is known.

        Args:
            tensors: What was learned; it may come from a damaged file.

        Raises:
            PredictorError: The tensors are not those that `state` gives.
        """

    @classmethod
    def create(
        cls, encoder: Callable[[], NetworkEncoder], properties: Sequence[Property], settings: TrainingSettings
    ) -> "DescriptionExpert":
        """Makes an expert that has learned nothing yet; the encoder is not needed."""
        return cls(properties, settings)

    def settings(self) -> dict[str, Any]:
        """Returns the length of a description."""
        return {"num_features": self.num_features}

    @classmethod
    def from_state(
        cls,
        encoder: Callable[[], NetworkEncoder],
        properties: Sequence[Property],
        settings: Mapping[str, Any],
        tensors: Mapping[str, Tensor],
    ) -> "DescriptionExpert":
        """Adopts the tensors after checking them."""
        expert = cls(properties)
        expert.num_features = int(settings["num_features"])
        expert.adopt(tensors)
        return expert


class PropertywiseExpert(DescriptionExpert):
    """Learns each property by itself, from the description of networks.

    Args:
        properties: Properties to predict, in order.
        training: How it is trained; the defaults for an expert that is only asked for predictions.
    """

    parts: ClassVar[tuple[str, ...]]
    """Names of the tensors that it keeps per property."""

    def __init__(self, properties: Sequence[Property], training: TrainingSettings | None = None):
        super().__init__(properties, training)
        self._tensors: list[dict[str, Tensor]] = []
        self._learned: list[Any] = []

    @abc.abstractmethod
    def fit_property(
        self,
        prop: Property,
        rows: Float[np.ndarray, "rows features"],
        targets: Float[np.ndarray, " rows"],
        seed: int,
    ) -> dict[str, Tensor]:
        """Learns one property.

        Args:
            prop: The property.
            rows: Descriptions of the training networks.
            targets: Their labels as `Property.encode` gives them; nan where missing, perhaps everywhere.
            seed: Random seed.

        Returns:
            What was learned, under the names of `parts`.
        """

    @abc.abstractmethod
    def read_property(self, prop: Property, tensors: dict[str, Tensor], num_features: int) -> Any:
        """Converts what `fit_property` gave to what `predict_property` reads.

        Args:
            prop: The property.
            tensors: What was learned; it may come from a damaged file.
            num_features: Length of a description.

        Raises:
            PredictorError: `predict_property` could not use the tensors.
        """

    @abc.abstractmethod
    def predict_property(self, prop: Property, rows: Float[Tensor, "rows features"], learned: Any) -> Outputs:
        """Predicts one property, in its own unit, from what `read_property` gave; perhaps with its range."""

    def fit(self, examples: Examples, fold: Fold, context: FitContext) -> None:
        """Learns every property from the training networks of a fold."""
        learned = examples.take(fold.train)
        rows = description_rows(learned.prepared).numpy()
        targets = learned.targets.double().numpy()
        self.num_features = rows.shape[1]
        self._tensors, self._learned = [], []
        for column, prop in enumerate(self.properties):
            context.on_progress(column, len(self.properties), "properties")
            seed = derive_seed(*context.seed, type(self).__name__, prop.name)
            self._learn(prop, self.fit_property(prop, rows, targets[:, column], seed))
        context.on_progress(len(self.properties), len(self.properties), "properties")

    @torch.no_grad()
    def predict(self, prepared: Prepared) -> Outputs:
        """Predicts every property."""
        rows = description_rows(prepared, self.num_features)
        found = [
            self.predict_property(prop, rows, learned)
            for prop, learned in zip(self.properties, self._learned, strict=True)
        ]
        values = torch.cat([own.values.double() for own in found], dim=1)
        if all(own.low is None for own in found):
            return Outputs(values)
        low, high = (torch.cat(ends, dim=1).double() for ends in zip(*(own.range() for own in found), strict=True))
        return Outputs(values, low=low, high=high)

    def state(self) -> dict[str, Tensor]:
        """Returns the tensors of each property, below its number."""
        return {f"{n}.{name}": t.contiguous() for n, own in enumerate(self._tensors) for name, t in own.items()}

    def adopt(self, tensors: Mapping[str, Tensor]) -> None:
        """Takes over the tensors of each property."""
        check_names(tensors, {f"{number}.{part}" for number in range(len(self.properties)) for part in self.parts})
        for number, prop in enumerate(self.properties):
            self._learn(prop, {part: tensors[f"{number}.{part}"] for part in self.parts})

    def _learn(self, prop: Property, tensors: dict[str, Tensor]) -> None:
        self._learned.append(self.read_property(prop, tensors, self.num_features))
        self._tensors.append(tensors)
