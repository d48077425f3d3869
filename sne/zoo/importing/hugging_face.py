"""Importing models as the Hugging Face hub lays them out."""

import re
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from sne.errors import ZooError
from sne.symmetry import SymmetryError
from sne.symmetry.by_name.known import Known, known
from sne.zoo.importing.contract import Checkpoint, Found, Tell, split_in
from sne.zoo.importing.model_card import card_dataset, card_properties, read_model_card
from sne.zoo.importing.symmetries import SymmetriesByName
from sne.zoo.importing.values import plain_values, read_json_object
from sne.zoo.importing.weights import read_weights
from sne.zoo.store.writing import Value

_WEIGHTS = re.compile(r".+\.(safetensors|bin|pt|pth|ckpt|onnx)|.+\.(safetensors|bin)\.index\.json")
_HEAD = re.compile(r"LMHead|DoubleHeads|For(CausalLM|MaskedLM|ConditionalGeneration|PreTraining)")
_DEEPEST = 3  # folders between the source and a model: organisation, name


def find_hugging_face(source: Path, dataset: str | None, tell: Tell) -> Found:
    """Finds folders of models, one a network, with `config.json`, weights and model card.

    They stand in the source or below it (NAME/ or ORG/NAME/), or the source is one of them, or a hub cache.

    Weights are `model.safetensors`, its shards with their index, or `pytorch_model.bin`; what `read_network` reads
    in a folder. The card is `README.md` with YAML at its top: the metrics of `model-index` become properties (see
    `card_properties`), and so do license, base model and tags; `datasets` names the data set. The family is
    `model_type` of `config.json`, or its first architecture; its numbers, booleans and texts are hyper-parameters.
    A run is the model's folder. Config and card may be missing; reading a card takes the extra `cards`. Of the
    symmetries, the config tells the number of heads and whether the word embeddings are the output layer too.

    The cache of the hub is read as well: `models--ORG--NAME/snapshots/HASH/`, of which the one that `refs/main`
    names is taken, or every one where there is no such file; the run is `ORG/NAME`.

    Source: huggingface.co/docs/hub/model-cards and the specification `modelcard.md` in github.com/huggingface/hub-docs.
    Differs: percentages are turned to fractions, see `card_properties`.
    """
    if not source.is_dir():
        raise ZooError(f"{source}: no such folder")
    models = list(_models(source, source))
    if not models:
        raise ZooError(f"{source}: no folder with config.json or weights in it")
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
    """What a config tells of symmetries; without a head, tied word embeddings are no output."""
    try:
        told = known(None, config, None, False)
    except SymmetryError as error:
        tell(f"{path}: {error}; kept without the symmetries of attention")
        told = Known()
    architectures = config.get("architectures")
    names = architectures if isinstance(architectures, list) else []
    has_head = any(isinstance(name, str) and _HEAD.search(name) for name in names)
    return replace(told, is_tied=has_head and config.get("tie_word_embeddings") is True)


def _settings(config: dict[str, Any]) -> dict[str, Value]:
    """Numbers, booleans and texts of a config's first level; what begins with an underscore is not the model's."""
    kept = {
        name: value
        for name, value in config.items()
        if isinstance(value, str | int | float) and not name.startswith("_")
    }
    return plain_values(kept)
