"""Kinds of changes of weights on the command line."""

from collections.abc import Mapping
from typing import Any


def split_kinds(text: str) -> tuple[str, ...]:
    """The kinds in a list with commas."""
    return tuple(kind.strip() for kind in text.split(",") if kind.strip())


def describe_copies(drawn: Mapping[str, Any]) -> str:
    """What invariance was measured on: `InvarianceError.to_json`, or `metrics["invariance"]` of a predictor."""
    draws = "" if drawn["draws"] == 1 else f", {drawn['draws']} draws of each"
    return f"invariance to {' and '.join(drawn['kinds'])}, {drawn['n']} networks{draws}"
