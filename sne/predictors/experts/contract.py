"""What every expert promises, and the data that experts are given.

An expert predicts all properties of a network. Experts differ in what they read: neural experts read what the
encoder's `prepare` gives, the others read its fixed-length description, `NetworkEncoder.summarize`.
"""

import abc
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from sne.encoders import Limits, NetworkEncoder
from sne.errors import PredictorError, TrainingError
from sne.networks import Network
from sne.predictors.experts.process_group import ProcessGroup
from sne.predictors.experts.settings import TrainingSettings
from sne.predictors.experts.state import StateStore
from sne.predictors.properties import Property


@dataclass(frozen=True)
class Prepared:
    """Networks in the form that experts read.

    Args:
        items: One item per network, as `NetworkEncoder.prepare` gives them.
        description: One row per network, as `NetworkEncoder.summarize` gives them; None where no expert reads it.
    """

    items: Sequence[Any]
    description: Float[Tensor, "networks features"] | None = None

    def __len__(self) -> int:
        return len(self.items)

    def take(self, places: Sequence[int] | Int[np.ndarray, " taken"]) -> "Prepared":
        """Selects networks by their places."""
        numbers = [int(place) for place in places]
        rows = None if self.description is None else self.description[numbers]
        return Prepared([self.items[number] for number in numbers], rows)


def spaced(size: int, most: int) -> Int[np.ndarray, " taken"]:
    """Returns the places of at most `most` of `size` networks, at equal distances."""
    return np.arange(size) if size <= most else np.linspace(0, size - 1, most).round().astype(np.int64)


def prepare(
    encoder: NetworkEncoder, networks: Sequence[Network], *, with_description: bool, limits: Limits = Limits()
) -> Prepared:
    """Reads networks once, for all experts of a predictor.

    Args:
        encoder: The encoder that reads them; its learned parameters are not used.
        networks: The networks.
        with_description: Whether an expert reads the description.
        limits: Limits on memory and on the number of weights that are read of a network.

    Returns:
        One item per network, in order.

    Raises:
        TrainingError: A description is asked for and the encoder gives none.
    """
    items = encoder.prepare(networks, limits=limits)
    if not with_description:
        return Prepared(items)
    description = encoder.summarize(items)
    if description is None:
        raise TrainingError(
            f"{type(encoder).__name__} gives no description of a network, which all experts but 'neural' read"
        )
    return Prepared(items, description)


@dataclass(frozen=True)
class Examples:
    """Networks with the labels that experts learn from.

    Args:
        prepared: The networks.
        targets: One column per property, as `Property.encode` gives them; nan where a label is missing.
        rows: The row of each network in its zoo.
        families: Number of the family of each network; None where it is not known.
    """

    prepared: Prepared
    targets: Float[Tensor, "networks properties"]
    rows: Sequence[int]
    families: Int[np.ndarray, " networks"] | None = None

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, places: Sequence[int] | Int[np.ndarray, " taken"]) -> "Examples":
        """Selects networks by their places."""
        numbers = [int(place) for place in places]
        families = None if self.families is None else self.families[numbers]
        rows = [self.rows[number] for number in numbers]
        return Examples(self.prepared.take(numbers), self.targets[numbers], rows, families)


@dataclass(frozen=True)
class Fold:
    """Places of the networks that an expert learns from and of those that judge it.

    Args:
        train: Places of the networks to learn from, in ascending order.
        held_out: Places of the networks that are held out.
    """

    train: np.ndarray
    held_out: np.ndarray


@dataclass(frozen=True)
class Outputs:
    """What an expert says about networks.

    Args:
        values: Properties in their own units (fractions, real values, class probabilities), side by side in the
            places that `output_slices` gives.
        logits: The values before sigmoid, softmax or scale; None for experts without logits.
        embedding: One vector per network; None for experts without embeddings.
        low: Lower end of a range of each value, wider where the expert is in doubt. Its scale is free, since intervals
            are calibrated. None for experts that do not tell.
        high: Upper end of the range; None where `low` is None.
    """

    values: Float[Tensor, "networks outputs"]
    logits: Float[Tensor, "networks outputs"] | None = None
    embedding: Float[Tensor, "networks dim"] | None = None
    low: Float[Tensor, "networks outputs"] | None = None
    high: Float[Tensor, "networks outputs"] | None = None

    def range(self) -> tuple[Float[Tensor, "networks outputs"], Float[Tensor, "networks outputs"]]:
        """Returns `low` and `high`; the values themselves where the expert does not tell."""
        if self.low is None or self.high is None:
            return self.values, self.values
        return self.low, self.high


@runtime_checkable
class CopySource(Protocol):
    """Transformed copies of training networks that compute the same function."""

    @property
    def weight(self) -> float:
        """Weight of the invariance term in the loss; 0 where copies replace the networks (augmentation alone)."""
        ...

    @property
    def draws(self) -> int:
        """Number of copies per network and step."""
        ...

    def known(self, rows: Sequence[int]) -> list[int]:
        """Returns the places in `rows` of the networks that can be copied."""
        ...

    def copy(self, encoder: NetworkEncoder, rows: Sequence[int], *seed: object) -> list[Any]:
        """Draws and prepares all copies of the networks in some rows, one draw after the other."""
        ...


def _ignore_progress(done: int, total: int, note: str) -> None:
    pass


@dataclass(frozen=True)
class FitContext:
    """Name, seeds, device and saved states of an expert while it is fitted.

    Args:
        name: Unique name of the expert in its run, such as "neural-0"; names its saved state.
        seed: Seed parts from which all of its randomness is derived.
        device: Device on which neural experts are trained.
        store: Saved states of unfinished experts.
        resume: Whether to continue from a saved state.
        copies: Copies to learn from; None for none.
        start: What a predictor that was trained before gives, see `Start`; None for nothing.
        group: The processes that train the expert together.
        on_progress: Called with steps done, total number of steps, and a short note.
    """

    name: str
    seed: tuple[object, ...]
    device: torch.device
    store: StateStore
    resume: bool = False
    copies: CopySource | None = None
    start: object | None = None
    group: ProcessGroup = field(default_factory=ProcessGroup)
    on_progress: Callable[[int, int, str], None] = _ignore_progress


class Expert(abc.ABC):
    """Predicts every property of networks.

    A new expert is one module that implements this class and one line in `sne.predictors.experts.EXPERTS`.
    """

    reads_description: ClassVar[bool] = True
    """Whether `Prepared.description` has to be there."""
    is_refitted: ClassVar[bool] = False
    """Whether a predictor of several folds holds one expert that has learned from all networks, not one per fold."""
    compares_families: ClassVar[bool] = False
    """Whether it learns from the families of networks, and is left out where there is only one."""
    embedding_dim: int = 0
    """Length of its embeddings; 0 for an expert without embeddings and logits."""
    seconds: float = 0.0
    """Time that training took in all sittings, where it was interrupted; 0 where only the last sitting counts."""
    num_features: int = 0
    """Length of the descriptions that it reads; 0 for an expert that reads none, or has learned nothing yet."""

    @classmethod
    @abc.abstractmethod
    def create(
        cls, encoder: Callable[[], NetworkEncoder], properties: Sequence[Property], settings: TrainingSettings
    ) -> "Expert":
        """Makes an expert that has learned nothing yet.

        Args:
            encoder: Makes a fresh encoder.
            properties: The properties to predict, in order.
            settings: How it is to be trained; an expert takes from them what concerns it.
        """

    @abc.abstractmethod
    def fit(self, examples: Examples, fold: Fold, context: FitContext) -> None:
        """Learns from the training networks of a fold; the held-out networks may choose when to stop.

        Args:
            examples: All networks of the training run.
            fold: Which of them to learn from.
            context: Name, seeds, device and saved states.

        Raises:
            TrainingError: The expert cannot learn from these examples.
        """

    @abc.abstractmethod
    def predict(self, prepared: Prepared) -> Outputs:
        """Predicts prepared networks, as one batch; results are on the CPU."""

    @abc.abstractmethod
    def state(self) -> dict[str, Tensor]:
        """Returns what it has learned, as tensors on the CPU. Inverse: `from_state`."""

    @abc.abstractmethod
    def settings(self) -> dict[str, Any]:
        """Returns what `from_state` needs in addition to the tensors, as plain JSON values."""

    @classmethod
    @abc.abstractmethod
    def from_state(
        cls,
        encoder: Callable[[], NetworkEncoder],
        properties: Sequence[Property],
        settings: Mapping[str, Any],
        tensors: Mapping[str, Tensor],
    ) -> "Expert":
        """Rebuilds an expert from what `settings` and `state` gave; both may come from a damaged file.

        Memory is allocated for the tensors that are there, not for sizes that the settings claim.

        Raises:
            PredictorError: Settings and tensors do not fit each other.
        """

    def history(self) -> dict[str, Any]:
        """Returns what happened during training, as plain JSON values."""
        return {}

    def to(self, device: torch.device) -> None:  # noqa: B027 (most experts compute on the CPU)
        """Moves the expert to a device, where it has parameters that profit from it."""


def check_names(tensors: Mapping[str, Tensor], expected: Iterable[str]) -> None:
    """Checks that the tensors of an expert, perhaps from a damaged file, have the expected names.

    Raises:
        PredictorError: A tensor is missing, or one is not expected.
    """
    names = set(expected)
    missing, extra = sorted(names - tensors.keys()), sorted(tensors.keys() - names)
    if missing or extra:
        first = f"{missing[0]} is missing" if missing else f"{extra[0]} is not expected"
        raise PredictorError(f"{first} ({len(missing) + len(extra)} such tensors)")


def check_tensor(
    expert: str, name: str, tensor: Tensor, shape: tuple[int, ...], dtype: torch.dtype = torch.float32
) -> None:
    """Checks shape and type of a tensor of an expert, perhaps from a damaged file.

    Raises:
        PredictorError: They are not the expected ones.
    """
    if tuple(tensor.shape) != shape or tensor.dtype != dtype:
        came = f"{tuple(tensor.shape)} {tensor.dtype}"
        raise PredictorError(f"{expert} expert: {name} has shape {came}, expected {shape} {dtype}")


def description_rows(prepared: Prepared, num_features: int | None = None) -> Float[Tensor, "rows features"]:
    """Returns the descriptions of networks.

    Args:
        prepared: The networks.
        num_features: Length of a description that the expert reads; None while it learns.

    Raises:
        TrainingError: There are none.
        PredictorError: They have another length.
    """
    if prepared.description is None:
        raise TrainingError("an expert reads descriptions of networks, and there are none")
    rows = prepared.description.float()
    if num_features is not None and rows.shape[1] != num_features:
        raise PredictorError(f"descriptions have {rows.shape[1]} features, the expert reads {num_features}")
    return rows
