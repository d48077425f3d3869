"""The methods that studies compare, as data, each with the configurations that it may try."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from sne.baselines import BASELINES, Baseline
from sne.errors import StudyError
from sne.lab.neural import NEURAL_BASELINES, SLOW_BASELINES
from sne.lab.probing import PROBING_BASELINES
from sne.training import PRESET_SETTINGS, TrainingSettings

KINDS = ("preset", "neural", "baseline", "average")

ALL_BASELINES: Mapping[str, Callable[..., Baseline]] = {**BASELINES, **SLOW_BASELINES, **PROBING_BASELINES}
"""Methods that train themselves, by name."""

METHOD_EXTRAS: Mapping[str, str] = dict.fromkeys(("nfn_np", "nfn_hnp", "nft"), "nfn")
"""Extras that methods need, by the name of their source."""

ON_DEVICE = (*SLOW_BASELINES, *PROBING_BASELINES)
"""Methods that train themselves on the device on which encoders train."""


@dataclass(frozen=True)
class Method:
    """One method and its settings, as plain values.

    Args:
        name: Name on the command line.
        label: Name in tables and plots.
        kind: "preset" for `sne.encoders.PRESETS`, "neural" for `NEURAL_BASELINES`, "baseline" for `ALL_BASELINES`, or
            "average" for the mean prediction of other methods.
        source: Name in that dict; for an average, the names of its parts, joined by +.
        options: Keyword arguments of the constructor (presets and baselines only).
        training: Changes to the training settings (encoders only).
        grid: Configurations that it may try, the default first: training settings, or options of a baseline.
        reads: What it reads: "weights"; "notes" (hyper-parameters); "labels" (only those of the training networks);
            "activations" (weights, and the symmetry that follows from the activation functions); or "runs" (the
            networks are run).
        x: Position on the x axis of a curve over methods; None if it has none.
    """

    name: str
    label: str
    kind: str
    source: str
    options: Mapping[str, Any] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)
    grid: tuple[Mapping[str, Any], ...] = ({},)
    reads: str = "weights"
    x: float | None = None

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise StudyError(f"method {self.name}: kind {self.kind!r}, expected one of {', '.join(KINDS)}")
        if not self.grid:
            raise StudyError(f"method {self.name}: its grid is empty, expected at least one configuration")

    def to_json(self) -> dict[str, Any]:
        """Returns everything that determines its results, as plain JSON values."""
        values = asdict(self)
        for name in ("label", "reads", "x"):
            del values[name]
        return values

    @property
    def is_sne(self) -> bool:
        """Whether it is a variant of SNE, not a baseline."""
        return self.kind == "preset" or "sne" in self.parts

    @property
    def parts(self) -> tuple[str, ...]:
        """Names of the methods whose predictions it averages; empty for other kinds."""
        return tuple(self.source.split("+")) if self.kind == "average" else ()


RATES: tuple[Mapping[str, Any], ...] = ({}, {"learning_rate": 3e-4}, {"learning_rate": 3e-3})
"""Configurations of methods whose default learning rate is 1e-3."""

PROTOCOL: Mapping[str, Any] = {"epochs": 50, "batch_size": 32, "learning_rate": 1e-3, "patience": 15}
"""Training settings of all neural baselines and of the paper's encoder; the epoch is chosen on the validation runs.

They also apply to `sne_plain`: the neural expert of `default`, with one fold and without the settings tuned for it."""

RATES_OF_TWO: tuple[Mapping[str, Any], ...] = ({}, {"learning_rate": 1e-3}, {"learning_rate": 4e-3})
"""Configurations of methods whose default learning rate is 2e-3."""

RATES_OF_BOOSTING: tuple[Mapping[str, Any], ...] = ({}, {"learning_rate": 0.05}, {"learning_rate": 0.2})
"""Configurations of gradient boosting, whose default learning rate is 0.1."""

_LABELS = {
    "mean": "training mean",
    "hyperparameters": "hyper-parameters, boosting",
    "statistics_boosting": "weight statistics, boosting",
    "statistics_mlp": "weight statistics, perceptron",
    "probing": "function probing",
    "flat_mlp": "perceptron on flat weights",
    "deep_sets": "DeepSets",
    "nfn_np": "NFN-NP",
    "nfn_hnp": "NFN-HNP",
    "nft": "NFT",
    "dwsnet": "DWSNet",
    "graph_network": "graph network",
    "graph_transformer": "graph transformer",
    "hyper_rep": "HyperRep",
}
_READS = {"mean": "labels", "hyperparameters": "notes", "probing": "runs"}
_GRIDS = {
    "hyperparameters": RATES_OF_BOOSTING,
    "statistics_boosting": RATES_OF_BOOSTING,
    "statistics_mlp": RATES,
    "hyper_rep": RATES_OF_TWO,
    "probing": RATES_OF_TWO,
}
_OPTIONS = {"hyper_rep": {"epochs": 30}, "probing": {"epochs": 30}}


def _baseline(name: str) -> Method:
    return Method(
        name,
        _LABELS.get(name, name),
        "baseline",
        name,
        options=_OPTIONS.get(name, {}),
        grid=_GRIDS.get(name, ({},)),
        reads=_READS.get(name, "weights"),
    )


def _neural(name: str) -> Method:
    return Method(name, _LABELS.get(name, name), "neural", name, training=PROTOCOL, grid=RATES)


SNE = Method("sne", "sne default", "preset", "default", grid=RATES_OF_TWO)
SNE_ONE = Method(
    "sne_one",
    "sne default, neural expert alone, one fold",
    "preset",
    "default",
    training={"folds": 1, "experts": ("neural",)},
    grid=RATES_OF_TWO,
)
SNE_PLAIN = Method(
    "sne_plain",
    "sne default, trained as the baselines",
    "preset",
    "default",
    training={**{name: getattr(TrainingSettings(), name) for name in PRESET_SETTINGS["default"]}, **PROTOCOL},
    grid=RATES,
)
SNE_CANONICAL = Method(
    "sne_canonical",
    "sne default, canonical",
    "preset",
    "default-canonical",
    grid=RATES_OF_TWO,
    reads="activations",
)
SNE_PAPER = Method("sne_paper", "sne paper", "preset", "paper", training=PROTOCOL, grid=RATES)

SNE_PROBING = Method("sne_probing", "sne default and probing", "average", "sne+probing", reads="runs")

METHODS: dict[str, Method] = {
    **{method.name: method for method in (SNE, SNE_ONE, SNE_PLAIN, SNE_CANONICAL, SNE_PAPER)},
    **{name: _neural(name) for name in NEURAL_BASELINES},
    **{name: _baseline(name) for name in ALL_BASELINES},
    SNE_PROBING.name: SNE_PROBING,
}
"""All methods by name: variants of SNE, neural baselines, other baselines, and averages."""

POOLED: dict[str, Method] = {
    name: replace(METHODS[name], label=f"{METHODS[name].label}, pooled", options={"is_pooled": True})
    for name in ("statistics_boosting", "statistics_mlp")
}
"""Variants that replace the methods of these names in studies across architectures."""


def choose_methods(names: Iterable[str], among: Iterable[Method]) -> tuple[Method, ...]:
    """Returns the methods with the given names.

    Args:
        names: Names of methods.
        among: Methods that are available.

    Raises:
        StudyError: If a name is not known; the message lists the known names.

    Example:
        >>> [method.label for method in choose_methods(["mean", "nft"], METHODS.values())]
        ['training mean', 'NFT']
    """
    known = {method.name: method for method in among}
    chosen = list(dict.fromkeys(names))
    unknown = [name for name in chosen if name not in known]
    if unknown or not chosen:
        came = f"method {unknown[0]!r} is not known" if unknown else "no method was named"
        raise StudyError(f"{came}, expected names from: {', '.join(known)}")
    methods = tuple(known[name] for name in chosen)
    check_parts(methods)
    return methods


def check_parts(methods: Iterable[Method]) -> None:
    """Raises StudyError unless the parts of every average are among the methods, and are not averages themselves."""
    methods = tuple(methods)
    single = {method.name for method in methods if not method.parts}
    for method in methods:
        missing = [part for part in method.parts if part not in single]
        if missing:
            raise StudyError(
                f"method {method.name!r} averages {' and '.join(method.parts)}; also name {missing[0]!r} as a method"
            )
