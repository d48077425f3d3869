"""The predictor that is part of the package."""

from pathlib import Path

from sne.predictors.folder import CONFIG

PACKAGED = Path(__file__).parents[1] / "pretrained" / "default"
"""Folder of the packaged predictor."""


def has_packaged() -> bool:
    """Whether a predictor is part of this installation."""
    return (PACKAGED / CONFIG).is_file()
