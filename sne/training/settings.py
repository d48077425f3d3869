"""Everything about a training run that is not the zoo or the encoder."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sne.errors import TrainingError
from sne.training.copies import check_kinds

SETTINGS_ADDED_LATER: dict[str, Any] = {
    "invariance": 0.0,
    "invariance_kinds": ["permutation"],
    "invariance_draws": 1,
    "invariance_ramp": 0.0,
    "augment": False,
    "trees": 0,
}
"""What predictors and states whose settings lack these were trained with."""


@dataclass(frozen=True)
class TrainingSettings:
    """How a predictor is trained.

    Args:
        epochs: passes over the training rows, at most.
        batch_size: networks a forward pass.
        learning_rate: its peak, AdamW's.
        weight_decay: on matrices; vectors (biases, norms) are left alone.
        warmup: share of all steps during which the learning rate rises from 0, in [0, 1).
        schedule: what follows: "cosine" falls to 0, "constant" stays.
        ema_decay: of the running mean of the parameters that is evaluated and kept; 0 keeps the parameters.
        gradient_clip: largest norm of the gradient; 0 for no limit.
        accumulation: batches whose gradients make one step.
        precision: "float32", "bfloat16" (autocast), or "auto": bfloat16 on CUDA alone.
        patience: epochs without a better score after which training stops; 0 for never.
        members: predictors that are averaged; above 1, each leaves out one fold of the runs.
        seed: of initial values, folds, order and dropout.
        hidden: width of the heads' hidden layer; 0 for linear heads.
        dropout: share of embedding entries dropped before the heads.
        huber_delta: see `PropertyHeads`; 0 for squared error.
        rank_weight: see `PropertyHeads`; 0 for no rank output.
        refit: after the best epoch is known, train again on training and validation rows up to it (1 member).
        invariance: weight of the term that makes predictions equal for networks that compute the same function, see
            `invariance_term`; 0 for none.
        invariance_kinds: the changes of weights that are drawn for it, and for `augment`: some of "permutation",
            "scaling", "sign" and "mixing".
        invariance_draws: transformed copies of each network and step.
        invariance_ramp: share of all steps over which that weight rises from 0, in [0, 1).
        augment: learn the task from transformed copies: in place of the networks themselves, or with `invariance`
            beside them, from the copies that are drawn for the term.
        trees: of each property and member, beside the heads; 0 for none. They read `NetworkEncoder.summarize` of the
            networks themselves, not of transformed copies, and get the share that the held-out networks ask for.
        checkpoint_seconds: least time between two saved states, which are saved at ends of epochs.
    """

    epochs: int = 50
    batch_size: int = 32
    learning_rate: float = 1e-3
    weight_decay: float = 0.01
    warmup: float = 0.05
    schedule: str = "cosine"
    ema_decay: float = 0.0
    gradient_clip: float = 1.0
    accumulation: int = 1
    precision: str = "auto"
    patience: int = 0
    members: int = 1
    seed: int = 0
    hidden: int = 0
    dropout: float = 0.0
    huber_delta: float = 0.0
    rank_weight: float = 0.0
    refit: bool = False
    invariance: float = 0.0
    invariance_kinds: Sequence[str] = ("permutation",)
    invariance_draws: int = 1
    invariance_ramp: float = 0.7
    augment: bool = False
    trees: int = 0
    checkpoint_seconds: float = 5.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "invariance_kinds", tuple(self.invariance_kinds))  # a list, where JSON was read
        limits = {
            "epochs": (1, None),
            "batch_size": (1, None),
            "accumulation": (1, None),
            "members": (1, None),
            "trees": (0, None),
            "invariance": (0, None),
            "invariance_draws": (1, None),
            "patience": (0, None),
            "hidden": (0, None),
            "learning_rate": (0, None),
            "weight_decay": (0, None),
            "gradient_clip": (0, None),
            "huber_delta": (0, None),
            "checkpoint_seconds": (0, None),
            "warmup": (0, 1),
            "ema_decay": (0, 1),
            "dropout": (0, 1),
            "rank_weight": (0, 1),
            "invariance_ramp": (0, 1),
        }
        for name, (low, high) in limits.items():
            value = getattr(self, name)
            if not value >= low or (high is not None and value >= high):
                upper = "" if high is None else f" and below {high}"
                raise TrainingError(f"{name} is {value}, expected {low} or more{upper}")
        if self.schedule not in ("cosine", "constant"):
            raise TrainingError(f"schedule is {self.schedule!r}, expected 'cosine' or 'constant'")
        if self.precision not in ("auto", "float32", "bfloat16"):
            raise TrainingError(f"precision is {self.precision!r}, expected 'auto', 'float32' or 'bfloat16'")
        if self.refit and self.members > 1:
            raise TrainingError(f"refit is for one member, got {self.members}: folds see every run already")
        check_kinds(self.invariance_kinds)
        if self.augment and not self.invariance and self.invariance_draws > 1:
            raise TrainingError(f"augment takes one copy in place of a network, got {self.invariance_draws} draws")

    def to_json(self) -> dict[str, Any]:
        """The settings that decide the result, as plain JSON values."""
        values = asdict(self)
        del values["checkpoint_seconds"]
        return {**values, "invariance_kinds": list(self.invariance_kinds)}
