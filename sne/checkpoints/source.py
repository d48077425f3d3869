"""The source of a network's values: stored tensors and composed weights, checked and ready to compute with."""

import math
from collections.abc import Mapping
from typing import Any, final

import torch
from torch import Tensor

from sne.checkpoints.composed import find_composed
from sne.checkpoints.composed.weight import ComposedWeight, Facts, mark_composed, mark_packed
from sne.checkpoints.stored import StoredTensors, read_range
from sne.errors import CheckpointError, Remedy
from sne.networks import Hint, TensorInfo

_KEPT = (torch.float64, torch.float32, torch.float16, torch.bfloat16)


@final
class CheckpointSource:
    """The tensors of a checkpoint as the network uses them, loaded one at a time.

    Args:
        stored: The tensors as they are stored.
        config: Content of the `config.json` beside the checkpoint, empty if there is none.
    """

    def __init__(self, stored: StoredTensors, *, config: Mapping[str, Any] | None = None):
        self._stored = stored
        self._config = dict(config or {})
        found = find_composed(Facts(stored.infos, self._config, stored.metadata, self._read_stored))
        weights = found.weights.values() if stored.composed is None else stored.composed
        self._composed = {weight.info.name: weight for weight in weights}
        self._infos = dict(stored.infos) | {name: weight.info for name, weight in self._composed.items()}
        hints = mark_composed(stored.hints, self._composed)
        self._hints = hints if stored.composed is not None else mark_packed(hints, found.packed)

    @property
    def name(self) -> str:
        """The file or object, as messages call it."""
        return self._stored.name

    @property
    def infos(self) -> Mapping[str, TensorInfo]:
        """Every stored tensor and composed weight, by name. This loads no values."""
        return self._infos

    @property
    def hints(self) -> Mapping[str, Hint]:
        """Hints in addition to names and shapes, by the name of a tensor or module."""
        return self._hints

    @property
    def companions(self) -> frozenset[str]:
        """Stored tensors from which composed weights are computed, such as scales."""
        return frozenset(name for weight in self._composed.values() for name in weight.companions)

    @property
    def notes(self) -> Mapping[str, str]:
        """Reasons why other contents of the file are not read, by name."""
        return self._stored.notes

    @property
    def config(self) -> Mapping[str, Any]:
        """Content of the `config.json` beside the checkpoint, empty if there is none."""
        return self._config

    def load(self, name: str) -> Tensor:
        """Loads one tensor or composed weight.

        Args:
            name: A key of `infos`.

        Returns:
            The values on the CPU: float64, float32, float16 or bfloat16 as stored, float32 for every other dtype.

        Raises:
            CheckpointError: If there is no such tensor, if its shape is not the declared one, or if it holds NaN or
                infinity.
        """
        return self._checked(name, self.load_any(name))

    def load_range(self, name: str, start: int, stop: int) -> Tensor | None:
        """Loads some entries of one tensor like `load`, without reading the rest of it.

        Args:
            name: A key of `infos`.
            start: First entry, in row-major order.
            stop: End of the range.

        Returns:
            The entries [stop - start]; None if the tensor can only be loaded as a whole, as composed weights can.

        Raises:
            CheckpointError: If there is no such tensor or range, or if one of these entries is NaN or infinite.
        """
        values = self.load_any_range(name, start, stop)
        return None if values is None else self._checked(name, values, f" in entries {start} to {stop}")

    def load_any_range(self, name: str, start: int, stop: int) -> Tensor | None:
        """Loads some entries of one tensor like `load_range`, also if they are NaN or infinite."""
        self._check_name(name)
        if name in self._composed:
            return None
        count = self._infos[name].num_entries
        if not 0 <= start <= stop <= count:
            raise CheckpointError(self.name, f"tensor {name!r} has {count} entries, asked for {start} to {stop}")
        values = read_range(self._stored, name, start, stop)
        if values is None:
            return None
        self._check_shape(name, values, (stop - start,))
        return _as_float(values)

    def load_any(self, name: str) -> Tensor:
        """Loads one tensor or composed weight like `load`, also if it holds NaN or infinity.

        Args:
            name: A key of `infos`.

        Raises:
            CheckpointError: If there is no such tensor, or if its shape is not the declared one.
        """
        self._check_name(name)
        if name in self._composed:
            values = self._compose(self._composed[name])
            self._check_shape(name, values, self._infos[name].shape)
        else:
            values = self._read_stored(name)
        return _as_float(values)

    def _check_name(self, name: str) -> None:
        if name not in self._infos:
            raise CheckpointError(self.name, f"there is no tensor {name!r}")

    def _checked(self, name: str, values: Tensor, where: str = "") -> Tensor:
        """Returns values after checking that they are finite."""
        if are_finite(values):
            return values
        bad = int((~torch.isfinite(values)).sum())
        raise CheckpointError(
            self.name,
            f"tensor {name!r} has {bad} NaN or infinite values of {values.numel()}{where}{_in_layer(name)}",
            Remedy("allow_nonfinite", True, "leaves that layer out"),
        )

    def _compose(self, weight: ComposedWeight) -> Tensor:
        try:
            return weight.compose(self._read_part)
        except CheckpointError:
            raise
        except (RuntimeError, IndexError, ValueError) as error:
            parts = ", ".join(weight.companions)
            reason = str(error).partition("\n")[0]
            raise CheckpointError(
                self.name, f"tensor {weight.info.name!r} does not follow from its parts ({parts}): {reason}"
            ) from error

    def _read_part(self, name: str) -> Tensor:
        """Reads a tensor that a composed weight is made of: a stored one, or one that is composed of stored ones."""
        if name in self._stored.infos:
            return self._read_stored(name)
        return self._composed[name].compose(self._read_stored)

    def _read_stored(self, name: str) -> Tensor:
        values = self._stored.read_stored(name)
        self._check_shape(name, values, self._stored.infos[name].shape)
        return values

    def _check_shape(self, name: str, values: Tensor, shape: tuple[int, ...]) -> None:
        if tuple(values.shape) != shape:
            raise CheckpointError(self.name, f"tensor {name!r} has shape {list(values.shape)}, expected {list(shape)}")


def are_finite(values: Tensor) -> bool:
    """Whether values hold neither NaN nor infinity.

    A sum is the fastest pass over them. It is finite only if all values are; where it is not, it may have overflowed.

    Args:
        values: Values of a floating dtype.

    Example:
        >>> are_finite(torch.tensor([1e38] * 9)), are_finite(torch.tensor([1.0, float("inf"), float("-inf")]))
        (True, False)
    """
    if not values.numel() or math.isfinite(values.sum()):
        return True
    return all(math.isfinite(end) for end in torch.aminmax(values))


def _as_float(values: Tensor) -> Tensor:
    """Converts values of other dtypes than those that are kept to float32."""
    return values if values.dtype in _KEPT else (values.real if values.is_complex() else values).to(torch.float32)


def _in_layer(name: str) -> str:
    """Names the layer that a tensor belongs to, for error messages."""
    module = name.rpartition(".")[0]
    return f", in layer {module!r}" if module else ""
