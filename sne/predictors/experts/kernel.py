"""The kernel expert: kernel ridge regression on the description of a network."""

from collections.abc import Mapping, Sequence
from typing import ClassVar, final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from sne.errors import PredictorError
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
from sne.predictors.experts.regression import (
    goal_without_labels,
    regression_goals,
    regression_values,
)
from sne.predictors.experts.settings import TrainingSettings
from sne.predictors.properties import Property, num_outputs, output_slices

RIDGE = 0.02
"""Weight of the penalty, chosen out of fold (docs/default-encoder.md)."""

WIDTH = 0.5
"""Squared distances are multiplied by this number over their median; chosen out of fold likewise."""

MOST_POINTS = 4000
"""Largest number of training networks that are kept; of more, so many are taken at equal distances."""

QUANTILES = 65
"""Number of quantiles per feature from which its scale is interpolated."""

FEATURES_AT_A_TIME = 64
"""Number of features whose quantiles and scores are computed at a time, for the sake of memory."""

LARGEST = 3.0
"""Bound on the magnitude of normal scores."""

TENSOR_NAMES = ("columns", "knots", "points", "coefficients", "offsets", "gain")
"""Names of the tensors that it learns."""


@final
class KernelExpert(DescriptionExpert):
    """Kernel ridge regression with a Gaussian kernel, all properties at once.

    Every feature is turned into its normal score among the training networks, so that neither its unit nor its outliers
    count. Numbers are learned as ranks among the training labels, classes as one number per class.

    Args:
        properties: Properties to predict, in order.
        training: How it is trained; nothing of it concerns this expert.

    Source: Saunders, Gammerman and Vovk, "Ridge regression learning algorithm in dual variables", ICML 1998.
    Differs: The width of the kernel follows from the median distance of the training networks.
    """

    is_refitted: ClassVar[bool] = True

    def __init__(self, properties: Sequence[Property], training: TrainingSettings | None = None):
        super().__init__(properties, training)
        self._tensors: dict[str, Tensor] = {}

    def fit(self, examples: Examples, fold: Fold, context: FitContext) -> None:
        """Solves for one coefficient per training network and output."""
        learned = examples.take(fold.train[spaced(len(fold.train), MOST_POINTS)])
        rows = description_rows(learned.prepared)
        knots = _quantiles(rows)
        columns = (knots[:, -1] > knots[:, 0]).nonzero()[:, 0]
        knots = knots[columns].contiguous()
        points = rows.new_empty(len(rows), len(columns))
        for start in range(0, len(columns), FEATURES_AT_A_TIME):
            some = slice(start, start + FEATURES_AT_A_TIME)
            points[:, some] = normal_scores(rows[:, columns[some]], knots[some])
        distances = squared_distances(points, points)
        gain = WIDTH / median_of_pairs(distances).clamp_min(1e-6)
        kernel = distances.double().mul_(-gain).exp_()
        del distances
        coefficients, offsets = self._solve(kernel, learned.targets.double(), context)
        self.num_features = rows.shape[1]
        self._tensors = {
            "columns": columns.to(torch.int32),
            "knots": knots,
            "points": points,
            "coefficients": coefficients.float(),
            "offsets": offsets.float(),
            "gain": gain.float(),
        }

    def _solve(
        self, kernel: Float[Tensor, "points points"], targets: Float[Tensor, "points properties"], context: FitContext
    ) -> tuple[Float[Tensor, "points outputs"], Float[Tensor, " outputs"]]:
        """Solves for coefficients and offsets of all outputs; the kernel is overwritten."""
        coefficients = torch.zeros(len(kernel), num_outputs(self.properties), dtype=torch.float64)
        offsets = torch.zeros(num_outputs(self.properties), dtype=torch.float64)
        is_known = ~targets.isnan()
        groups, group_of = is_known.unique(dim=1, return_inverse=True)  # properties with labels of the same networks
        done = 0
        for group in range(groups.shape[1]):
            known = groups[:, group].nonzero()[:, 0]
            of_group, goals = [], []
            for column, (prop, where) in enumerate(zip(self.properties, output_slices(self.properties), strict=True)):
                if int(group_of[column]) == group:
                    context.on_progress(done, len(self.properties), "properties")
                    own = regression_goals(prop, targets[known, column])
                    middle = goal_without_labels(prop)
                    offsets[where] = own.mean(0) if len(known) else middle
                    of_group += range(where.start, where.stop)
                    goals.append(own - offsets[where])
                    done += 1
            is_last = group == groups.shape[1] - 1
            own_kernel = kernel if is_last and len(known) == len(kernel) else kernel[known[:, None], known]
            coefficients[known[:, None], torch.tensor(of_group)] = _solve_ridge(own_kernel, torch.cat(goals, 1))
        context.on_progress(done, len(self.properties), "properties")
        return coefficients, offsets

    @torch.no_grad()
    def predict(self, prepared: Prepared) -> Outputs:
        """Predicts every property."""
        rows, learned = description_rows(prepared, self.num_features), self._tensors
        scores = normal_scores(rows[:, learned["columns"].long()], learned["knots"])
        kernel = (-learned["gain"] * squared_distances(scores, learned["points"])).exp_()
        raw = kernel @ learned["coefficients"] + learned["offsets"]
        return Outputs(regression_values(self.properties, raw))

    def state(self) -> dict[str, Tensor]:
        """Returns the training networks, their coefficients, and the scale of the features."""
        return dict(self._tensors)

    def adopt(self, tensors: Mapping[str, Tensor]) -> None:
        """Takes over the tensors after checking them."""
        check_names(tensors, TENSOR_NAMES)
        outputs, used, points = (
            num_outputs(self.properties),
            tensors["columns"].numel(),
            tensors["coefficients"].shape[0],
        )
        shapes = {
            "columns": (used,),
            "knots": (used, QUANTILES),
            "points": (points, used),
            "coefficients": (points, outputs),
            "offsets": (outputs,),
            "gain": (),
        }
        for name, shape in shapes.items():
            dtype = torch.int32 if name == "columns" else torch.float32
            check_tensor("kernel", name, tensors[name], shape, dtype)
        if (tensors["knots"].diff(dim=1) < 0).any():
            raise PredictorError("kernel expert: the knots of a feature fall, expected ascending ones")
        if not 0 < float(tensors["gain"]) < float("inf"):
            raise PredictorError(f"kernel expert: gain is {float(tensors['gain'])}, expected a number above 0")
        columns = tensors["columns"]
        if used and not 0 <= int(columns.min()) <= int(columns.max()) < self.num_features:
            raise PredictorError(f"kernel expert: asks for features outside 0 to {self.num_features - 1}")
        self._tensors = {name: tensors[name].contiguous() for name in TENSOR_NAMES}


def _solve_ridge(kernel: Float[Tensor, "n n"], goals: Float[Tensor, "n outputs"]) -> Float[Tensor, "n outputs"]:
    """Solves (kernel + RIDGE) coefficients = goals; the kernel, which is symmetric, is overwritten."""
    columns = kernel.mT  # in the order of LAPACK, so that the factor takes the place of the kernel
    columns.diagonal().add_(RIDGE)
    torch.linalg.cholesky(columns, out=columns)
    return torch.linalg.solve_triangular(
        columns.mT, torch.linalg.solve_triangular(columns, goals, upper=False), upper=True
    )


def _quantiles(rows: Float[Tensor, "rows features"]) -> Float[Tensor, "features levels"]:
    """Computes the quantiles of each feature, from its smallest to its largest value."""
    levels = np.linspace(0, 1, QUANTILES)
    parts = [np.quantile(part.double().numpy(), levels, axis=0).T for part in rows.split(FEATURES_AT_A_TIME, dim=1)]
    return torch.from_numpy(np.concatenate(parts)).float()


def median_of_pairs(distances: Float[Tensor, "n n"]) -> Float[Tensor, ""]:
    """Returns the lower median of the distances between different networks; 1 for one network."""
    count = len(distances)
    if count < 2:
        return torch.ones((), dtype=torch.float64)
    values = distances.clone().fill_diagonal_(torch.inf).flatten().numpy()
    middle = (count * (count - 1) - 1) // 2
    values.partition(middle)
    return torch.tensor(float(values[middle]), dtype=torch.float64)


def normal_scores(rows: Float[Tensor, "rows used"], knots: Float[Tensor, "used levels"]) -> Float[Tensor, "rows used"]:
    """Returns the normal scores of features among the training networks, interpolated between quantiles."""
    values = rows.T.contiguous()
    right = torch.searchsorted(knots, values).clamp_(1, QUANTILES - 1)
    low, high = knots.gather(1, right - 1), knots.gather(1, right)
    share = ((values - low) / (high - low).clamp_min(1e-30)).nan_to_num_(0.5).clamp_(0, 1)
    scores = torch.special.ndtri(torch.linspace(0, 1, QUANTILES, dtype=torch.float32)).clamp_(-LARGEST, LARGEST)
    return torch.lerp(scores.take(right - 1), scores.take(right), share).T.contiguous()


def squared_distances(a: Float[Tensor, "m used"], b: Float[Tensor, "n used"]) -> Float[Tensor, "m n"]:
    """Returns the squared distance of each row of one table to each row of another."""
    lengths = a.square().sum(1)[:, None] + b.square().sum(1)
    return lengths.addmm_(a, b.T, alpha=-2).clamp_min_(0)
