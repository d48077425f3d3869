"""`NetworkEncoder`: networks become vectors inside a pipeline of scikit-learn."""

from os import PathLike
from typing import Any, final

import numpy as np
from jaxtyping import Float
from sklearn.base import BaseEstimator, TransformerMixin

from sne import encoders
from sne.errors import PredictorError
from sne.predictors import Predictor
from sne.sklearn.rows import RowReader, Vectors
from sne.sklearn.sources import find_sources


@final
class NetworkEncoder(TransformerMixin, BaseEstimator):
    """Transforms networks into vectors, one row per network.

    It learns nothing, so `fit` may be left out. Rows of files are kept in memory as long as the files do not change,
    and cross-validation reads each file once per process. What is done is that of `sne.encode`.

    Args:
        encoder: Name of a packaged predictor, folder of a predictor, a `sne.Predictor`, or an encoder
            (`sne.NetworkEncoder`).
        vectors: "embedding": the embeddings of the predictor's experts, as `sne.encode` gives them. "description": the
            named numbers that the experts on descriptions read, for models that choose among features.
        batch_size: Number of networks that are read at a time; it changes speed and memory only.
        budget: Largest number of weights that are read of a network; None for all.

    Example:
        >>> import torch
        >>> networks = [torch.nn.Linear(4, 4), torch.nn.Linear(9, 1)]
        >>> NetworkEncoder(vectors="description").fit_transform(networks).shape
        (2, 2008)
    """

    def __init__(
        self,
        encoder: str | PathLike[str] | Predictor | encoders.NetworkEncoder = "default",
        *,
        vectors: Vectors = "embedding",
        batch_size: int = 64,
        budget: int | None = None,
    ):
        self.encoder = encoder
        self.vectors = vectors
        self.batch_size = batch_size
        self.budget = budget

    def fit(self, X: Any, y: Any = None) -> "NetworkEncoder":
        """Checks the parameters and the type of X; no file is read.

        Args:
            X: Paths, modules, state dicts or networks, one per row: a list, an array, a series, or a table with one
                column. A folder that holds one network is a path, too.
            y: Not used.

        Raises:
            PredictorError: X holds something else, or there is no such encoder.
        """
        self._reader()
        self._sources(X)
        return self

    def transform(self, X: Any) -> Float[np.ndarray, "networks features"]:
        """Encodes networks.

        Args:
            X: As for `fit`.

        Returns:
            float32, one row per network, in order; a table with named columns after `set_output`.

        Raises:
            sne.CheckpointError: A network cannot be read.
            PredictorError: X holds something else, or a path stands for several networks.
        """
        sources = self._sources(X)
        return self._reader().read(sources)

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Returns the names of the columns: those of the description, or "embedding0" and so on.

        Args:
            input_features: Not used.
        """
        return np.array(self._reader().names, dtype=object)

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array, tags.input_tags.one_d_array, tags.input_tags.string = False, True, True
        tags.requires_fit, tags.no_validation = False, True
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags

    def _reader(self) -> RowReader:
        return RowReader(self.encoder, self.vectors, batch_size=self.batch_size, budget=self.budget)

    @staticmethod
    def _sources(X: Any) -> Any:
        sources = find_sources(X)
        if sources is None:
            raise PredictorError(
                f"X is a {type(X).__name__} without networks, expected paths, modules or networks, one per row"
            )
        return sources
