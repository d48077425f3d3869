"""What is logged of a network while it trains, without changing anything about the training."""

import logging
import random
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import final

import numpy as np
import torch
from torch import nn

from sne.errors import PredictorError
from sne.health import Severity, Verdict, check
from sne.nn import in_float32
from sne.predictors import Prediction, Predictor, choose_device

BUDGET = 2_000_000
"""Number of weights that are read of a network for a prediction, so that large networks do not take longer."""

_LEVELS = {Verdict.GOOD: 0.0, Verdict.DOUBTFUL: 1.0, Verdict.BROKEN: 2.0}


@final
class Monitor:
    """Predicts properties of a network in training, and checks its health.

    The network, its gradients, its mode, its device and all random generators stay as they are. Weights are read as
    they are now, on the CPU; no data is passed through the network.

    Args:
        predictor: Name of a packaged predictor, folder of a predictor, or a `sne.Predictor`.
        properties: Names of the properties to predict, which have to be numbers; None for the first one.
        part: Path of the module that is read inside the one that is trained, such as "backbone"; "" for all of it.
        health: Whether `sne.check` is called, too, which reads all weights.
        budget: Largest number of weights that are read for a prediction; None for all.
        prefix: Begin of the names of all values.

    Raises:
        PredictorError: There is no such predictor, or it does not predict such a property.

    Example:
        >>> sorted(Monitor().read(nn.Sequential(nn.Linear(9, 16), nn.ReLU(), nn.Linear(16, 3))))[:4]
        ['sne/errors', 'sne/health', 'sne/in_domain', 'sne/p_value']
    """

    def __init__(
        self,
        predictor: str | PathLike[str] | Predictor = "default",
        *,
        properties: Sequence[str] | None = None,
        part: str = "",
        health: bool = True,
        budget: int | None = BUDGET,
        prefix: str = "sne/",
    ) -> None:
        if isinstance(predictor, Predictor):
            self._predictor = predictor
        else:
            with _nothing_changed():
                name = predictor if isinstance(predictor, str) else Path(predictor)
                self._predictor = Predictor.from_pretrained(name).to(choose_device("cpu"))
        numbers = [prop.name for prop in self._predictor.properties if prop.kind != "class"]
        self._properties = list(numbers[:1] if properties is None else properties)
        for name in self._properties:
            if self._predictor.find_property(name).kind == "class":
                raise PredictorError(f"property {name!r} is a class, expected a number: {', '.join(numbers)}")
        self._part, self._health, self._budget, self._prefix = part, health, budget, prefix
        self._said: set[str] = set()
        self.seconds = 0.0
        """Time that reading has taken so far."""

    def read(self, module: nn.Module) -> dict[str, float]:
        """Reads a network.

        Args:
            module: The module that is trained; what `torch.compile` and data parallelism put around it does not count.

        Returns:
            Values by name, after the prefix: for each property NAME, NAME_low and NAME_high (the 90% interval), where
            there is an interval; p_value and in_domain (1 or 0), where the predictor knows its domain; health (0 good,
            1 doubtful, 2 broken), errors and warnings (numbers of findings). What cannot be read is left out, and the
            reason is logged once as a warning: a training is never stopped.
        """
        started = time.monotonic()
        found: dict[str, float] = {}
        try:
            with _nothing_changed():
                network = self._find(module)
                if (reason := why_unread(module)) is not None:
                    raise PredictorError(reason)
                if self._health:
                    found |= self._check(network)
                found |= self._predict(network)
        except Exception as error:  # whatever it is, it must not end a training of days
            self._warn(error)
        self.seconds += time.monotonic() - started
        return {f"{self._prefix}{name}": value for name, value in found.items()}

    def _find(self, module: nn.Module) -> nn.Module:
        inner = unwrapped(module)
        try:
            return inner.get_submodule(self._part)
        except AttributeError:
            names = ", ".join(name for name, _ in inner.named_children())
            raise PredictorError(f"part {self._part!r}: no such module, expected one of {names}") from None

    def _check(self, network: nn.Module) -> dict[str, float]:
        try:
            report = check(network)
        except (ValueError, OSError) as error:
            self._warn(error)
            return {}
        errors, warnings = (
            float(sum(finding.severity == severity for finding in report.findings))
            for severity in (Severity.ERROR, Severity.WARNING)
        )
        if errors:
            first = report.findings[0]
            self._warn(f"the network is broken: {first.location}: {first.message}")
        return {"health": _LEVELS[report.verdict], "errors": errors, "warnings": warnings}

    def _predict(self, network: nn.Module) -> dict[str, float]:
        blocks = self._predictor.predict_blocks([network], budget=self._budget, tell=lambda name, reasons: None)
        predictions = {one.property: one for block in blocks for one in self._predictor.predictions(block)}
        return {
            name: value
            for wanted in self._properties
            for name, value in _values(predictions[wanted]).items()
            if value is not None
        }

    def _warn(self, reason: object) -> None:
        text = " ".join(str(reason).split())
        if text not in self._said:
            self._said.add(text)
            logging.getLogger(__name__).warning("%s", text)


def unwrapped(module: nn.Module) -> nn.Module:
    """Returns the network inside what `torch.compile` and data parallelism put around it."""
    while True:
        inner = getattr(module, "_orig_mod", None)
        if inner is None and type(module).__name__ in ("DistributedDataParallel", "DataParallel"):
            inner = module.module
        if not isinstance(inner, nn.Module):
            return module
        module = inner


def why_unread(module: nn.Module) -> str | None:
    """Returns why the weights of a module are not whole in this process; None if they are.

    Weights that are cut over processes (FSDP, tensor parallelism, DeepSpeed ZeRO 3) would have to be gathered by all
    processes together, which takes time and memory that a callback must not take.
    """
    is_cut = any(type(inner).__name__ == "FullyShardedDataParallel" for inner in module.modules()) or any(
        hasattr(parameter, "ds_id") or hasattr(parameter, "device_mesh") for parameter in module.parameters()
    )
    if is_cut:
        return "the weights are cut over processes and are not read; predict the saved checkpoints (sne watch)"
    if any(parameter.is_meta for parameter in module.parameters()):
        return "weights are on the meta device and have no values"
    return None


def _values(prediction: Prediction) -> dict[str, float | None]:
    name = prediction.property
    return {
        name: float(prediction.value),
        f"{name}_low": prediction.low,
        f"{name}_high": prediction.high,
        "p_value": prediction.p_value,
        "in_domain": None if prediction.in_domain is None else float(prediction.in_domain),
    }


@contextmanager
def _nothing_changed() -> Iterator[None]:
    """Restores the random generators of Python, NumPy and torch's CPU, and computes without gradients.

    The dtype, the device and the autocast of the training do not count meanwhile.
    """
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    try:
        with in_float32(), torch.no_grad(), torch.device("cpu"), torch.autocast("cpu", enabled=False):
            yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])
