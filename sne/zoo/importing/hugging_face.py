"""Importing models as the Hugging Face hub lays them out."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from sne.zoo.errors import ZooError
from sne.zoo.importing.model_card import card_dataset, card_properties, read_model_card
from sne.zoo.importing.rows import Checkpoint, import_each, split_in
from sne.zoo.importing.values import plain_values, read_json_object
from sne.zoo.importing.weights import read_state
from sne.zoo.store.writing import Value
from sne.zoo.store.zoo import Zoo

_WEIGHTS = re.compile(r".+\.(safetensors|bin|pt|pth|ckpt|onnx)|.+\.(safetensors|bin)\.index\.json")
_DEEPEST = 3  # folders between the source and a model: organisation, name


def import_hugging_face(
    source: Path | str,
    out: Path | str,
    *,
    dataset: str | None = None,
    skip_bad: bool = False,
    storage: str = "float32",
    report: Callable[[str], None] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Zoo:
    """Imports folders of models, one a network, with `config.json`, weights and model card.

    Weights are `model.safetensors`, its shards with their index, or `pytorch_model.bin`; what `read_network` reads
    in a folder. The card is `README.md` with YAML at its top: the metrics of `model-index` become properties (see
    `card_properties`), and so do license, base model and tags; `datasets` names the data set. The family is
    `model_type` of `config.json`, or its first architecture; its numbers, booleans and texts are hyper-parameters.
    A run is the model's folder. Config and card may be missing; reading a card takes the extra `cards`.

    The cache of the hub is read as well: `models--ORG--NAME/snapshots/HASH/`, of which the one that `refs/main`
    names is taken, or every one where there is no such file; the run is `ORG/NAME`.

    Source: huggingface.co/docs/hub/model-cards and the specification `modelcard.md` in github.com/huggingface/hub-docs.
    Differs: percentages are turned to fractions, see `card_properties`.

    Args:
        source: a folder with such folders in it or below (NAME/ or ORG/NAME/), one of them, or a hub cache.
        out: the new zoo's folder.
        dataset: what the networks were trained on, where the card does not say.
        skip_bad: leave out models that cannot be read, in place of an error.
        storage: as `ZooWriter` takes it.
        report: called with one line for each model that cannot be imported.
        progress: called with models done and models in all.

    Raises:
        ZooError: there are no such folders, or a model cannot be imported; no zoo is written then.
    """
    source = Path(source)
    if not source.is_dir():
        raise ZooError(f"{source}: no such folder")
    models = list(_models(source, source))
    if not models:
        raise ZooError(f"{source}: no folder with config.json or weights in it")

    def read(item: tuple[str, str, Path]) -> Checkpoint:
        id, run, folder = item
        config = read_json_object(folder / "config.json") if (folder / "config.json").is_file() else {}
        card = read_model_card(folder / "README.md") if (folder / "README.md").is_file() else {}
        return Checkpoint(
            id=id,
            run=run,
            family=_family(config),
            dataset=card_dataset(card) or dataset or "unknown",
            step=0,
            state=read_state(folder),
            properties=card_properties(card),
            hyperparameters=_settings(config),
        )

    return import_each(
        models,
        read,
        out,
        source=source,
        storage=storage,
        split=split_in(source),
        skip_bad=skip_bad,
        report=report,
        progress=progress,
    )


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


def _settings(config: dict[str, Any]) -> dict[str, Value]:
    """Numbers, booleans and texts of a config's first level; what begins with an underscore is not the model's."""
    kept = {
        name: value
        for name, value in config.items()
        if isinstance(value, str | int | float) and not name.startswith("_")
    }
    return plain_values(kept)
