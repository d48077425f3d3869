"""How experts are trained: everything about a training run that is not the zoo or the encoder."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sne.errors import TrainingError
from sne.symmetry import KINDS

LIMITS: dict[str, tuple[float, float | None]] = {
    "epochs": (1, None),
    "batch_size": (1, None),
    "accumulation": (1, None),
    "folds": (1, None),
    "trees": (1, None),
    "least_in_leaf": (1, None),
    "invariance": (0, None),
    "invariance_draws": (1, None),
    "patience": (0, None),
    "hidden": (0, None),
    "share_of_features": (0, 1),
    "learning_rate": (0, None),
    "weight_decay": (0, None),
    "gradient_clip": (0, None),
    "checkpoint_seconds": (0, None),
    "warmup": (0, 1),
    "dropout": (0, 1),
    "rank_weight": (0, 1),
    "invariance_ramp": (0, 1),
}
"""Least value of each setting, and the value that it has to stay below."""


@dataclass(frozen=True)
class TrainingSettings:
    """How a predictor is trained.

    Args:
        experts: Kinds of experts to train, names of `sne.predictors.experts.EXPERTS`.
        folds: Number of folds of the training and validation runs. Each expert is trained once per fold, without the
            runs of that fold, which judge it. With 1 the training runs are learned from and the validation runs judge.
        seed: Random seed for initialisation, shuffling, dropout, folds and, if the zoo has no split, the split.
        epochs: Largest number of passes over the training networks.
        batch_size: Number of networks per forward pass.
        learning_rate: Peak learning rate of AdamW.
        weight_decay: Weight decay of matrices; vectors (biases, norms) have none.
        warmup: Share of all steps during which the learning rate rises from 0 to its peak, in [0, 1). Afterwards it
            falls to 0 along a cosine.
        gradient_clip: Largest norm of the gradient; 0 for no limit.
        accumulation: Number of batches whose gradients make one step.
        precision: "float32", "bfloat16" (autocast), or "auto": bfloat16 on CUDA, float32 elsewhere.
        patience: Number of epochs without a better score after which training stops; 0 to train all epochs.
        hidden: Width of the hidden layer of the heads; 0 for linear heads.
        dropout: Share of embedding entries that are dropped before the heads, in [0, 1).
        rank_weight: Share of the loss that the rank output takes, in [0, 1); see `PropertyHeads`.
        invariance: Weight of the loss term that makes predictions equal for networks that compute the same function;
            0 for none. See `invariance_term`.
        invariance_kinds: Kinds of weight changes that are drawn for that term and for `augment`: some of
            "permutation", "scaling", "sign" and "mixing".
        invariance_draws: Number of transformed copies per network and step.
        invariance_ramp: Share of all steps during which the weight of the term rises from 0, in [0, 1).
        augment: Learn the task from transformed copies: instead of the networks themselves, or with `invariance` next
            to them, from the copies that are drawn for the term.
        trees: Number of trees per property and fold of the expert "forest"; twice as many learn from all networks.
        least_in_leaf: Smallest number of networks in a leaf of these trees.
        share_of_features: Share of the features that these trees try per split, in [0, 1).
        checkpoint_seconds: Least time in seconds between two saved states, which are saved at the end of epochs.

    Example:
        >>> TrainingSettings(experts=("forest", "kernel"), trees=200).to_json()["trees"]
        200
    """

    experts: Sequence[str] = ("neural",)
    folds: int = 1
    seed: int = 0
    epochs: int = 50
    batch_size: int = 32
    learning_rate: float = 1e-3
    weight_decay: float = 0.01
    warmup: float = 0.05
    gradient_clip: float = 1.0
    accumulation: int = 1
    precision: str = "auto"
    patience: int = 0
    hidden: int = 0
    dropout: float = 0.0
    rank_weight: float = 0.0
    invariance: float = 0.0
    invariance_kinds: Sequence[str] = ("permutation",)
    invariance_draws: int = 1
    invariance_ramp: float = 0.7
    augment: bool = False
    trees: int = 100
    least_in_leaf: int = 3
    share_of_features: float = 0.3
    checkpoint_seconds: float = 5.0

    def __post_init__(self) -> None:
        for name in ("experts", "invariance_kinds"):  # lists where JSON was read
            object.__setattr__(self, name, tuple(getattr(self, name)))
        for name, (low, high) in LIMITS.items():
            value = getattr(self, name)
            if not value >= low or (high is not None and value >= high):
                upper = "" if high is None else f" and below {high}"
                raise TrainingError(f"{name} is {value}, expected {low} or more{upper}")
        if not self.experts or len(set(self.experts)) < len(self.experts):
            raise TrainingError(f"experts: got {list(self.experts)}, expected one or more different names")
        if self.precision not in ("auto", "float32", "bfloat16"):
            raise TrainingError(f"precision is {self.precision!r}, expected 'auto', 'float32' or 'bfloat16'")
        check_kinds(self.invariance_kinds)
        if self.augment and not self.invariance and self.invariance_draws > 1:
            raise TrainingError(
                f"augment without invariance replaces a network by one copy, got {self.invariance_draws} draws"
            )

    def to_json(self) -> dict[str, Any]:
        """Returns the settings that decide the result, as plain JSON values."""
        values = asdict(self)
        del values["checkpoint_seconds"]
        return {**values, "experts": list(self.experts), "invariance_kinds": list(self.invariance_kinds)}


def check_kinds(kinds: Sequence[str]) -> None:
    """Checks the names of weight changes that copies are drawn by.

    Args:
        kinds: Names, each of `sne.symmetry.KINDS`.

    Raises:
        TrainingError: A name is unknown, or there is none.
    """
    unknown = [kind for kind in kinds if kind not in KINDS]
    if unknown or not kinds:
        came = repr(unknown[0]) if unknown else "nothing"
        raise TrainingError(f"invariance_kinds: got {came}, expected some of {', '.join(KINDS)}")
