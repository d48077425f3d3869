"""Model cards: the YAML at the top of a README.md, read by safe loading alone."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from sne.errors import ZooError, install_hint
from sne.zoo.importing.values import as_value
from sne.zoo.store.writing import HYPERPARAMETER_PREFIX, RESERVED, Value

_MOST_BYTES = 10_000_000
_FRONT = re.compile(r"\A---[ \t]*\r?\n(.*?)^---[ \t]*\r?$", re.DOTALL | re.MULTILINE)
_ABOUT = ("license", "base_model", "pipeline_tag", "library_name", "language", "tags")
_FRACTIONS = ("accuracy", "acc", "f1", "precision", "recall", "exact_match", "auc", "roc_auc", "top_1", "top_5", "top1")


def read_model_card(path: Path) -> dict[str, Any]:
    """The metadata of a model card.

    Args:
        path: a README.md.

    Returns:
        The object in the YAML between the first two lines `---`; empty where there is none.

    Raises:
        ZooError: the file or its YAML cannot be read, or PyYAML is not installed.
    """
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise ZooError(f"{path}: a model card of {path.stat().st_size} bytes, at most {_MOST_BYTES} are read")
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ZooError(f"{path} cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise ZooError(f"{path} is not UTF-8 text") from None
    front = _FRONT.match(text)
    if front is None:
        return {}
    try:
        import yaml
    except ImportError:
        raise ZooError(f"{path}: reading model cards needs PyYAML; {install_hint('cards')}") from None
    try:
        values = yaml.safe_load(front[1])
    except (yaml.YAMLError, ValueError, TypeError, OverflowError, RecursionError) as error:
        raise ZooError(f"{path}: the YAML at its top cannot be read: {' '.join(str(error).split())[:200]}") from None
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise ZooError(f"{path}: expected names and values at its top, came a {type(values).__name__}")
    return values


def card_dataset(card: Mapping[str, Any]) -> str | None:
    """What the card says the network was trained on, else what it was measured on; several joined by commas."""
    trained = _joined(card.get("datasets"))
    if trained:
        return trained
    measured = (_text(dataset.get("type")) or _text(dataset.get("name")) for dataset, _ in _results(card))
    return next((name for name in measured if name), None)


def card_properties(card: Mapping[str, Any]) -> dict[str, Value]:
    """What a card says of a network: its measurements by cleaned name, and license, base model, tags and such.

    A metric is called after its type, so "Accuracy" becomes `accuracy`, with `train_` before it where it was
    measured on the split of that name. A metric that comes again, of another data set, has `_on_` and the data
    set behind its name. Where a card writes accuracies and their like in percent, they are turned to fractions.

    Args:
        card: from `read_model_card`.

    Returns:
        Columns of a zoo.
    """
    properties: dict[str, Value] = {name: text for name in _ABOUT if (text := _joined(card.get(name)))}
    for dataset, metric in _results(card):
        kind = _clean(_text(metric.get("type")) or _text(metric.get("name")) or "")
        value = _number(metric.get("value"), is_fraction=any(kind == f or kind.endswith(f"_{f}") for f in _FRACTIONS))
        if not kind or value is None:
            continue
        if (_text(dataset.get("split")) or "").lower().startswith("train"):
            kind = f"train_{kind}"
        place = (_text(dataset.get(key)) for key in ("type", "config", "split"))
        for name in (kind, f"{kind}_on_{_clean('_'.join(filter(None, place)))}"):
            if name not in properties and name not in RESERVED and not name.startswith(HYPERPARAMETER_PREFIX):
                properties[name] = value
                break
    return properties


def _results(card: Mapping[str, Any]) -> Iterator[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    """Data set and metric of every measurement; what is not of the specified form is passed over."""
    for model in _mappings(card.get("model-index")):
        for result in _mappings(model.get("results")):
            dataset = result.get("dataset")
            for metric in _mappings(result.get("metrics")):
                yield dataset if isinstance(dataset, Mapping) else {}, metric


def _mappings(values: Any) -> list[Mapping[str, Any]]:
    return [v for v in values if isinstance(v, Mapping)] if isinstance(values, list) else []


def _text(value: Any) -> str | None:
    """A scalar as text; containers have none: in YAML a few bytes can stand for gigabytes of them."""
    return str(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else None


def _joined(value: Any) -> str | None:
    values = value if isinstance(value, list) else [value]
    return ",".join(filter(None, (_text(v) for v in values))) or None


def _clean(name: str) -> str:
    return re.sub(r"[^0-9a-z]+", "_", name.lower()).strip("_")


def _number(value: Any, *, is_fraction: bool) -> float | None:
    """The value of a metric; "91.3%", and 91.3 of what is a fraction by nature, become 0.913."""
    is_percent = isinstance(value, str) and value.strip().endswith("%")
    try:
        number = float(value.strip().rstrip("% ")) if isinstance(value, str) else value
    except ValueError:
        return None
    if isinstance(number, bool) or not isinstance(number, int | float):
        return None
    number = as_value(float(number)) if abs(number) < 1e300 else None
    if not isinstance(number, float):
        return None
    return number / 100 if is_percent or (is_fraction and 1 < number <= 100) else number
