"""One interface for the two kinds of methods, network encoders and baselines: learn, then predict.

This is the only module of the laboratory that trains predictors and asks them for predictions.
"""

import abc
from collections.abc import Callable
from functools import partial
from typing import Any, final

import numpy as np

from sne.baselines import BASELINES
from sne.encoders import PRESETS, NetworkEncoder
from sne.errors import SneError
from sne.lab.neural import NEURAL_BASELINES, CannotTakeError
from sne.lab.studies.jobs import Job
from sne.lab.studies.methods import ALL_BASELINES, ON_DEVICE
from sne.predictors import Predictor, Property, choose_device, scores, selection_score
from sne.predictors.experts import NeuralExpert
from sne.training import fit, target_column
from sne.zoo import Split, Zoo


class Learner(abc.ABC):
    """Learns a property from the training and validation runs of a zoo, then predicts it."""

    @property
    @abc.abstractmethod
    def parameters(self) -> int | None:
        """Number of trained parameters; None if it is not counted."""

    def check(self, zoo: Zoo, split: Split, judged: Zoo, row: int) -> None:  # noqa: B027 (most accept all networks)
        """Rejects a held-out network before training, if that is possible.

        Args:
            zoo: Zoo from which the learner shall learn.
            split: Split of that zoo.
            judged: Zoo of the held-out network.
            row: Row number of the held-out network.

        Raises:
            CannotTakeError: If the trained learner could not read the network.
        """

    @abc.abstractmethod
    def learn(self, zoo: Zoo, split: Split, target: str) -> float | None:
        """Learns a property.

        Args:
            zoo: Zoo of the networks.
            split: Split of the zoo.
            target: Column of the zoo that is predicted.

        Returns:
            Kendall tau (accuracy for classes) on the validation runs, predicted without having learned from them.

        Raises:
            CannotTakeError: If it does not support these networks.
        """

    @abc.abstractmethod
    def predict(self, zoo: Zoo, rows: np.ndarray) -> np.ndarray:
        """Returns values or class names, one per row.

        Args:
            zoo: Zoo of the networks.
            rows: Row numbers.

        Raises:
            CannotTakeError: If it does not support these networks.
        """

    def embed(self, zoo: Zoo, rows: np.ndarray) -> np.ndarray | None:
        """Returns embeddings, one per row; None if it has none."""
        return None


def learner_of(job: Job) -> Learner:
    """Returns an untrained learner for a job."""
    return BaselineLearner(job) if job.method.kind == "baseline" else EncoderLearner(job)


@final
class EncoderLearner(Learner):
    """A network encoder with heads, trained by `sne.training.fit`.

    Args:
        job: Job that states the method and its settings.
    """

    def __init__(self, job: Job) -> None:
        self._job = job

    @property
    def parameters(self) -> int:
        """Number of parameters of all neural experts."""
        models = [expert.model for expert in self.predictor.experts if isinstance(expert, NeuralExpert)]
        return sum(parameter.numel() for model in models for parameter in model.parameters())

    def check(self, zoo: Zoo, split: Split, judged: Zoo, row: int) -> None:
        """Prepares the network with an untrained encoder."""
        if self._job.method.kind == "neural":
            self._factory(zoo, split)().prepare(judged.networks([row]))

    def learn(self, zoo: Zoo, split: Split, target: str) -> float | None:
        """Trains a predictor and returns its validation score."""
        self._target = target
        self.predictor = _trained(
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
        """Returns predictions in the property's own unit."""
        values, prop = self.predictor.values(zoo.networks(rows))[self._target], self.predictor.properties[0]
        return np.array(prop.classes, dtype=object)[values.argmax(1)] if prop.kind == "class" else values

    def embed(self, zoo: Zoo, rows: np.ndarray) -> np.ndarray:
        """Returns embeddings, those of all experts concatenated."""
        return self.predictor.encode(zoo.networks(rows))

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
    """A baseline, fitted on the training runs to obtain its validation score.

    A quick baseline is then fitted again on the training and validation runs together.

    Args:
        job: Job that states the method and its settings.
    """

    def __init__(self, job: Job) -> None:
        self._job = job

    @property
    def parameters(self) -> int | None:
        """Number of parameters, if the baseline counts them; trees and perceptrons of other libraries do not."""
        return getattr(self._fitted, "num_parameters", None)

    def learn(self, zoo: Zoo, split: Split, target: str) -> float | None:
        """Fits the baseline, once for its validation score and, if it is quick, again on all runs."""
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
        """Returns predictions in the property's own unit."""
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
        self._fitted = ALL_BASELINES[job.method.source](**options)
        self._fitted.fit(
            zoo,
            rows,
            targets.astype(np.int64) if prop.kind == "class" else targets,
            target=prop.name,
            kind=prop.kind,
            seed=job.seed,
        )


def _known(rows: np.ndarray, column: np.ndarray) -> np.ndarray:
    """Returns the rows that have a label."""
    return np.array([row for row in rows if column[row] is not None and column[row] == column[row]], dtype=np.int64)


def _trained(train: Callable[[], Predictor]) -> Predictor:
    """Trains a predictor. Raises the error of an encoder that cannot read the networks instead of `fit`'s."""
    try:
        return train()
    except SneError as error:
        for cause in (error, error.__context__):
            if isinstance(cause, CannotTakeError):
                raise cause from None
        raise
