"""From the parts of a predictor to the files of its folder, and back."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from sne.encoders import NetworkEncoder
from sne.errors import PredictorError
from sne.predictors.domain import Domain
from sne.predictors.experts import EXPERTS, Expert, without_memory
from sne.predictors.folder import CONFIG, DOMAIN, MODEL, PredictorFiles, check_settings
from sne.predictors.intervals import Interval
from sne.predictors.properties import Property
from sne.zoo import Split

_MOST_REASON = 500  # characters; torch's messages about arguments have many lines


@contextmanager
def damage_in_one_line(folder: Path) -> Iterator[None]:
    """Turns errors that damaged files of a predictor cause into a `PredictorError` of one line.

    Args:
        folder: Folder of the predictor.
    """
    try:
        yield
    except (LookupError, TypeError, ValueError, AttributeError, RuntimeError, ArithmeticError) as error:
        reason = str(error) if isinstance(error, PredictorError) else f"damaged, {type(error).__name__}: {error}"
        line = " ".join(reason.split())[:_MOST_REASON]
        raise PredictorError(f"{folder}: {CONFIG} and {MODEL} make no predictor: {line}") from None


HALVED = ("outputs",)
"""Tensors of experts other than neural ones that bear half precision: leaves of trees. Thresholds and units do not."""

HALVED_OF_DOMAIN = ("axes", "points", "first")
"""Tensors of the known domain that bear half precision."""

LARGEST_HALF = 6e4
"""Bound on the magnitude of numbers that are converted to half precision."""


def build_parts(files: PredictorFiles, encoders: Mapping[str, type[NetworkEncoder]]) -> dict[str, Any]:
    """Builds the parts of a predictor from the files of its folder, which may be damaged.

    Args:
        files: Contents of the folder.
        encoders: Encoder classes by name.

    Returns:
        The arguments of `Predictor`.

    Raises:
        PredictorError: Names, settings and tensors do not fit each other. Damaged files cause other errors, too.
    """
    config = files.config
    properties = [Property.from_json(values) for values in config["properties"]]
    if not properties or not config["experts"]:
        raise PredictorError(f"{len(properties)} properties and {len(config['experts'])} experts")
    if len({prop.name for prop in properties}) < len(properties):
        raise PredictorError(f"properties {', '.join(prop.name for prop in properties)}, expected different names")
    intervals, outside = (
        {prop.name: _interval(values[key], prop) for prop, values in zip(properties, config["properties"], strict=True)}
        for key in ("interval", "interval_outside")
    )
    name = str(config["encoder"]["name"])
    if name not in encoders:
        raise PredictorError(f"unknown encoder {name!r}, expected one of {', '.join(sorted(encoders))}")
    settings = dict(config["encoder"]["settings"])
    check_settings(encoders[name], settings)

    def make_encoder() -> NetworkEncoder:
        return encoders[name](**settings)

    tensors: dict[int, dict[str, Tensor]] = {}
    of_domain: dict[str, Tensor] = {}
    for key, tensor in files.tensors.items():
        number, _, rest = key.partition(".")
        (of_domain if number == DOMAIN else tensors.setdefault(int(number), {}))[rest] = tensor
    if tensors.keys() - set(range(len(config["experts"]))):
        raise PredictorError(f"{MODEL} holds experts {sorted(tensors)}, {CONFIG} names {len(config['experts'])}")
    reader = without_memory(make_encoder)  # reading uses no parameter
    for entry in config["experts"]:
        _check_description(reader, entry["settings"])
    experts = [
        _expert_class(str(entry["kind"])).from_state(
            make_encoder, properties, dict(entry["settings"]), tensors.get(number, {})
        )
        for number, entry in enumerate(config["experts"])
    ]
    weights, weights_outside = (
        np.array([entry[name] for entry in config["experts"]], dtype=np.float64)
        for name in ("weights", "weights_outside")
    )
    record = dict(config.get("training", {}))
    return {
        "encoder": reader,
        "properties": properties,
        "experts": experts,
        "weights": weights,
        "weights_outside": weights_outside,
        "intervals": intervals,
        "intervals_outside": outside,
        "domain": _domain(of_domain, experts),
        "split": files.split,
        "record": record,
        "metrics": files.metrics,
    }


def files_of(
    encoder: NetworkEncoder,
    properties: Sequence[Property],
    experts: Sequence[Expert],
    weights: Float[np.ndarray, "experts properties"],
    weights_outside: Float[np.ndarray, "experts properties"],
    *,
    intervals: Mapping[str, Interval],
    intervals_outside: Mapping[str, Interval],
    domain: Domain | None,
    split: Split | None,
    record: Mapping[str, Any],
    metrics: Mapping[str, Any],
) -> PredictorFiles:
    """Returns what the folder of a predictor holds of its parts. Inverse: `build_parts`."""
    names = {kind: name for name, kind in EXPERTS.items()}
    config = {
        "encoder": {"name": type(encoder).__name__, "settings": encoder.settings()},
        "properties": [
            {
                **prop.to_json(),
                "interval": _to_json(intervals.get(prop.name)),
                "interval_outside": _to_json(intervals_outside.get(prop.name)),
            }
            for prop in properties
        ],
        "experts": [
            {
                "kind": names[type(expert)],
                "settings": expert.settings(),
                "weights": inside.tolist(),
                "weights_outside": outside.tolist(),
            }
            for expert, inside, outside in zip(experts, weights, weights_outside, strict=True)
        ],
        "training": dict(record),
    }
    tensors = {f"{n}.{name}": t for n, expert in enumerate(experts) for name, t in expert.state().items()}
    if domain is not None:
        tensors |= {f"{DOMAIN}.{name}": tensor for name, tensor in domain.to_tensors().items()}
    return PredictorFiles(config, tensors, metrics, split)


def halved(files: PredictorFiles) -> PredictorFiles:
    """Converts what bears it to half precision: weights of neural experts, leaves of trees, points of the domain."""

    def bears_it(name: str, tensor: Tensor) -> bool:
        number, _, rest = name.partition(".")
        is_neural = number != DOMAIN and files.config["experts"][int(number)]["kind"] == "neural"
        is_large = tensor.dtype == torch.float32 and tensor.ndim > 1 and float(tensor.abs().max()) < LARGEST_HALF
        halved_names = HALVED_OF_DOMAIN if number == DOMAIN else HALVED
        return is_large and (is_neural or rest.rpartition(".")[2] in halved_names)

    tensors = {name: tensor.half() if bears_it(name, tensor) else tensor for name, tensor in files.tensors.items()}
    return replace(files, tensors=tensors)


def _to_json(interval: Interval | None) -> dict[str, float] | None:
    return None if interval is None else interval.to_json()


def _expert_class(kind: str) -> type[Expert]:
    if kind not in EXPERTS:
        raise PredictorError(f"unknown expert {kind!r}, expected one of {', '.join(EXPERTS)}")
    return EXPERTS[kind]


def _domain(tensors: Mapping[str, Tensor], experts: Sequence[Expert]) -> Domain | None:
    if not tensors:
        return None
    domain = Domain.from_tensors(tensors)
    lengths = {expert.num_features for expert in experts if expert.reads_description}
    if lengths - {domain.num_features}:
        raise PredictorError(f"the known domain has {domain.num_features} features, experts read {sorted(lengths)}")
    return domain


def _check_description(reader: NetworkEncoder, settings: Mapping[str, Any]) -> None:
    """Refuses an expert on descriptions of another length than the encoder gives."""
    came, expected = settings.get("num_features"), len(reader.summary_names)
    if came is not None and expected and came != expected:
        raise PredictorError(
            f"an expert reads descriptions of {came} numbers, the encoder gives {expected}: trained by another version "
            "of sne; use that version, or train again with sne train"
        )


def _interval(values: Any, prop: Property) -> Interval | None:
    return None if values is None else Interval.from_json(values, prop)
