"""`sne.encode`: networks to vectors in one call, and the device on which that happens."""

from collections.abc import Callable, Iterable, Iterator
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np
import torch
from jaxtyping import Float

from sne.encoders import Limits, NetworkEncoder
from sne.errors import PredictorError
from sne.networks import Network
from sne.predictors.frames import FrameKind, check_frame_kind, embedding_names, to_frame
from sne.predictors.predictor import Predictor
from sne.predictors.sources import OnError, Source, blocks, expand_sources, read_sources, report_doubts, without_bad
from sne.predictors.spreading import spread
from sne.work import Executor

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa


@overload
def encode(
    sources: Source | Iterable[Source],
    *,
    encoder: Predictor | NetworkEncoder | str | Path | None = None,
    batch_size: int = 64,
    errors: OnError = "raise",
    memory: int | None = None,
    budget: int | None = None,
    executor: Executor | None = None,
    as_frame: None = None,
) -> np.ndarray: ...


@overload
def encode(
    sources: Source | Iterable[Source],
    *,
    encoder: Predictor | NetworkEncoder | str | Path | None = None,
    batch_size: int = 64,
    errors: OnError = "raise",
    memory: int | None = None,
    budget: int | None = None,
    executor: Executor | None = None,
    as_frame: Literal["pandas"],
) -> "pd.DataFrame": ...


@overload
def encode(
    sources: Source | Iterable[Source],
    *,
    encoder: Predictor | NetworkEncoder | str | Path | None = None,
    batch_size: int = 64,
    errors: OnError = "raise",
    memory: int | None = None,
    budget: int | None = None,
    executor: Executor | None = None,
    as_frame: Literal["pyarrow"],
) -> "pa.Table": ...


def encode(
    sources: Source | Iterable[Source],
    *,
    encoder: Predictor | NetworkEncoder | str | Path | None = None,
    batch_size: int = 64,
    errors: OnError = "raise",
    memory: int | None = None,
    budget: int | None = None,
    executor: Executor | None = None,
    as_frame: FrameKind | None = None,
) -> Any:
    """Encodes networks as vectors.

    Args:
        sources: One source or several: whatever `sne.read_network` takes, globs, folders of checkpoints, or networks
            that were read before.
        encoder: A predictor, the name of a packaged predictor or the folder of one, or an encoder. None: the packaged
            predictor, see `Predictor.from_pretrained`.
        batch_size: Number of networks per forward pass; it changes speed and memory only.
        errors: As for `Predictor.predict`.
        memory: As for `Predictor.predict`.
        budget: As for `Predictor.predict`.
        executor: As for `Predictor.predict`.
        as_frame: "pandas" for a table with one column per number, indexed by the names of the networks (extra
            `pandas`); "pyarrow" for the columns path and embedding, as in the file that `sne encode` writes. None for
            an array.

    Returns:
        float32 [networks, dim], rows in the order given; a `pandas.DataFrame` or a `pyarrow.Table` with `as_frame`.

    Raises:
        sne.CheckpointError: A source cannot be read whole.
        PredictorError: The folder is no predictor, or pandas is not installed.

    Example:
        >>> import sne
        >>> import torch
        >>> sne.encode([torch.nn.Linear(4, 4), torch.nn.Linear(9, 1)]).shape[0]
        2
    """
    if encoder is None:
        encoder = _packaged_predictor()
    elif isinstance(encoder, str | Path):
        encoder = Predictor.from_pretrained(encoder)
    if as_frame is not None:
        check_frame_kind(as_frame)
    if isinstance(encoder, Predictor):
        predicted = encoder.predict_blocks(
            sources, batch_size=batch_size, errors=errors, memory=memory, budget=budget, executor=executor
        )
        found = [(block.names, block.embedding) for block in predicted]
    else:
        work = partial(_encode_blocks, encoder=encoder, batch_size=batch_size, limits=Limits(memory, budget))
        if executor is None:
            found = list(work(sources, errors=errors))
        else:
            found = list(spread(work, expand_sources(sources), executor, part_size=batch_size, errors=errors))
    rows = np.concatenate([np.zeros((0, encoder.dim), dtype=np.float32), *(rows for _, rows in found)])
    if as_frame is None:
        return rows
    return to_frame([name for names, _ in found for name in names], rows, embedding_names(encoder), as_frame)


@cache
def _packaged_predictor() -> Predictor:
    return Predictor.from_pretrained()


def _encode_blocks(
    sources: Source | Iterable[Source],
    *,
    encoder: NetworkEncoder,
    batch_size: int,
    limits: Limits,
    errors: OnError,
    tell: Callable[[str, list[str]], None] | None = None,
) -> Iterator[tuple[tuple[str, ...], Float[np.ndarray, "networks dim"]]]:
    """Encodes sources block by block, with an encoder that may be in training; names and rows of the networks."""
    if limits.memory is not None:
        limits.spare_memory()  # refuses a limit that this process exceeds already
    was_training = encoder.training
    encoder.eval()
    try:
        for block in blocks(read_sources(sources, errors=errors, tell=tell), batch_size):
            yield from _encode_block(encoder, block, limits, errors, tell)
    finally:
        encoder.train(was_training)


def _encode_block(
    encoder: NetworkEncoder,
    block: list[Network],
    limits: Limits,
    errors: OnError,
    tell: Callable[[str, list[str]], None] | None,
) -> Iterator[tuple[tuple[str, ...], Float[np.ndarray, "networks dim"]]]:
    """Encodes networks together; bad ones are taken out."""

    def compute(some: list[Network]) -> Float[np.ndarray, "networks dim"]:
        with torch.inference_mode():
            batch = encoder.collate(encoder.prepare(some, limits=limits)).to(next(encoder.parameters()).device)
            return encoder(batch).float().cpu().numpy()

    for good, rows in without_bad(block, compute, errors):
        for network in good:
            if limits.budget and (num_read := encoder.num_read(network, limits)) < network.num_weights:
                report_doubts(
                    tell, network.name, [f"a sample of {num_read:,} of {network.num_weights:,} weights was read"]
                )
        yield tuple(network.name for network in good), rows


def choose_device(name: str) -> torch.device:
    """Returns the device of that name; "auto" is CUDA where there is a CUDA device, else the CPU.

    Raises:
        PredictorError: The name is unknown, or CUDA is asked for without a CUDA device.
    """
    if name not in ("auto", "cpu", "cuda"):
        raise PredictorError(f"device {name!r}, expected auto, cpu or cuda")
    if name == "cpu" or (name == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise PredictorError("device 'cuda': this torch finds no CUDA device; use cpu")
    return torch.device("cuda", torch.cuda.current_device())
