"""Importing models as the Hugging Face hub stores them: weights, a config, and a model card."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from sne.errors import SymmetryError, ZooError, install_hint
from sne.symmetry.by_name.known import Known, known_from
from sne.zoo.importing.contract import Checkpoint, Found, Tell, split_in
from sne.zoo.importing.tables import as_value, plain_values, read_json_object
from sne.zoo.importing.weights import SymmetriesByName, read_weights
from sne.zoo.store.columns import HYPERPARAMETER_PREFIX, RESERVED, Value

_WEIGHTS = re.compile(r".+\.(safetensors|bin|pt|pth|ckpt|onnx)|.+\.(safetensors|bin)\.index\.json")
_HEAD = re.compile(r"LMHead|DoubleHeads|For(CausalLM|MaskedLM|ConditionalGeneration|PreTraining)")
_DEEPEST = 3  # folders between the source and a model: organisation, name
_MOST_BYTES = 10_000_000  # of a model card
_FRONT = re.compile(r"\A---[ \t]*\r?\n(.*?)^---[ \t]*\r?$", re.DOTALL | re.MULTILINE)
_ABOUT = ("license", "base_model", "pipeline_tag", "library_name", "language", "tags")
_FRACTIONS = ("accuracy", "acc", "f1", "precision", "recall", "exact_match", "auc", "roc_auc", "top_1", "top_5", "top1")


def find_hugging_face(source: Path, dataset: str | None, tell: Tell) -> Found:
    """Finds folders of models with `config.json`, weights and a model card; one network per folder.

    The folders are in the source or below it (NAME/ or ORG/NAME/), or the source is one of them, or a cache of the
    hub: `models--ORG--NAME/snapshots/HASH/`. The snapshot that `refs/main` names is taken, or all of them if that
    file is missing; the run is then `ORG/NAME`.

    Weights are `model.safetensors`, its shards with their index, `pytorch_model.bin`, or anything else that
    `read_network` reads in a folder. The card is `README.md` with YAML at its top: the metrics of `model-index` become
    properties, see `card_properties`, and so do license, base model and tags; `datasets` names the data set. The
    family is `model_type` of `config.json`, or its first architecture; its numbers, booleans and texts are
    hyper-parameters. The folder of the model is the run. Config and card may be missing; reading a card needs the extra
    `cards`. The config also states the number of heads, and whether the word embeddings are the output layer too,
    which symmetries depend on.

    Source: huggingface.co/docs/hub/model-cards and the specification `modelcard.md` in github.com/huggingface/hub-docs.
    Differs: percentages become fractions, see `card_properties`.
    """
    if not source.is_dir():
        raise ZooError(f"{source}: no such folder")
    models = list(_models(source, source))
    if not models:
        raise ZooError(f"{source}: no folder with config.json or weights")
    symmetries = SymmetriesByName(tell)

    def read(id: str, run: str, folder: Path) -> Checkpoint:
        config = read_json_object(folder / "config.json") if (folder / "config.json").is_file() else {}
        card = read_model_card(folder / "README.md") if (folder / "README.md").is_file() else {}
        return Checkpoint(
            id=id,
            run=run,
            family=_family(config),
            dataset=card_dataset(card) or dataset or "unknown",
            step=0,
            weights=read_weights(folder, symmetries, _known(config, folder / "config.json", tell)),
            properties=card_properties(card),
            hyperparameters=_settings(config),
        )

    return Found([partial(read, *model) for model in models], split_in(source))


def _models(folder: Path, source: Path, depth: int = 0) -> Iterator[tuple[str, str, Path]]:
    """Id, run and folder of each model, in order of name."""
    entries = sorted(folder.iterdir())
    name = folder.relative_to(source).as_posix() if folder != source else source.resolve().name
    if folder.name.startswith("models--") and (folder / "snapshots").is_dir():
        yield from _snapshots(folder)
    elif any(e.is_file() and (e.name == "config.json" or _WEIGHTS.fullmatch(e.name)) for e in entries):
        yield name, name, folder
    elif depth < _DEEPEST:
        for entry in entries:
            if entry.is_dir() and not entry.name.startswith((".", "datasets--", "spaces--")):
                yield from _models(entry, source, depth + 1)


def _snapshots(folder: Path) -> Iterator[tuple[str, str, Path]]:
    run = folder.name.removeprefix("models--").replace("--", "/")
    reference = folder / "refs" / "main"
    main = reference.read_text(errors="replace").strip() if reference.is_file() else None
    snapshots = sorted(entry for entry in (folder / "snapshots").iterdir() if entry.is_dir())
    chosen = [entry for entry in snapshots if entry.name == main] or snapshots
    for snapshot in chosen:
        yield (run if len(chosen) == 1 else f"{run}@{snapshot.name}"), run, snapshot


def _family(config: dict[str, Any]) -> str:
    architectures = config.get("architectures")
    first = architectures[0] if isinstance(architectures, list) and architectures else None
    named = (config.get("model_type"), config.get("architecture"), first)
    return next((name for name in named if isinstance(name, str) and name), "unknown")


def _known(config: dict[str, Any], path: Path, tell: Tell) -> Known:
    """Returns the facts of a config about symmetries; without a head, tied word embeddings are not the output layer."""
    try:
        stated = known_from(None, config, None, False)
    except SymmetryError as error:
        tell(f"{path}: {error}; kept without the symmetries of attention")
        stated = Known()
    architectures = config.get("architectures")
    names = architectures if isinstance(architectures, list) else []
    has_head = any(isinstance(name, str) and _HEAD.search(name) for name in names)
    return replace(stated, is_tied=has_head and config.get("tie_word_embeddings") is True)


def _settings(config: dict[str, Any]) -> dict[str, Value]:
    """Numbers, booleans and texts at the first level of a config, without the private ones."""
    kept = {
        name: value
        for name, value in config.items()
        if isinstance(value, str | int | float) and not name.startswith("_")
    }
    return plain_values(kept)


def read_model_card(path: Path) -> dict[str, Any]:
    """Reads the metadata of a model card, with YAML's safe loader.

    Args:
        path: A README.md.

    Returns:
        The object in the YAML between the first two lines `---`; empty if there is none.

    Raises:
        ZooError: The file or its YAML cannot be read, or PyYAML is not installed.
    """
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise ZooError(f"{path}: a model card of {path.stat().st_size} bytes, expected at most {_MOST_BYTES}")
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
        raise ZooError(f"{path}: expected names and values at its top, found a {type(values).__name__}")
    return values


def card_dataset(card: Mapping[str, Any]) -> str | None:
    """Returns the data set a card names for training, or else for measuring; several are joined by commas."""
    trained = _joined(card.get("datasets"))
    if trained:
        return trained
    measured = (_text(dataset.get("type")) or _text(dataset.get("name")) for dataset, _ in _results(card))
    return next((name for name in measured if name), None)


def card_properties(card: Mapping[str, Any]) -> dict[str, Value]:
    """Returns the facts that a card states about a network: measured values, license, base model and tags.

    A metric is named after its type: "Accuracy" becomes `accuracy`, or `train_accuracy` if it was measured on the split
    "train". If the same metric follows for another data set, `_on_` and the data set are added to its name. Percentages
    become fractions, and so do values above 1 of metrics that are fractions by nature, such as accuracy.

    Args:
        card: Metadata from `read_model_card`.

    Returns:
        Values of a row by column.

    Example:
        >>> metric = {"type": "accuracy", "value": 91.5}
        >>> card_properties({"license": "mit", "model-index": [{"results": [{"metrics": [metric]}]}]})
        {'license': 'mit', 'accuracy': 0.915}
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
            is_taken = name in (*properties, *RESERVED, *_ABOUT) or name.startswith(HYPERPARAMETER_PREFIX)
            if not is_taken:
                properties[name] = value
                break
    return properties


def _results(card: Mapping[str, Any]) -> Iterator[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    """Yields data set and metric of every measurement; anything not of the specified form is ignored."""
    for model in _mappings(card.get("model-index")):
        for result in _mappings(model.get("results")):
            dataset = result.get("dataset")
            for metric in _mappings(result.get("metrics")):
                yield dataset if isinstance(dataset, Mapping) else {}, metric


def _mappings(values: Any) -> list[Mapping[str, Any]]:
    return [v for v in values if isinstance(v, Mapping)] if isinstance(values, list) else []


def _text(value: Any) -> str | None:
    """Returns a scalar as text. Containers are refused, because a few bytes of YAML can expand to gigabytes."""
    return str(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else None


def _joined(value: Any) -> str | None:
    values = value if isinstance(value, list) else [value]
    return ",".join(filter(None, (_text(v) for v in values))) or None


def _clean(name: str) -> str:
    return re.sub(r"[^0-9a-z]+", "_", name.lower()).strip("_")


def _number(value: Any, *, is_fraction: bool) -> float | None:
    """Returns the value of a metric; "91.3%", and 91.3 if the metric is a fraction by nature, become 0.913."""
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
