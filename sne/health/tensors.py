"""What is measured of each tensor, in one pass over its values, piece by piece."""

import math
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor

from sne.health.initialisers import initialiser_of
from sne.health.randomness import SIDE, crop
from sne.health.spectra import Gram
from sne.networks import Block, Heads, Layer, LayerType, Network, Part, Role

PIECE = 1 << 18
"""Number of entries that are measured at once; larger tensors are read in pieces where their file allows."""

SAMPLE = 1 << 16
"""Number of entries in the middle of a tensor that are compared with the usual initialisers."""

VANISHES = 1e-14
"""Largest energy of a neuron, relative to the mean of its layer, that counts as none: weight decay ends there."""

ATTENTION = (
    LayerType.ATTENTION_QUERY, LayerType.ATTENTION_KEY, LayerType.ATTENTION_VALUE, LayerType.ATTENTION_OUT,
)  # fmt: skip
"""Types of layers that have heads."""

DRAWN = (Role.WEIGHT, Role.RECURRENT_WEIGHT, Role.TABLE)
"""Roles of parts that are drawn at random before the training."""


@dataclass(frozen=True)
class TensorHealth:
    """What was measured of one part of a layer.

    Moments and extremes are those of the finite entries.

    Args:
        tensor: Name of the stored tensor.
        label: Name of the piece of a fused tensor; empty if the part is the whole tensor.
        layer: Name of the layer.
        role: Role of the part in the layer.
        shape: Shape as stored.
        arranged: Shape as used: number of neurons fed, of neurons read, and of kernel positions.
        dtype: Type as stored.
        num_nan: Number of entries that are NaN.
        num_infinite: Number of entries that are infinite.
        num_zeros: Number of entries that are 0.
        mean: Mean.
        rms: Root mean square.
        smallest: Smallest entry.
        largest: Largest entry.
        kurtosis: Fourth moment divided by the square of the second, both about 0: 1.8 for uniform, 3 for normal
            values. NaN if all entries are 0.
        num_empty_rows: Number of neurons that the part feeds with weights of 0, or of next to 0.
        num_empty_columns: Number of neurons that it reads with weights of 0, or of next to 0.
        num_heads: Number of heads that the part of an attention has; None if that is not known.
        num_empty_heads: Number of heads all of whose neurons are empty: those that queries, keys and values feed, those
            that the output projection reads.
        initialiser: Usual initialiser from which the entries may have been drawn (`sne.health.initialisers`); empty if
            they agree with none.
        alpha: Exponent of the power law that the largest eigenvalues follow (`sne.health.spectra`); None for matrices
            that are too small or too large, and for some of a large network.
    """

    tensor: str
    label: str
    layer: str
    role: Role
    shape: tuple[int, ...]
    arranged: tuple[int, int, int]
    dtype: str
    num_nan: int
    num_infinite: int
    num_zeros: int
    mean: float
    rms: float
    smallest: float
    largest: float
    kurtosis: float
    num_empty_rows: int
    num_empty_columns: int
    num_heads: int | None
    num_empty_heads: int
    initialiser: str
    alpha: float | None

    @property
    def num_entries(self) -> int:
        """Number of entries."""
        return math.prod(self.shape)

    @property
    def num_finite(self) -> int:
        """Number of entries that are neither NaN nor infinite."""
        return self.num_entries - self.num_nan - self.num_infinite

    @property
    def share_of_zeros(self) -> float:
        """Share of the entries that are 0."""
        return self.num_zeros / max(self.num_entries, 1)

    @property
    def magnitude(self) -> float:
        """Largest absolute value of a finite entry."""
        return max(abs(self.smallest), abs(self.largest)) if self.num_finite else 0.0

    @property
    def is_zero(self) -> bool:
        """Whether all entries are 0."""
        return 0 < self.num_entries == self.num_zeros

    @property
    def is_constant(self) -> bool:
        """Whether all of several entries are one number."""
        return self.num_entries == self.num_finite > 1 and self.smallest == self.largest

    @property
    def place(self) -> str:
        """Name of the tensor, with the label of the piece."""
        return f"{self.tensor} ({self.label})" if self.label else self.tensor

    def to_json(self) -> dict[str, Any]:
        """Returns the fields as plain values; numbers that are not finite become None."""
        fields = vars(self) | {"role": self.role.value, "shape": list(self.shape), "arranged": list(self.arranged)}
        return {key: None if isinstance(one, float) and not math.isfinite(one) else one for key, one in fields.items()}


@final
class Pass:
    """One pass over the values of a part, whose pieces come in any order.

    Args:
        layer: The layer.
        part: The part.
        dtype: Type as stored.
        has_spectrum: Whether to compute its spectrum.
        heads: Heads of the attentions, if they are known.
    """

    def __init__(self, layer: Layer, part: Part, dtype: str, *, has_spectrum: bool, heads: Heads | None = None) -> None:
        num_out, num_in, _ = part.arranged_shape
        self.layer, self.part, self._dtype = layer, part, dtype
        self._num_heads = None if heads is None else _heads_of(layer, part, heads)
        self.row_energy = torch.zeros(num_out, dtype=torch.float64)
        self.column_energy = torch.zeros(num_in, dtype=torch.float64)
        self._num_nan = self._num_infinite = self._num_zeros = 0
        self._sum = self._fourth = 0.0
        self._smallest, self._largest = math.inf, -math.inf
        self._sample: Tensor | None = None
        self._gram = Gram.of(part) if has_spectrum else None

    def add(self, block: Block) -> None:
        """Measures one piece."""
        values = block.values
        if not values.numel():
            return
        smallest, largest = (float(end) for end in torch.aminmax(values))
        if not (math.isfinite(smallest) and math.isfinite(largest)):
            values, smallest, largest = self._finite_part(values)
        self._smallest, self._largest = min(self._smallest, smallest), max(self._largest, largest)
        self._num_zeros += block.values.numel() - int(torch.count_nonzero(block.values))
        scale = max(abs(smallest), abs(largest))
        if not scale:
            return
        unit = 1.0 if 1e-8 < scale < 1e8 else scale  # squares of squares stay within single precision
        values = values if unit == 1.0 else values / unit
        self._sum += float(values.sum(dtype=torch.float32)) * unit
        squares = values.square()
        self._keep(block, values, unit)
        self.row_energy[block.rows] += squares.sum((1, 2)).double() * unit**2
        self.column_energy[block.columns] += squares.sum((0, 2)).double() * unit**2
        self._fourth += float(torch.linalg.vecdot(squares.flatten(), squares.flatten())) * unit**4

    def _keep(self, block: Block, values: Tensor, unit: float) -> None:
        """Keeps what the initialisers and the spectrum need of one piece."""
        if self.part.role not in DRAWN:
            return
        if self._gram is not None:
            self._gram.add(block, values, unit)
        middle = [size // 2 for size in self.part.arranged_shape[:2]]
        if block.rows.start <= middle[0] < block.rows.stop and block.columns.start <= middle[1] < block.columns.stop:
            self._sample = crop(values.flatten(1), SIDE, SAMPLE // min(SIDE, len(values))) * unit

    def _finite_part(self, values: Tensor) -> tuple[Tensor, float, float]:
        """Counts the NaN and infinite entries, and returns the values with 0 in their place, and their ends."""
        num_nan = int(values.isnan().sum())
        self._num_nan += num_nan
        self._num_infinite += int((~values.isfinite()).sum()) - num_nan
        finite = values[values.isfinite()]
        if not len(finite):
            return torch.zeros_like(values), math.inf, -math.inf
        ends = (float(finite.min()), float(finite.max()))
        return torch.nan_to_num(values, 0.0, 0.0, 0.0), *ends

    def _num_empty_heads(self) -> int:
        """Returns the number of heads all of whose weights are 0, or next to 0."""
        if not self._num_heads or not self.part.num_entries:
            return 0
        energy = self.column_energy if self.layer.type is LayerType.ATTENTION_OUT else self.row_energy
        return int((energy <= VANISHES * energy.mean()).view(self._num_heads, -1).all(1).sum())

    def result(self) -> TensorHealth:
        """Returns what was measured."""
        part = self.part
        count = max(part.num_entries - self._num_nan - self._num_infinite, 1)
        second = float(self.row_energy.sum()) / count
        kurtosis = self._fourth / count / second**2 if second**2 > 0 else math.nan
        return TensorHealth(
            tensor=part.tensor,
            label=part.label,
            layer=self.layer.name,
            role=part.role,
            shape=part.shape,
            arranged=part.arranged_shape,
            dtype=self._dtype,
            num_nan=self._num_nan,
            num_infinite=self._num_infinite,
            num_zeros=self._num_zeros,
            mean=self._sum / count,
            rms=math.sqrt(second),
            smallest=self._smallest,
            largest=self._largest,
            kurtosis=kurtosis,
            num_empty_rows=_num_empty(self.row_energy) if part.num_entries else 0,
            num_empty_columns=_num_empty(self.column_energy) if part.num_entries else 0,
            num_heads=self._num_heads,
            num_empty_heads=self._num_empty_heads(),
            initialiser="" if self._sample is None else initialiser_of(self.layer, part, self._sample),
            alpha=None if self._gram is None else self._gram.alpha(),
        )


def _num_empty(energy: Tensor) -> int:
    """Returns the number of neurons whose weights are 0, or vanish next to those of the other neurons."""
    return int((energy <= VANISHES * energy.mean()).sum())


def _heads_of(layer: Layer, part: Part, heads: Heads) -> int | None:
    """Returns the number of heads of a part of an attention; None if it has none, or its width does not fit them.

    Neurons of one head are next to each other, in the order of heads: models that store them otherwise would pass for
    models without empty heads.
    """
    if part.role is not Role.WEIGHT or layer.type not in ATTENTION:
        return None
    of_keys = layer.type in (LayerType.ATTENTION_KEY, LayerType.ATTENTION_VALUE)
    count = (heads.num_kv_heads if of_keys else None) or heads.num_heads
    width = part.arranged_shape[1 if layer.type is LayerType.ATTENTION_OUT else 0]
    fits = width % count == 0 and heads.head_size in (None, width // count)
    return count if fits else None


def measure(
    network: Network, layer: Layer, part: Part, *, has_spectrum: bool, heads: Heads | None = None
) -> TensorHealth:
    """Reads one part once.

    Args:
        network: The network, whose source also loads NaN and infinity.
        layer: The layer.
        part: The part.
        has_spectrum: Whether to compute its spectrum.
        heads: Heads of the attentions, if they are known.

    Returns:
        What was measured.

    Raises:
        CheckpointError: If the values cannot be read.
    """
    found = Pass(layer, part, network.source.infos[part.tensor].dtype, has_spectrum=has_spectrum, heads=heads)
    for block in network.read_blocks(part, PIECE):
        found.add(block)
    return found.result()
