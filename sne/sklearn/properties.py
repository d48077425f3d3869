"""`PropertyRegressor` and `PropertyClassifier`: properties of networks, learned by one expert."""

from collections.abc import Sequence
from os import PathLike
from typing import Any, final

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.model_selection import GroupKFold
from sklearn.utils import check_array, check_consistent_length, check_random_state, column_or_1d
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from sne.encoders import NetworkEncoder
from sne.errors import PredictorError, counted
from sne.predictors import EXPERTS, Predictor, Property, TrainingSettings
from sne.predictors.experts import Examples, Expert, FitContext, Fold, Outputs, Prepared, Start
from sne.predictors.experts.state import StateStore
from sne.predictors.intervals import LEVEL, Ranges, calibrate
from sne.sklearn.rows import RowReader, find_predictor
from sne.sklearn.sources import find_sources

KINDS = ("kernel", "forest", "adapted", "boosting", "linear")
"""Experts that learn from descriptions alone."""

NAMELESS = "y"
"""Name of a property whose labels have none."""


class _PropertyEstimator(BaseEstimator):
    """What both estimators have in common: parameters, and from X and y to an expert that has learned."""

    def __init__(
        self,
        expert: str = "kernel",
        *,
        encoder: str | PathLike[str] | Predictor | NetworkEncoder = "default",
        start: str | PathLike[str] | Predictor = "default",
        property_name: str | None = None,
        trees: int = 100,
        least_in_leaf: int = 3,
        share_of_features: float = 0.3,
        batch_size: int = 64,
        budget: int | None = None,
        random_state: Any = 0,
    ):
        self.expert = expert
        self.encoder = encoder
        self.start = start
        self.property_name = property_name
        self.trees = trees
        self.least_in_leaf = least_in_leaf
        self.share_of_features = share_of_features
        self.batch_size = batch_size
        self.budget = budget
        self.random_state = random_state

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.string = True
        return tags

    def _rows(self, X: Any, *, reset: bool) -> np.ndarray:
        """Returns the descriptions of the networks that X holds, or its numbers."""
        sources = find_sources(X)
        if sources is None:
            return np.asarray(validate_data(self, X, reset=reset, dtype=np.float32))
        if reset:
            for name in ("n_features_in_", "feature_names_in_"):
                self.__dict__.pop(name, None)  # X has one column, the networks, but what is learned from has many
        reader = RowReader(self.encoder, "description", batch_size=self.batch_size, budget=self.budget)
        return reader.read(sources)

    def _learn(self, rows: np.ndarray, prop: Property, targets: np.ndarray) -> None:
        """Lets the expert learn a property from all rows."""
        self._seed = int(check_random_state(self.random_state).randint(2**31))
        self.expert_: Expert = self._learned(rows, prop, targets)
        self.property_: Property = prop

    def _learned(self, rows: np.ndarray, prop: Property, targets: np.ndarray) -> Expert:
        """Returns an expert that has learned a property from rows."""
        if self.expert not in KINDS:
            raise PredictorError(f"expert is {self.expert!r}, expected one of {', '.join(KINDS)}")
        settings = TrainingSettings(
            trees=self.trees, least_in_leaf=self.least_in_leaf, share_of_features=self.share_of_features
        )
        start = None
        if self.expert == "adapted":
            loaded = find_predictor(self.start)
            start = Start.of(loaded.properties, loaded.experts, loaded.digest())
        places = np.arange(len(rows))
        examples = Examples(_prepared(rows), torch.from_numpy(targets.copy())[:, None], places.tolist())
        context = FitContext(
            name=self.expert,
            seed=(self._seed,),
            device=torch.device("cpu"),
            store=StateStore(None, {}),
            start=start,
        )
        expert = EXPERTS[self.expert].create(_no_encoder, [prop], settings)
        expert.fit(examples, Fold(places, places[:0]), context)
        return expert

    def _outputs(self, X: Any) -> Outputs:
        """Returns what the expert predicts, one row per network."""
        check_is_fitted(self, "expert_")
        return self.expert_.predict(_prepared(self._rows(X, reset=False)))

    def _name_of(self, y: Any) -> str:
        if self.property_name is not None:
            return self.property_name
        name = getattr(y, "name", None)  # of a series
        return name if isinstance(name, str) and name else NAMELESS


@final
class PropertyRegressor(RegressorMixin, _PropertyEstimator):
    """Predicts a number that belongs to a network, such as its test accuracy, by one expert on descriptions.

    X holds networks (paths, modules, state dicts or networks, one per row), or numbers, such as the rows of
    `NetworkEncoder(vectors="description")`. A predictor with a known domain is trained by `sne.fit`.

    Args:
        expert: "kernel" (quick), "forest" (slower, and better with hundreds of labels), "boosting", "linear", or
            "adapted", which starts from another predictor and is meant for few labels (docs/predictions.md).
        encoder: Describes networks: name of a packaged predictor, folder of a predictor, a `sne.Predictor`, or an
            encoder. Not used where X holds numbers.
        start: Predictor from which "adapted" starts: name, folder or `sne.Predictor`. Its forests read descriptions by
            its own encoder.
        property_name: Name of the property, by which "adapted" chooses a forest of its start; None: the name of y if it
            is a series. A name that the start does not know: its first number.
        trees: As in `sne.TrainingSettings`, for "forest", which grows twice as many.
        least_in_leaf: As in `sne.TrainingSettings`.
        share_of_features: As in `sne.TrainingSettings`.
        batch_size: Number of networks that are read at a time; it changes speed and memory only.
        budget: Largest number of weights that are read of a network; None for all.
        random_state: Seed, a `numpy.random.RandomState`, or None for another result with each call.
        interval_folds: Number of folds by which the intervals of `predict_interval` are calibrated; the expert learns
            once more per fold. 0: no intervals.

    Attributes:
        expert_: The expert.
        property_: Name and scale of the property.
        calibration_: Labels, predictions by the experts of the other folds, and runs, if there are folds.
        n_features_in_: Number of columns of X, if it holds numbers.

    Example:
        >>> import torch
        >>> networks = [torch.nn.Linear(width, 2) for width in range(1, 21)]
        >>> model = PropertyRegressor(interval_folds=5).fit(networks, range(20))
        >>> model.predict(networks[:2]).shape, model.predict_interval(networks[:2], coverage=0.8).shape
        ((2,), (2, 2))
    """

    def __init__(
        self,
        expert: str = "kernel",
        *,
        encoder: str | PathLike[str] | Predictor | NetworkEncoder = "default",
        start: str | PathLike[str] | Predictor = "default",
        property_name: str | None = None,
        trees: int = 100,
        least_in_leaf: int = 3,
        share_of_features: float = 0.3,
        batch_size: int = 64,
        budget: int | None = None,
        random_state: Any = 0,
        interval_folds: int = 0,
    ):
        super().__init__(
            expert,
            encoder=encoder,
            start=start,
            property_name=property_name,
            trees=trees,
            least_in_leaf=least_in_leaf,
            share_of_features=share_of_features,
            batch_size=batch_size,
            budget=budget,
            random_state=random_state,
        )
        self.interval_folds = interval_folds

    def fit(self, X: Any, y: Any, groups: Any = None) -> "PropertyRegressor":
        """Learns the property, and with `interval_folds` how far predictions are from labels.

        Args:
            X: Networks or numbers, one row per network.
            y: One number per network.
            groups: Training run of each network, which the folds keep together; None: each network is a run of its own.
                Without `interval_folds` there are no folds, and groups are not used.

        Raises:
            sne.CheckpointError: A network cannot be read.
            PredictorError: A parameter has no such value, or there are fewer runs than folds.
        """
        labels, name = _labels(self, y), self._name_of(y)
        labels = check_array(labels, ensure_2d=False, dtype="float64", input_name="y")
        runs = self._runs(groups, labels) if self.interval_folds else []
        rows = self._rows(X, reset=True)
        check_consistent_length(rows, labels)
        prop = Property.infer(name, labels)
        self._learn(rows, prop, labels)
        self.__dict__.pop("calibration_", None)
        if runs:
            self.calibration_ = labels, self._held_out(rows, prop, labels, runs), runs
        return self

    def predict(self, X: Any) -> np.ndarray:
        """Predicts the property: float64, one number per network."""
        return self._outputs(X).values.double().numpy()[:, 0]

    def predict_interval(self, X: Any, coverage: float = LEVEL) -> np.ndarray:
        """Predicts intervals that hold the labels of networks like those of the training, as `sne.Predictor` does.

        They are calibrated on networks that were held out (`sne.predictors.intervals.calibrate`), and wider where the
        trees of a forest disagree and where there were few labels of such a value. Whether a network is like those of
        the training is not tested; they are too narrow for others.

        Args:
            X: Networks or numbers, one row per network.
            coverage: Share of the labels that the intervals are to hold, between 0 and 1.

        Returns:
            float64 [networks, 2]: lower and upper ends. Those of fractions stay between 0 and 1.

        Raises:
            PredictorError: The estimator was fitted without `interval_folds`, or there were too few training runs for
                this coverage.
        """
        check_is_fitted(self, "expert_")
        if not 0 < coverage < 1:
            raise PredictorError(f"coverage is {coverage}, expected a number between 0 and 1")
        if not hasattr(self, "calibration_"):
            raise PredictorError("no intervals were calibrated; set interval_folds, such as 5, before fit")
        labels, ranges, runs = self.calibration_
        found = calibrate(self.property_, labels, ranges, runs, coverage)
        if found is None:
            num_runs = counted(len(set(runs)), "training run")
            raise PredictorError(f"{num_runs}, too few for intervals that hold {100 * coverage:g}% of the labels")
        return np.stack(found.ends(self.property_, _ranges(self._outputs(X))), axis=1)

    def _runs(self, groups: Any, labels: np.ndarray) -> list[str]:
        """Returns the training run of each network; there are enough of them for the folds."""
        runs = [str(run) for run in (range(len(labels)) if groups is None else groups)]
        check_consistent_length(labels, runs)
        if not 2 <= self.interval_folds <= (num_runs := len(set(runs))):
            raise PredictorError(
                f"interval_folds is {self.interval_folds}, expected 0, or 2 or more up to the number of training runs, "
                f"which is {num_runs}"
            )
        return runs

    def _held_out(self, rows: np.ndarray, prop: Property, labels: np.ndarray, runs: Sequence[str]) -> Ranges:
        """Predicts each row by an expert that has not learned from its run."""
        found = np.zeros((3, len(rows)))
        folds = GroupKFold(self.interval_folds, shuffle=True, random_state=self._seed)
        for others, held_out in folds.split(rows, groups=runs):
            expert = self._learned(rows[others], prop, labels[others])
            ranges = _ranges(expert.predict(_prepared(rows[held_out])))
            found[:, held_out] = ranges.values, ranges.low, ranges.high
        return Ranges(*found)


@final
class PropertyClassifier(ClassifierMixin, _PropertyEstimator):
    """Predicts a class that belongs to a network, such as its optimiser, by one expert on descriptions.

    Args:
        expert: As for `PropertyRegressor`, like all other parameters.
        encoder: As for `PropertyRegressor`.
        start: As for `PropertyRegressor`.
        property_name: As for `PropertyRegressor`.
        trees: As for `PropertyRegressor`.
        least_in_leaf: As for `PropertyRegressor`.
        share_of_features: As for `PropertyRegressor`.
        batch_size: As for `PropertyRegressor`.
        budget: As for `PropertyRegressor`.
        random_state: As for `PropertyRegressor`.

    Attributes:
        classes_: The classes, in order.
        expert_: The expert.
        property_: Name of the property; its classes are the numbers of `classes_`.
        n_features_in_: Number of columns of X, if it holds numbers.

    Example:
        >>> import torch
        >>> networks = [torch.nn.Linear(width, 2) for width in range(1, 21)]
        >>> model = PropertyClassifier().fit(networks, ["narrow"] * 10 + ["wide"] * 10)
        >>> model.predict(networks[:1]).tolist(), model.predict_proba(networks).shape
        (['narrow'], (20, 2))
    """

    def fit(self, X: Any, y: Any) -> "PropertyClassifier":
        """Learns the property.

        Args:
            X: Networks or numbers, one row per network.
            y: One class per network: texts or whole numbers.

        Raises:
            sne.CheckpointError: A network cannot be read.
            PredictorError: A parameter has no such value.
        """
        labels, name = _labels(self, y), self._name_of(y)
        check_classification_targets(labels)
        rows = self._rows(X, reset=True)
        check_consistent_length(rows, labels)
        self.classes_, numbers = np.unique(labels, return_inverse=True)
        prop = Property(name, "class", tuple(str(number) for number in range(len(self.classes_))))
        self._learn(rows, prop, numbers.astype(np.float64))
        return self

    def predict_proba(self, X: Any) -> np.ndarray:
        """Predicts the probability of each class: float64, one row per network, columns as in `classes_`."""
        chances = self._outputs(X).values.double().numpy()
        return chances / chances.sum(axis=1, keepdims=True)

    def predict(self, X: Any) -> np.ndarray:
        """Predicts the most probable class of each network."""
        numbers = self.predict_proba(X).argmax(axis=1)
        return self.classes_[numbers]


def _labels(estimator: BaseEstimator, y: Any) -> np.ndarray:
    """Returns the labels as an array of one axis."""
    if y is None:
        raise ValueError(  # the words that scikit-learn's checks expect
            f"{type(estimator).__name__} requires y to be passed, but the target y is None"
        )
    return column_or_1d(list(y) if isinstance(y, Sequence | range) else y, warn=True)


def _ranges(outputs: Outputs) -> Ranges:
    """Returns the predicted numbers with their ranges."""
    return Ranges(*(ends.double().numpy()[:, 0] for ends in (outputs.values, *outputs.range())))


def _prepared(rows: np.ndarray) -> Prepared:
    """Returns rows in the form that experts read; copied, since torch may not write into arrays that are read-only."""
    return Prepared([None] * len(rows), torch.from_numpy(np.array(rows, dtype=np.float32, order="C")))


def _no_encoder() -> NetworkEncoder:
    raise PredictorError("experts on descriptions need no encoder")
