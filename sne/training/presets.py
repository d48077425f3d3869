"""How each encoder preset is trained when nothing else is said."""

from typing import Any

from sne.training.settings import TrainingSettings

PRESET_SETTINGS: dict[str, dict[str, Any]] = {
    "paper": {"epochs": 25, "batch_size": 32, "learning_rate": 1e-3, "weight_decay": 0.0, "patience": 10},
    "default": {
        "epochs": 60,
        "batch_size": 64,
        "learning_rate": 2e-3,
        "weight_decay": 0.05,
        "warmup": 0.15,
        "dropout": 0.2,
        "rank_weight": 0.5,
        "members": 5,
        "trees": 100,
    },
}
"""Where they differ from `TrainingSettings()`.

`paper`: the paper's optimiser is not known; Adam at 1e-3 is the field's protocol (NFN, Zhou et al., arXiv 2302.14040),
there over 50 epochs, here over 25, so that a run on the reference zoo stays near ten minutes.
`default`: chosen out of fold on the training and validation runs of the reference zoo (docs/default-encoder.md).
"""


def preset_settings(preset: str, **changes: Any) -> TrainingSettings:
    """The training settings of a preset, with changes.

    Args:
        preset: a name of `sne.encoders.PRESETS`; one without an entry here gets `TrainingSettings()`, and a
            canonical one is trained as the other.
        changes: settings that replace the preset's. With `invariance` there are no trees unless they are asked for:
            trees would not learn it, and predictions would move with them.

    Returns:
        The settings.
    """
    settings = {**PRESET_SETTINGS.get(preset.removesuffix("-canonical"), {}), **changes}
    if settings.get("invariance") and "trees" not in changes:
        settings["trees"] = 0
    return TrainingSettings(**settings)
