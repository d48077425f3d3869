"""The known domain of a predictor: is a network like those that the predictor has learned from?"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from sne.errors import PredictorError
from sne.predictors.discriminator import LARGEST_LOGIT, Discriminator

LEAST_P = 0.05
"""Networks with a smaller p-value are outside the known domain."""

LEAST_CALIBRATION = int(2 / LEAST_P)
"""Least number of training runs for calibration; with fewer, no p-value of two reasons is below `LEAST_P`."""

SHARE_OF_DISTANCE = 0.25
"""Share of the networks of the domain with small p-values that may have them for their distance, where there are many
networks for calibration: strangers are so far that more is not needed, while shuffled copies are near."""

LARGEST = 6.0
"""Bound on the magnitude of scaled features."""

SMALLEST_SPREAD = 1e-4
"""Features that vary less among the training networks are constant."""

CONSTANT_UNIT = 0.1
"""Unit in which the distance to a constant feature is measured."""

MOST_AXES = 64
"""Largest number of principal axes of all regions together, as long as each has `LEAST_AXES`."""

LEAST_AXES = 16
"""Largest number of principal axes of a region, where there are many."""

ROWS_PER_AXIS = 4
"""Least number of training networks per principal axis."""

NEAREST = 3
"""Number of training networks to which the distance is measured."""

LEAST_RESIDUAL = 1e-3
"""Least mean length beyond the axes, as a share of the whole: what is less is rounding."""

RESIDUAL_WEIGHT = 3.0
"""Weight of the distance to the space of the principal axes, in units of its mean among the training networks."""


def p_values(
    scores: Float[np.ndarray, " networks"], calibration: Float[np.ndarray, " calibration"]
) -> Float[np.ndarray, " networks"]:
    """Computes conformal p-values: the share of calibration scores, the network's own included, that are as large.

    Args:
        scores: Scores of the networks, larger for stranger ones.
        calibration: Scores of networks of the domain, in ascending order.

    Source: Vovk et al., "Algorithmic Learning in a Random World", 2005, section 2.2.

    Example:
        >>> p_values(np.array([0.0, 2.5, 9.0]), np.array([1.0, 2.0, 3.0])).tolist()
        [1.0, 0.5, 0.25]
    """
    as_large = len(calibration) - np.searchsorted(calibration, scores, side="left")
    return (1 + as_large) / (1 + len(calibration))


@final
@dataclass(frozen=True)
class Neighbours:
    """Distances of descriptions to the nearest training networks.

    Features are scaled and bounded, and turned into principal axes of unit variance. Two more axes hold the distance
    to the space of these axes, and the change of features that are constant among the training networks.

    Args:
        shift: Mean of each feature.
        gain: One over the spread of each feature, or over `CONSTANT_UNIT` for constant ones.
        is_constant: Whether each feature is constant.
        axes: Principal axes of the features, those of constant features 0.
        residual: Unit of the distance to the space of the axes: its mean over the training networks, times
            `RESIDUAL_WEIGHT` and divided by the `residual_weight` of `fit`.
        points: Training networks on all axes.
    """

    shift: Float[Tensor, " features"]
    gain: Float[Tensor, " features"]
    is_constant: Bool[Tensor, " features"]
    axes: Float[Tensor, "features axes"]
    residual: Float[Tensor, ""]
    points: Float[Tensor, "points all_axes"]

    @classmethod
    def fit(
        cls,
        rows: Float[Tensor, "networks features"],
        most_axes: int = MOST_AXES,
        residual_weight: float = RESIDUAL_WEIGHT,
    ) -> "Neighbours":
        """Computes the axes of the training networks.

        Args:
            rows: Descriptions of the training networks.
            most_axes: Largest number of axes.
            residual_weight: Weight of the distance to the space of the axes, in units of its mean over the rows.
        """
        wide = rows.double()
        shift, spread = wide.mean(0), wide.std(0, unbiased=False)
        is_constant = spread <= SMALLEST_SPREAD
        gain = torch.where(is_constant, 1 / CONSTANT_UNIT, 1 / spread.clamp_min(SMALLEST_SPREAD))
        scaled = ((wide - shift) * gain).clamp(-LARGEST, LARGEST)
        scaled[:, is_constant] = 0
        most = min(most_axes, max(1, len(rows) // ROWS_PER_AXIS))
        values, vectors = torch.linalg.eigh(scaled @ scaled.T / len(rows))
        values, vectors = values.flip(0)[:most], vectors.flip(1)[:, :most]
        kept = values > 1e-9 * values[0].clamp_min(1e-30)
        values, vectors = values[kept], vectors[:, kept]
        axes = scaled.T @ vectors / (len(rows) ** 0.5 * values)
        along = axes * values.sqrt()
        beyond = (scaled - scaled @ along @ along.T).norm(dim=1).mean()
        residual = beyond.clamp_min(LEAST_RESIDUAL * scaled.norm(dim=1).mean().clamp_min(1e-3))
        found = cls(
            shift.float(),
            gain.float(),
            is_constant,
            axes.float(),
            (residual * RESIDUAL_WEIGHT / residual_weight).float(),
            rows.new_zeros(0, 0),
        )
        return cls(**{**vars(found), "points": found._project(rows)})

    def distances(self, rows: Float[Tensor, "networks features"]) -> Float[np.ndarray, " networks"]:
        """Returns the mean distance of descriptions to the nearest training networks."""
        found = torch.cdist(self._project(rows), self.points)
        nearest = found.topk(min(NEAREST, found.shape[1]), largest=False).values
        return nearest.mean(1).double().numpy()

    def largest_distance(self) -> float:
        """Returns a bound on the distance of any description to a training network."""
        scaled = LARGEST * len(self.shift) ** 0.5
        along = scaled * float(self.axes.double().norm())
        return 2 * math.hypot(along, RESIDUAL_WEIGHT * scaled / float(self.residual), scaled)

    def _project(self, rows: Float[Tensor, "networks features"]) -> Float[Tensor, "networks all_axes"]:
        scaled = ((rows - self.shift) * self.gain).nan_to_num().clamp_(-LARGEST, LARGEST)
        constant = scaled[:, self.is_constant].norm(dim=1)
        scaled = scaled.masked_fill(self.is_constant, 0)
        along = scaled @ self.axes
        beyond = (scaled - along / self.axes.square().sum(0) @ self.axes.T).norm(dim=1)
        return torch.cat([along, RESIDUAL_WEIGHT * (beyond / self.residual)[:, None], constant[:, None]], 1)


@final
@dataclass(frozen=True)
class Region:
    """Training networks of one family, or of several with few runs.

    Distances are measured in units of the differences within the family. Those between families are many times larger,
    and in their units a network of an unknown family would not be far from the known ones.

    Args:
        neighbours: Distances to the training networks of the family.
        distances: Distances of training networks to those of other folds, in ascending order: those of the family; of
            families with few runs, those of several families, each in the unit of its own family, converted to the unit
            of this one.
    """

    neighbours: Neighbours
    distances: Float[Tensor, " calibration"]

    def p_values(self, rows: Float[Tensor, "networks features"]) -> Float[np.ndarray, " networks"]:
        """Returns the p-value of each network as a network of this region."""
        return p_values(self.neighbours.distances(rows), self.distances.double().numpy())


def share_of_distance(calibration: int) -> float:
    """Returns the share of small p-values that is for the distance.

    With few networks for calibration the share is larger, so that the strangest network is outside.

    Args:
        calibration: Number of networks that calibrate the smallest region.

    Example:
        >>> share_of_distance(1000), round(share_of_distance(LEAST_CALIBRATION), 1)
        (0.25, 0.5)
    """
    return min(0.5, max(SHARE_OF_DISTANCE, 1.02 / (LEAST_P * (1 + calibration))))


def most_axes(regions: int) -> int:
    """Returns the largest number of principal axes per region."""
    return max(LEAST_AXES, MOST_AXES // regions)


@final
@dataclass(frozen=True)
class Domain:
    """The networks that a predictor knows, by their descriptions.

    A network is outside for one of two reasons: it is far from every training network, such as one of another
    architecture; or it looks like a training network whose weights were shuffled within each tensor, such as one with
    random weights. Each reason has a p-value, and that of the network is the smaller one after division by the share of
    its reason (`share_of_distance`; the shares add up to one). A share of at most p of
    networks that are exchangeable with the training networks has a p-value up to p; this holds up to the correlation
    among checkpoints of one training run, and up to calibration by folds, which see fewer networks than the domain.

    The p-value of the first reason is the largest one over all regions.

    Args:
        regions: The families that are known, some of them together.
        discriminator: Tells networks from shuffled copies; None without copies.
        logits: Logit of each training network, by a discriminator that had not learned from it, in ascending order.
    """

    regions: Sequence[Region]
    discriminator: Discriminator | None
    logits: Float[Tensor, " networks"]

    def p_values(self, description: Float[Tensor, "networks features"]) -> Float[np.ndarray, " networks"]:
        """Returns a p-value per network, small for networks that are unlike the training networks.

        Args:
            description: What `NetworkEncoder.summarize` gives.
        """
        far = np.max([region.p_values(description.float()) for region in self.regions], axis=0)
        if self.discriminator is None:
            return far
        shuffled = p_values(self.discriminator.logits(description), self.logits.double().numpy())
        share = share_of_distance(min(len(region.distances) for region in self.regions))
        return np.minimum(1.0, np.minimum(far / share, shuffled / (1 - share)))

    @property
    def num_features(self) -> int:
        """Length of the descriptions that it reads."""
        return len(self.regions[0].neighbours.shift)

    def to_tensors(self) -> dict[str, Tensor]:
        """Returns its contents by name. Inverse: `from_tensors`."""
        shuffled = {} if self.discriminator is None else self.discriminator.to_tensors()
        return {
            **{
                f"{number}.{name}": tensor.contiguous()
                for number, region in enumerate(self.regions)
                for name, tensor in {**vars(region.neighbours), "distances": region.distances}.items()
            },
            "logits": self.logits,
            **{f"shuffled.{name}": tensor for name, tensor in shuffled.items()},
        }

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> "Domain":
        """Builds a domain from tensors that may come from a damaged file. Inverse: `to_tensors`.

        Raises:
            PredictorError: A tensor is missing, or shapes and types do not fit each other.
        """
        shuffled, regions = {}, {}
        for key, tensor in tensors.items():
            group, _, name = key.partition(".")
            if group == "shuffled":
                shuffled[name] = tensor
            elif name:
                regions.setdefault(group, {})[name] = tensor
        numbers = [str(number) for number in range(len(regions))]
        if not numbers or set(regions) != set(numbers) or "logits" not in tensors:
            raise PredictorError(f"the known domain holds {', '.join(sorted(tensors))}")
        features, logits = regions["0"]["shift"].numel(), tensors["logits"]
        _check_scores("logits", logits, LEAST_CALIBRATION if shuffled else 0)
        logits = logits.sort().values
        discriminator = Discriminator.from_tensors(shuffled, features) if shuffled else None
        if bool((logits.abs() > LARGEST_LOGIT).any()):
            raise PredictorError("the known domain: logits holds values that cannot come from training")
        if shuffled and float(logits[-1 - round(LEAST_P / 2 * len(logits))]) >= LARGEST_LOGIT:
            raise PredictorError("the known domain: logits are so large that no shuffled copy could be outside")
        return cls([_region(regions[number], features) for number in numbers], discriminator, logits)


def _region(tensors: Mapping[str, Tensor], features: int) -> Region:
    """Builds a region from tensors that may come from a damaged file."""
    names = list(Neighbours.__dataclass_fields__)
    if sorted(tensors) != sorted([*names, "distances"]):
        raise PredictorError(f"a region of the known domain holds {', '.join(sorted(tensors))}")
    axes = tensors["axes"].shape[-1] if tensors["axes"].ndim == 2 else -1
    points = len(tensors["points"]) if tensors["points"].ndim == 2 else -1
    shapes = {
        "shift": (features,),
        "gain": (features,),
        "is_constant": (features,),
        "axes": (features, axes),
        "residual": (),
        "points": (points, axes + 2),
    }
    for name, shape in shapes.items():
        dtype = torch.bool if name == "is_constant" else torch.float32
        if tuple(tensors[name].shape) != shape or tensors[name].dtype != dtype:
            raise PredictorError(f"the known domain: {name} is {tuple(tensors[name].shape)} {tensors[name].dtype}")
    if points < 1:
        raise PredictorError("the known domain holds no network")
    _check_scores("distances", tensors["distances"], LEAST_CALIBRATION)
    found = Region(Neighbours(**{name: tensors[name] for name in names}), tensors["distances"].sort().values)
    _check_values(found)
    return found


def _check_values(region: Region) -> None:
    """Raises PredictorError where tensors hold values that cannot come from training."""
    near, largest = region.neighbours, LARGEST * len(region.neighbours.shift) ** 0.5
    problems = {
        "gain": not bool(((near.gain > 0) & (near.gain <= 1.001 / SMALLEST_SPREAD)).all()),
        "residual": not 0 < float(near.residual) <= 1.001 * RESIDUAL_WEIGHT * largest,
        "axes": not bool((near.axes.norm(dim=0) > 0).all()),
        "points": bool((near.points.abs() > near.largest_distance()).any()),
        "distances": bool((region.distances < 0).any()),
    }
    for name, is_wrong in problems.items():
        if is_wrong:
            raise PredictorError(f"the known domain: {name} holds values that cannot come from training")
    as_large = round(LEAST_P / 2 * len(region.distances))
    if float(region.distances[-1 - as_large]) > near.largest_distance():
        raise PredictorError("the known domain: distances are so large that no network could be outside")


def _check_scores(name: str, scores: Tensor, least: int) -> None:
    if scores.ndim != 1 or not scores.is_floating_point():
        raise PredictorError(f"the known domain: {name} is {tuple(scores.shape)} {scores.dtype}")
    if len(scores) < least:
        raise PredictorError(f"the known domain: {len(scores)} {name}, expected {least} or more")
