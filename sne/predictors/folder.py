"""A predictor on disk: config.json, model.safetensors, metrics.json."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from sne.encoders import NetworkEncoder
from sne.errors import PredictorError
from sne.predictors.forest import Forest
from sne.predictors.heads import PropertyHeads
from sne.predictors.member import Member
from sne.predictors.predictor import Predictor
from sne.predictors.properties import Property
from sne.work import write_atomically

FORMAT = 2
"""2: members may have forests."""
MAX_MEMBERS = 1000
CONFIG, MODEL, METRICS = "config.json", "model.safetensors", "metrics.json"


def save_predictor(predictor: Predictor, folder: Path) -> None:
    """Writes a predictor folder; `Predictor.save` is the front door. Inverse: `load_predictor`."""
    first = predictor.members[0]
    assert isinstance(first, Member)
    config = {
        "format": FORMAT,
        "encoder": {"name": type(first.encoder).__name__, "settings": first.encoder.settings()},
        "heads": first.heads.settings(),
        "members": len(predictor.members),
        "properties": [
            {**prop.to_json(), "half_width": predictor.half_widths.get(prop.name)} for prop in predictor.properties
        ],
        "training": predictor.record,
    }
    forests = [[forest.settings() for forest in _forests(member)] for member in predictor.members]
    if any(forests):
        config["forests"] = forests
    state = predictor.members.state_dict()
    tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in state.items()}
    folder.mkdir(parents=True, exist_ok=True)
    # config.json is gone while the others change, so that a crash leaves no mixture that loads
    (folder / CONFIG).unlink(missing_ok=True)
    write_atomically(folder / MODEL, save(tensors))
    write_atomically(folder / METRICS, _to_bytes(predictor.metrics))
    write_atomically(folder / CONFIG, _to_bytes(config))


def load_predictor(folder: Path, *, encoders: Mapping[str, type[NetworkEncoder]] | None = None) -> Predictor:
    """Reads a predictor folder; `Predictor.load` is the front door. Inverse: `save_predictor`."""
    if not folder.is_dir():
        raise PredictorError(f"{folder}: no such predictor folder")
    for name in (CONFIG, MODEL, METRICS):
        if not (folder / name).is_file():
            raise PredictorError(f"{folder}: not a predictor, {name} is missing")
    config, metrics = _read_json(folder / CONFIG), _read_json(folder / METRICS)
    version = config.get("format")
    if not isinstance(version, int) or version < 1:
        raise PredictorError(f"{folder / CONFIG}: format is {version!r}, expected 1 to {FORMAT}")
    if version > FORMAT:
        raise PredictorError(
            f"{folder / CONFIG}: written by a newer sne (format {version}, this one reads {FORMAT}): upgrade"
        )
    try:
        properties = [Property.from_json(values) for values in config["properties"]]
        half_widths = {str(v["name"]): _half_width(v.get("half_width")) for v in config["properties"]}
        name, settings = str(config["encoder"]["name"]), config["encoder"]["settings"]
        num_members, heads = int(config["members"]), config["heads"]
        forests = list(config.get("forests") or [[]] * num_members)
        record = dict(config.get("training", {}))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise PredictorError(f"{folder / CONFIG}: damaged, {type(error).__name__}: {error}") from None
    if len(forests) != num_members:
        raise PredictorError(f"{folder / CONFIG}: {num_members} members, forests of {len(forests)}")
    members = _build(folder, _encoder_class(folder, name, encoders), settings, heads, properties, forests)
    predictor = Predictor(members, half_widths=half_widths, record=record, metrics=metrics)
    predictor.members.load_state_dict(_read_tensors(folder / MODEL, predictor.members.state_dict()))
    try:
        for forest in _forests(predictor.members):
            forest.check()
    except ValueError as error:
        raise PredictorError(f"{folder / MODEL}: {error}") from None
    return predictor


def _forests(module: nn.Module) -> list[Forest]:
    return [forest for forest in module.modules() if isinstance(forest, Forest)]


def _encoder_class(
    folder: Path, name: str, encoders: Mapping[str, type[NetworkEncoder]] | None
) -> type[NetworkEncoder]:
    if encoders and name in encoders:
        return encoders[name]
    from sne.encoders import ENCODERS

    known = {**ENCODERS, **(encoders or {})}
    if name not in known:
        raise PredictorError(f"{folder / CONFIG}: unknown encoder {name!r}, expected one of {', '.join(sorted(known))}")
    return known[name]


def _build(
    folder: Path,
    encoder: type[NetworkEncoder],
    settings: Any,  # as found in the file
    heads: Any,
    properties: list[Property],
    forests: list[Any],  # of each member, the settings of its forests
) -> list[Member]:
    if not 1 <= len(forests) <= MAX_MEMBERS or not properties:
        raise PredictorError(f"{folder / CONFIG}: {len(forests)} members, {len(properties)} properties")
    try:
        with torch.random.fork_rng(devices=[]):  # initial values are drawn, then overwritten
            return [
                Member(e, PropertyHeads(e.dim, properties, **heads), [Forest(**trees) for trees in own])
                for e, own in ((encoder(**settings), own) for own in forests)
            ]
    except (TypeError, ValueError, RuntimeError) as error:
        raise PredictorError(f"{folder / CONFIG}: these settings build no predictor: {error}") from None


def _half_width(value: Any) -> float | None:
    if value is None:
        return None
    width = float(value)
    if not 0 <= width < float("inf"):
        raise ValueError(f"half_width is {value}, expected 0 or more")
    return width


def _read_tensors(path: Path, expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
    try:
        tensors = load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise PredictorError(f"{path}: not a readable safetensors file: {error}") from None
    missing, extra = sorted(expected.keys() - tensors.keys()), sorted(tensors.keys() - expected.keys())
    if missing or extra:
        first = f"{missing[0]} is missing" if missing else f"{extra[0]} is not expected"
        num = len(missing) + len(extra)
        raise PredictorError(f"{path}: does not fit config.json: {first} ({num} such tensors)")
    for name, tensor in tensors.items():
        if tensor.shape != expected[name].shape:
            want, got = tuple(expected[name].shape), tuple(tensor.shape)
            raise PredictorError(f"{path}: {name} has shape {got}, config.json asks for {want}")
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise PredictorError(f"{path}: {name} holds nan or infinite values")
    return tensors


def _read_json(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise PredictorError(f"{path}: not readable as JSON: {error}") from None
    if not isinstance(values, dict):
        raise PredictorError(f"{path}: holds a {type(values).__name__}, expected a JSON object")
    return values


def _to_bytes(values: Mapping[str, Any]) -> bytes:
    return (json.dumps(values, indent=1, allow_nan=False) + "\n").encode()
