"""The adapted expert: a predictor that was trained before, adapted to few labels of new networks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, final

import torch
from jaxtyping import Float
from torch import Tensor

from sne.errors import PredictorError, TrainingError
from sne.predictors.experts.contract import (
    Examples,
    FitContext,
    Fold,
    Outputs,
    Prepared,
    check_names,
    check_tensor,
    description_rows,
    spaced,
)
from sne.predictors.experts.description import DescriptionExpert
from sne.predictors.experts.forest_scale import ForestScale
from sne.predictors.experts.kernel import median_of_pairs, squared_distances
from sne.predictors.experts.regression import (
    goal_without_labels,
    regression_goals,
    regression_values,
)
from sne.predictors.experts.settings import TrainingSettings
from sne.predictors.experts.start import Start, mean_leaves
from sne.predictors.experts.trees import Trees
from sne.predictors.properties import Property

RIDGE = 0.1
"""Weight of the penalty: variance of the labels' noise, in units of that of the kernel (docs/predictions.md)."""

WIDTH = 0.5
"""Squared distances are multiplied by this number over their median."""

START_WEIGHT = 0.2
"""Variance of the part that is linear in what the start predicts, in the same unit."""

MOST_POINTS = 2000
"""Largest number of training networks that are kept; of more, so many are taken at equal distances."""

TREE_TENSORS = tuple(Trees.__dataclass_fields__)
TENSOR_NAMES = (*(f"trees.{name}" for name in TREE_TENSORS), "coefficients", "offset", "gain", "centre", "spread")
"""Names of the tensors per property; `points`, the descriptions of the training networks, is shared."""


@final
@dataclass(frozen=True)
class _Learned:
    """What is learned of one property.

    Args:
        trees: Forest of the start.
        scale: Scale of that forest.
        points: Training networks on that scale.
        expected: What the forest predicts for them, standardised.
        coefficients: One coefficient per training network and output.
        offset: Mean of the goals.
        gain: Factor on squared distances.
        centre: Mean of what the forest predicts for the training networks.
        spread: Standard deviation of the same.
    """

    trees: Trees
    scale: ForestScale
    points: Float[Tensor, "points used"]
    expected: Float[Tensor, "points known"]
    coefficients: Float[Tensor, "points outputs"]
    offset: Float[Tensor, " outputs"]
    gain: Float[Tensor, ""]
    centre: Float[Tensor, " known"]
    spread: Float[Tensor, " known"]

    def tensors(self) -> dict[str, Tensor]:
        """Returns what `AdaptedExpert.state` keeps, by the names of `TENSOR_NAMES`."""
        own = {f"trees.{name}": tensor for name, tensor in self.trees.to_tensors().items()}
        return own | {name: getattr(self, name) for name in TENSOR_NAMES if not name.startswith("trees.")}

    def raw(self, rows: Float[Tensor, "rows features"]) -> Float[Tensor, "rows outputs"]:
        """Returns the outputs for descriptions, before they are read as values."""
        expected = _standardised(mean_leaves(self.trees, rows), self.centre, self.spread)
        kernel = _kernel(self, self.scale.apply(rows), expected)
        return kernel @ self.coefficients.double() + self.offset.double()


@final
class AdaptedExpert(DescriptionExpert):
    """Regression on networks that starts from the forest of another predictor, for few labels.

    A Gaussian process whose mean is linear in what that forest predicts, and whose kernel measures distances by that
    forest: features count as much as the forest needs them, on a scale given by its thresholds. Where the forest is
    right about the new networks, few labels are needed; where it is not, the labels decide. The forest becomes part of
    the expert.

    Args:
        properties: Properties to predict, in order.
        training: How it is trained; nothing of it concerns this expert.

    Source: Rasmussen and Williams, "Gaussian Processes for Machine Learning", MIT Press 2006, section 2.7 (explicit
        basis functions with a Gaussian prior).
    Differs: Numbers are learned as ranks among the training labels, classes as one number per class; the constant is
        the mean of the labels; the variances are constants, chosen on families and image sets that the forest had not
        seen (docs/predictions.md).
    """

    is_refitted: ClassVar[bool] = True

    def __init__(self, properties: Sequence[Property], training: TrainingSettings | None = None):
        super().__init__(properties, training)
        self._points = torch.zeros(0, 0, dtype=torch.float32)
        self._learned: list[_Learned] = []

    def fit(self, examples: Examples, fold: Fold, context: FitContext) -> None:
        """Solves for one coefficient per training network and output of each property."""
        start = context.start
        if not isinstance(start, Start):
            raise TrainingError("the expert adapted needs a predictor to start from, and there is none")
        learned = examples.take(fold.train[spaced(len(fold.train), MOST_POINTS)])
        rows = description_rows(learned.prepared)
        if rows.shape[1] != start.num_features:
            raise TrainingError(f"descriptions have {rows.shape[1]} features, the start reads {start.num_features}")
        self._points, self._learned, self.num_features = rows, [], rows.shape[1]
        for column, prop in enumerate(self.properties):
            context.on_progress(column, len(self.properties), "properties")
            trees = start.forests[start.source(prop)]
            self._learned.append(_fit(prop, trees, rows, learned.targets[:, column].double()))
        context.on_progress(len(self.properties), len(self.properties), "properties")

    @torch.no_grad()
    def predict(self, prepared: Prepared) -> Outputs:
        """Predicts every property."""
        rows = description_rows(prepared, self.num_features)
        raw = torch.cat([one.raw(rows) for one in self._learned], dim=1)
        return Outputs(regression_values(self.properties, raw))

    def state(self) -> dict[str, Tensor]:
        """Returns the descriptions of the training networks, and per property the forest and the coefficients."""
        of_properties = {f"{n}.{name}": t for n, one in enumerate(self._learned) for name, t in one.tensors().items()}
        return {"points": self._points, **of_properties}

    def adopt(self, tensors: Mapping[str, Tensor]) -> None:
        """Takes over the tensors after checking them."""
        check_names(tensors, ["points", *(f"{n}.{part}" for n in range(len(self.properties)) for part in TENSOR_NAMES)])
        self._points = tensors["points"]
        _check("points", self._points, (len(self._points), self.num_features))
        for number, prop in enumerate(self.properties):
            own = {part: tensors[f"{number}.{part}"] for part in TENSOR_NAMES}
            self._learned.append(_read(prop, own, self._points))


def _fit(
    prop: Property, trees: Trees, rows: Float[Tensor, "points features"], labels: Float[Tensor, " points"]
) -> _Learned:
    """Learns one property; networks without a label have coefficients of 0."""
    scale = ForestScale.of(trees, rows.shape[1])
    points, predicted = scale.apply(rows), mean_leaves(trees, rows)
    centre, spread = predicted.mean(0).float(), predicted.std(0, unbiased=False).clamp_min(1e-3).float()
    expected = _standardised(predicted, centre, spread)
    gain = WIDTH / median_of_pairs(squared_distances(points, points)).clamp_min(1e-6)
    coefficients = torch.zeros(len(points), prop.num_outputs, dtype=torch.float64)
    offset = torch.full((prop.num_outputs,), goal_without_labels(prop), dtype=torch.float64)
    rough = _Learned(
        trees, scale, points, expected, coefficients.float(), offset.float(), gain.float(), centre, spread
    )  # fmt: skip
    known = (~labels.isnan()).nonzero()[:, 0]
    if not len(known):
        return rough
    goals = regression_goals(prop, labels[known])
    offset = goals.mean(0)
    kernel = _kernel(rough, points[known], expected[known])[:, known]
    coefficients[known] = torch.linalg.solve(
        kernel + RIDGE * torch.eye(len(known), dtype=torch.float64), goals - offset
    )
    return _Learned(**{**vars(rough), "coefficients": coefficients.float(), "offset": offset.float()})


def _standardised(
    predicted: Float[Tensor, "rows known"], centre: Float[Tensor, " known"], spread: Float[Tensor, " known"]
) -> Float[Tensor, "rows known"]:
    return ((predicted - centre.double()) / spread.double()).float()


def _kernel(
    learned: _Learned, scaled: Float[Tensor, "rows used"], expected: Float[Tensor, "rows known"]
) -> Float[Tensor, "rows points"]:
    """Returns the covariance of networks with the training networks, in double precision."""
    near = (-learned.gain.double() * squared_distances(scaled, learned.points).double()).exp_()
    return near + START_WEIGHT * (expected.double() @ learned.expected.double().T) / expected.shape[1]


def _read(prop: Property, tensors: Mapping[str, Tensor], rows: Float[Tensor, "points features"]) -> _Learned:
    """Rebuilds what was learned of one property from tensors that may come from a damaged file."""
    own = {name: tensors[f"trees.{name}"] for name in TREE_TENSORS}
    known = own["outputs"].shape[-1] if own["outputs"].ndim == 2 else 0
    trees = Trees.from_tensors(own, rows.shape[1], known)
    shapes = {
        "trees.outputs": tuple(own["outputs"].shape),
        "trees.threshold": tuple(own["threshold"].shape),
        "coefficients": (len(rows), prop.num_outputs),
        "offset": (prop.num_outputs,),
        "gain": (),
        "centre": (known,),
        "spread": (known,),
    }
    for name, shape in shapes.items():
        _check(name, tensors[name], shape)
    if not known or float(tensors["gain"]) <= 0 or float(tensors["spread"].min()) <= 0:
        raise PredictorError("adapted expert: gain and spread have to be above 0, and the forest needs an output")
    scale = ForestScale.of(trees, rows.shape[1])
    expected = _standardised(mean_leaves(trees, rows), tensors["centre"], tensors["spread"])
    rest = {name: tensors[name] for name in ("coefficients", "offset", "gain", "centre", "spread")}
    return _Learned(trees, scale, scale.apply(rows), expected, **rest)


def _check(name: str, tensor: Tensor, shape: tuple[int, ...]) -> None:
    check_tensor("adapted", name, tensor, shape)
    if not tensor.isfinite().all():
        raise PredictorError(f"adapted expert: {name} is not finite")
