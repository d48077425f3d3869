"""What SNE is measured against, behind one contract."""

from collections.abc import Callable
from functools import partial

from sne.baselines.contract import Baseline as Baseline
from sne.baselines.hyperparameters import HyperparameterBaseline as HyperparameterBaseline
from sne.baselines.mean import MeanBaseline as MeanBaseline
from sne.baselines.statistics import StatisticsBaseline as StatisticsBaseline

BASELINES: dict[str, Callable[[], Baseline]] = {
    "mean": MeanBaseline,
    "hyperparameters": HyperparameterBaseline,
    "statistics_boosting": partial(StatisticsBaseline, model="boosting"),
    "statistics_mlp": partial(StatisticsBaseline, model="mlp"),
}
