"""Where to compute."""

import torch

from sne.errors import PredictorError


def choose_device(name: str) -> torch.device:
    """The device of that name; "auto" is CUDA where there is one, else the CPU.

    Raises:
        PredictorError: an unknown name, or CUDA without a CUDA device.
    """
    if name not in ("auto", "cpu", "cuda"):
        raise PredictorError(f"device {name!r}, expected auto, cpu or cuda")
    if name == "cpu" or (name == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise PredictorError("device 'cuda': this torch finds no CUDA device; use cpu")
    return torch.device("cuda", torch.cuda.current_device())
