"""Predictors for the tests of executors, in a module that workers can import."""

import os
import signal
import time
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from tiny import TinyEncoder, mlp_state

from sne.predictors import Predictor, Property
from sne.predictors.experts import EncoderWithHeads, NeuralExpert, PropertyHeads

PROPERTIES = (Property("accuracy", "fraction"), Property("activation", "class", ("relu", "tanh")))


class KillingEncoder(TinyEncoder):
    """Kills its process at networks whose name holds "killer"."""

    def prepare(self, networks, **limits):
        if any("killer" in network.name for network in networks):
            os.kill(os.getpid(), signal.SIGKILL)
        return super().prepare(networks, **limits)


class WaitingEncoder(TinyEncoder):
    """Notes its process at the first network of each call, beside its file, and waits there for a file "go"."""

    def prepare(self, networks, **limits):
        folder = Path(networks[0].name).parent
        (folder / f"begin-{os.getppid()}-{time.time_ns()}").touch()
        while not (folder / "go").exists():
            time.sleep(0.02)
        return super().prepare(networks, **limits)


def make_predictor(encoder: type[TinyEncoder] = TinyEncoder, seed: int = 0) -> Predictor:
    torch.manual_seed(seed)
    experts = [
        NeuralExpert(EncoderWithHeads(TinyEncoder(dim=5), PropertyHeads(5, PROPERTIES, hidden=3))) for _ in range(2)
    ]
    return Predictor(encoder(dim=5), PROPERTIES, experts, np.full((2, len(PROPERTIES)), 0.5))


def write_checkpoints(folder: Path, count: int) -> list[str]:
    """Small networks of two layouts in turn."""
    folder.mkdir(exist_ok=True)
    generator = torch.Generator().manual_seed(5)
    paths = [str(folder / f"net{number}.safetensors") for number in range(count)]
    for number, path in enumerate(paths):
        save_file(mlp_state(generator, width=4 + number % 2, gain=0.2 + number / count), path)
    return paths
