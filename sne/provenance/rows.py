"""Rows of an index: networks are read, fingerprinted and predicted, in any process."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import Float

from sne.networks import Network
from sne.predictors import Predictor
from sne.predictors.prediction import PredictedBlock
from sne.predictors.properties import output_slices
from sne.provenance.chain import CHAIN
from sne.provenance.entries import read_entries
from sne.provenance.fingerprint import MARKS, SKETCH, Fingerprint, fingerprint

VECTORS = {"sketch": SKETCH, "chain": CHAIN}
"""Columns with the vectors of the fingerprint, and their lengths."""

EMBEDDING = "embedding"
STAMP = "stamp"

PART = 256
"""Largest number of networks that are read, predicted and sent together."""


def schema_of(predictor: Predictor) -> pa.Schema:
    """Returns the columns: half precision for vectors, doubles for numbers, text for the rest."""
    vectors = {**VECTORS, EMBEDDING: predictor.dim}
    fields = [
        *(pa.field(name, pa.string()) for name in ("path", STAMP, "content", "layout")),
        pa.field("num_weights", pa.int64()),
        pa.field("family", pa.string()),
        *(pa.field(name, pa.list_(pa.float16(), length)) for name, length in vectors.items()),
        pa.field("marks", pa.list_(pa.uint32(), MARKS)),
    ]
    for prop in predictor.properties:
        fields.append(pa.field(column_of(prop.name), pa.string() if prop.kind == "class" else pa.float64()))
    return pa.schema(fields)


def column_of(name: str) -> str:
    """Returns the column of a property; LanceDB takes no dots.

    Example:
        >>> column_of("config.optimizer")
        'optimizer'
    """
    return name.removeprefix("config.").replace(".", "_")


def read_rows(
    paths: Sequence[str],
    *,
    predictor: Predictor,
    errors: Callable[[str, Exception], None],
    tell: Callable[[str, list[str]], None],
) -> Iterator[pa.Table]:
    """Reads, fingerprints and predicts networks.

    Args:
        paths: Entries, see `sne.provenance.entries`.
        predictor: Predicts their properties.
        errors: Called with path and error of every network that cannot be read.
        tell: Called with path and reasons of every network that was read in part or in doubt.

    Yields:
        Rows of some of the networks, with all columns but the stamp.
    """
    networks: list[Network] = []
    prints: dict[str, Fingerprint] = {}
    families: dict[str, str | None] = {}
    for network, family in read_entries(paths, errors=errors, tell=tell):
        try:
            prints[network.name] = fingerprint(network)
        except (ValueError, OSError) as error:
            errors(network.name, error)
            continue
        families[network.name] = family
        networks.append(network)
    sizes = {network.name: network.num_weights for network in networks}
    for block in predictor.predict_blocks(networks, batch_size=PART, errors=errors, tell=tell):
        found = [prints[name] for name in block.names]
        yield pa.table(
            {
                "path": pa.array(block.names, pa.string()),
                "content": [one.content for one in found],
                "layout": [one.layout for one in found],
                "num_weights": [sizes[name] for name in block.names],
                "family": pa.array([families[name] for name in block.names], pa.string()),
                "sketch": _halves(np.stack([one.sketch for one in found])),
                "chain": _halves(np.stack([one.chain for one in found])),
                EMBEDDING: _halves(block.embedding),
                "marks": pa.FixedSizeListArray.from_arrays(
                    pa.array(np.concatenate([one.marks for one in found]), pa.uint32()), MARKS
                ),
                **_properties(block, predictor),
            }
        )


def _properties(block: PredictedBlock, predictor: Predictor) -> dict[str, Any]:
    """Returns the predicted properties: numbers, and the most probable classes."""
    found: dict[str, Any] = {}
    for prop, where in zip(predictor.properties, output_slices(predictor.properties), strict=True):
        values = block.values[:, where]
        found[column_of(prop.name)] = (
            [prop.classes[best] for best in values.argmax(1)] if prop.kind == "class" else values[:, 0]
        )
    return found


def _halves(vectors: Float[np.ndarray, "rows numbers"]) -> pa.FixedSizeListArray:
    return pa.FixedSizeListArray.from_arrays(pa.array(vectors.astype(np.float16).reshape(-1)), vectors.shape[1])
