"""Vectors of networks for estimators; those of files are kept in memory while the files do not change."""

import json
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from functools import lru_cache
from os import PathLike
from pathlib import Path
from typing import Literal, TypeAlias, final

import numpy as np
from jaxtyping import Float

from sne.encoders import Limits, NetworkEncoder
from sne.errors import PredictorError
from sne.networks import Network
from sne.predictors import Predictor, Source, blocks, encode, read_sources
from sne.predictors.experts import prepare
from sne.predictors.frames import embedding_names
from sne.predictors.pretrained import pretrained_folder
from sne.predictors.stamps import stamp
from sne.sklearn.sources import single_path

Vectors: TypeAlias = Literal["embedding", "description"]
"""Which vectors a network becomes, see `RowReader`."""

MOST_BYTES = 1 << 27
"""Number of bytes of rows that are kept in memory: those of 16,000 networks with the packaged predictor."""


@final
class RowReader:
    """Turns networks into rows of numbers.

    Args:
        encoder: Name of a packaged predictor, folder of a predictor, a predictor, or an encoder.
        vectors: "embedding" for what `sne.encode` gives; "description" for the named numbers that the experts read.
        batch_size: Number of networks that are read at a time; it changes speed and memory only.
        budget: Largest number of weights that are read of a network, see `sne.Predictor.predict`; None for all.

    Raises:
        PredictorError: There is no such predictor, or it has no such vectors.
    """

    def __init__(
        self,
        encoder: str | PathLike[str] | Predictor | NetworkEncoder,
        vectors: str,
        *,
        batch_size: int = 64,
        budget: int | None = None,
    ) -> None:
        if vectors not in ("embedding", "description"):
            raise PredictorError(f"vectors is {vectors!r}, expected 'embedding' or 'description'")
        self._batch_size, self._limits = batch_size, Limits(budget=budget)
        self._predictor = None if isinstance(encoder, NetworkEncoder) else find_predictor(encoder)
        self._encoder = encoder if isinstance(encoder, NetworkEncoder) else self._predictor.encoder  # type: ignore
        if vectors == "embedding" and self._predictor is not None and self._predictor.embeds_description:
            vectors = "description"
        if vectors == "description" and not self._encoder.summary_names:
            raise PredictorError(f"{type(self._encoder).__name__} gives no description of a network")
        self._vectors = vectors

    @property
    def names(self) -> list[str]:
        """Names of the numbers of a row."""
        if self._vectors == "description":
            return list(self._encoder.summary_names)
        return embedding_names(self._encoder if self._predictor is None else self._predictor)

    def read(self, sources: Sequence[Source]) -> Float[np.ndarray, "networks features"]:
        """Reads networks.

        Args:
            sources: The networks, each a row.

        Returns:
            float32, rows in the order given.

        Raises:
            sne.CheckpointError: A network cannot be read.
            PredictorError: A path stands for several networks.
        """
        rows: list[np.ndarray | None] = [None] * len(sources)
        places: dict[object, list[int]] = {}
        how = self._how()
        for place, source in enumerate(sources):
            key = None if how is None else _key(source, how)
            rows[place] = _MEMORY.get(key)
            if rows[place] is None:
                places.setdefault(key or place, []).append(place)
        todo = [single_path(str(sources[at[0]]), at[0]) if isinstance(sources[at[0]], str | PathLike)
                else sources[at[0]] for at in places.values()]  # fmt: skip
        for (key, at), row in zip(places.items(), self._compute(todo), strict=True):
            if isinstance(key, tuple):
                _MEMORY.put(key, row)
            for place in at:
                rows[place] = row
        return np.stack([np.zeros(len(self.names), dtype=np.float32) if row is None else row for row in rows])

    def _how(self) -> tuple[str, ...] | None:
        """Returns what the row of a file depends on apart from the file; None where that may change unnoticed."""
        if self._vectors == "description":
            name = json.dumps([type(self._encoder).__name__, self._encoder.settings()])
        elif self._predictor is None:
            return None  # the parameters of an encoder may change
        else:
            name = self._predictor.digest()
        return self._vectors, name, str(self._limits.budget)

    def _compute(self, sources: Sequence[Source]) -> Iterator[Float[np.ndarray, " features"]]:
        """Yields the rows of networks, in order."""
        networks = (network for source in sources for network in read_sources([source]))
        if self._vectors == "description":
            for block in blocks(networks, self._batch_size):
                yield from self._describe(block)
        elif self._predictor is not None:
            found = self._predictor.predict_blocks(networks, batch_size=self._batch_size, budget=self._limits.budget)
            yield from (row for block in found for row in block.embedding)
        else:
            yield from encode(networks, encoder=self._encoder, batch_size=self._batch_size, budget=self._limits.budget)

    def _describe(self, block: list[Network]) -> Float[np.ndarray, "networks features"]:
        budget = self._limits.budget
        is_small = budget is None or all(network.num_weights <= budget for network in block)
        limits = Limits() if is_small else self._limits
        description = prepare(self._encoder, block, with_description=True, limits=limits).description
        assert description is not None, "the encoder has a description"
        return description.float().numpy()


def _key(source: Source, how: tuple[str, ...]) -> tuple[str, ...] | None:
    """Returns what the row of a file depends on; None for networks in memory, which may change unnoticed."""
    if not isinstance(source, str | PathLike) or not (mark := stamp(source)):
        return None
    return str(Path(source).absolute()), mark, *how


def find_predictor(name: str | PathLike[str] | Predictor) -> Predictor:
    """Returns a predictor by name or folder; the last ones stay loaded as long as their files do not change.

    Raises:
        PredictorError: There is no such predictor.
    """
    if isinstance(name, Predictor):
        return name
    folder = pretrained_folder(name if isinstance(name, str) else Path(name))
    return _load(str(folder.absolute()), stamp(folder))


@lru_cache(maxsize=2)
def _load(folder: str, mark: str) -> Predictor:
    return Predictor.load(folder)


class _RowMemory:
    """Rows by what they depend on; those that were not used for longest are dropped first."""

    def __init__(self) -> None:
        self._rows: OrderedDict[tuple[str, ...], np.ndarray] = OrderedDict()
        self._lock = threading.Lock()
        self._size = 0

    def get(self, key: tuple[str, ...] | None) -> np.ndarray | None:
        with self._lock:
            if key is None or key not in self._rows:
                return None
            self._rows.move_to_end(key)
            return self._rows[key]

    def put(self, key: tuple[str, ...], row: np.ndarray) -> None:
        with self._lock:
            old = self._rows.pop(key, None)
            self._size += row.nbytes - (0 if old is None else old.nbytes)
            self._rows[key] = row.copy()  # rows are views of their block
            while self._size > MOST_BYTES:
                self._size -= self._rows.popitem(last=False)[1].nbytes


_MEMORY = _RowMemory()
