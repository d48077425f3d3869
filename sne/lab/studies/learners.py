"""The two contracts of methods, network encoders and baselines, as one thing that learns and predicts."""

import abc
from collections.abc import Callable
from functools import partial
from typing import Any, final

import numpy as np

from sne.baselines import BASELINES
from sne.encoders import PRESETS, NetworkEncoder
from sne.lab.neural import NEURAL_BASELINES, CannotTakeError
from sne.lab.studies.jobs import Job
from sne.lab.studies.methods import ON_DEVICE, SIMPLE
from sne.predictors import Predictor, Property, choose_device, scores, selection_score
from sne.training import TrainingError, fit
from sne.training.labels import target_column
from sne.zoo import Split, Zoo


class Learner(abc.ABC):
    """Learns from the training and validation runs of a zoo, then predicts."""

    @property
    @abc.abstractmethod
    def parameters(self) -> int | None:
        """How many numbers it learned; None where nobody counts them."""

    def check(self, zoo: Zoo, split: Split, judged: Zoo, row: int) -> None:  # noqa: B027 (most refuse nothing)
        """Refuses a network before anything is learned, where that can be known.

        Raises:
            CannotTakeError: having learned from the runs of the split, it could not take this network.
        """

    @abc.abstractmethod
    def learn(self, zoo: Zoo, split: Split, target: str) -> float | None:
        """Learns a property.

        Returns:
            Kendall tau (accuracy for classes) on validation runs that it had not learned from when it predicted them.

        Raises:
            CannotTakeError: it is not made for these networks.
        """

    @abc.abstractmethod
    def predict(self, zoo: Zoo, rows: np.ndarray) -> np.ndarray:
        """Values or class names, one a row.

        Raises:
            CannotTakeError: it is not made for these networks.
        """

    def embed(self, zoo: Zoo, rows: np.ndarray) -> np.ndarray | None:
        """Vectors, one a row; None where it has none."""
        return None


def learner_of(job: Job) -> Learner:
    """A fresh learner for a job."""
    return BaselineLearner(job) if job.method.kind == "baseline" else EncoderLearner(job)


@final
class EncoderLearner(Learner):
    """A network encoder with heads, trained by `sne.training.fit`.

    Args:
        job: says which, and how.
    """

    def __init__(self, job: Job) -> None:
        self._job = job

    @property
    def parameters(self) -> int:
        """Of all members together."""
        return sum(parameter.numel() for parameter in self.predictor.members.parameters())

    def check(self, zoo: Zoo, split: Split, judged: Zoo, row: int) -> None:
        """Lets a fresh encoder prepare the network."""
        if self._job.method.kind == "neural":
            self._factory(zoo, split)().prepare(judged.networks([row]))

    def learn(self, zoo: Zoo, split: Split, target: str) -> float | None:
        """Trains a predictor."""
        self._target = target
        self.predictor = _without_wrapping(
            partial(
                fit,
                zoo,
                [target],
                split=split,
                encoder=self._factory(zoo, split),
                settings=self._job.training,
                device=self._job.device,
                progress=False,
            )
        )
        return selection_score(self.predictor.properties[0], self.predictor.metrics["validation"][target])

    def predict(self, zoo: Zoo, rows: np.ndarray) -> np.ndarray:
        """Predictions in the property's own unit."""
        values, prop = self.predictor.values(zoo.networks(rows))[self._target], self.predictor.properties[0]
        return np.array(prop.classes, dtype=object)[values.argmax(1)] if prop.kind == "class" else values

    def embed(self, zoo: Zoo, rows: np.ndarray) -> np.ndarray:
        """Embeddings, the members' side by side."""
        return self.predictor.embed(zoo.networks(rows))

    def _factory(self, zoo: Zoo, split: Split) -> Callable[[], NetworkEncoder]:
        method = self._job.method
        if method.kind == "preset":
            make: Any = PRESETS[method.source]
            return partial(make, **method.options)
        layouts: dict[Any, int] = {}
        keys = zoo.table["layout"].to_pylist()
        for piece in ("train", "val"):
            for row in split.rows(zoo.runs, piece):
                layouts.setdefault(keys[row], int(row))
        return partial(NEURAL_BASELINES[method.source], zoo.networks(list(layouts.values())))


@final
class BaselineLearner(Learner):
    """A baseline: fitted on the training runs for its validation score; a quick one then on the validation runs too.

    Args:
        job: says which.
    """

    def __init__(self, job: Job) -> None:
        self._job = job

    @property
    def parameters(self) -> int | None:
        """Of what counts its own; trees and perceptrons of other libraries do not."""
        return getattr(self._fitted, "num_parameters", None)

    def learn(self, zoo: Zoo, split: Split, target: str) -> float | None:
        """Fits once, or twice: what selects is then not what is judged."""
        column = target_column(zoo, target)
        train, val = (_known(split.rows(zoo.runs, piece), column) for piece in ("train", "val"))
        both = np.sort(np.concatenate([train, val]))
        self._property = Property.infer(target, column[both])
        self._fit(zoo, train, column)
        score = selection_score(self._property, scores(self._property, column[val], self.predict(zoo, val)))
        if self._job.method.source in BASELINES:
            self._fit(zoo, both, column)
        return score

    def predict(self, zoo: Zoo, rows: np.ndarray) -> np.ndarray:
        """Predictions in the property's own unit."""
        values = np.asarray(self._fitted.predict(zoo, rows))
        if self._property.kind != "class":
            return values.astype(np.float64)
        return np.array(self._property.classes, dtype=object)[values.astype(np.int64)]

    def _fit(self, zoo: Zoo, rows: np.ndarray, column: np.ndarray) -> None:
        prop, job = self._property, self._job
        targets = prop.encode(column[rows])
        options = {name: value for name, value in job.settings.items() if name != "seed"}
        if job.method.source in ON_DEVICE:
            options["device"] = str(choose_device(job.device))
        self._fitted = SIMPLE[job.method.source](**options)
        self._fitted.fit(
            zoo,
            rows,
            targets.astype(np.int64) if prop.kind == "class" else targets,
            target=prop.name,
            kind=prop.kind,
            seed=job.seed,
        )


def _known(rows: np.ndarray, column: np.ndarray) -> np.ndarray:
    """The rows that have a label."""
    return np.array([row for row in rows if column[row] is not None and column[row] == column[row]], dtype=np.int64)


def _without_wrapping(work: Callable[[], Predictor]) -> Predictor:
    """Training tells of an encoder's refusal as of its own errors; here the refusal itself is wanted."""
    try:
        return work()
    except TrainingError as error:
        if isinstance(error.__context__, CannotTakeError):
            raise error.__context__ from None
        raise
