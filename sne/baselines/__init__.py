"""Simple predictors that SNE is compared with: mean, hyper-parameters and weight statistics."""

from collections.abc import Callable
from functools import partial

from sne.baselines.baseline import Baseline as Baseline
from sne.baselines.baseline import MeanBaseline as MeanBaseline
from sne.baselines.hyperparameters import HyperparameterBaseline as HyperparameterBaseline
from sne.baselines.statistics import StatisticsBaseline as StatisticsBaseline

BASELINES: dict[str, Callable[[], Baseline]] = {
    "mean": MeanBaseline,
    "hyperparameters": HyperparameterBaseline,
    "statistics_boosting": partial(StatisticsBaseline, model="boosting"),
    "statistics_mlp": partial(StatisticsBaseline, model="mlp"),
}
"""Functions that build a baseline without arguments, by name. `sne evaluate` prints all of them next to a predictor."""
