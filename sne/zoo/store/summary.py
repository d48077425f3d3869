"""The content of a zoo in figures."""

from typing import Any

import numpy as np

from sne.errors import ZooError
from sne.zoo.store.folder import INDEX
from sne.zoo.store.split import PIECES
from sne.zoo.store.zoo import Zoo

_ACCURACY = "test_accuracy"


def summarise(zoo: Zoo) -> dict[str, Any]:
    """Summarises a zoo in plain JSON values.

    Args:
        zoo: The zoo.

    Returns:
        `path`; `networks` and `runs`, their numbers; `bytes` of index and shards; `split`, the number of runs in each
        piece; `families`, one entry per family and data set with the numbers of networks and runs, the least and the
        largest number of weights, and the test accuracy with a histogram of ten bins; `properties` and
        `hyperparameters`, the names of these columns.
    """
    datasets = zoo.column("dataset")
    accuracy = zoo.column(_ACCURACY) if _ACCURACY in zoo.property_names else np.full(len(zoo), np.nan)
    weights = _weights(zoo)
    groups: dict[tuple[str, str], list[int]] = {}
    for row, family in enumerate(zoo.families):
        groups.setdefault((family, str(datasets[row])), []).append(row)
    files = [zoo.path / INDEX, *(zoo.path / name for name in set(zoo.column("shard")))]
    return {
        "path": str(zoo.path),
        "networks": len(zoo),
        "runs": len(set(zoo.runs)),
        "bytes": sum(file.stat().st_size for file in files if file.exists()),
        "split": zoo.split and {name: len(getattr(zoo.split, name)) for name in PIECES},
        "families": [
            {
                "family": family,
                "dataset": dataset,
                "networks": len(rows),
                "runs": len({zoo.runs[row] for row in rows}),
                "weights": [int(weights[rows].min()), int(weights[rows].max())],
                _ACCURACY: _spread(accuracy[rows]),
            }
            for (family, dataset), rows in groups.items()
        ],
        "properties": zoo.property_names,
        "hyperparameters": zoo.hyperparameter_names,
    }


def _weights(zoo: Zoo) -> np.ndarray:
    """Number of weights of each row; 0 if its layout is missing or damaged."""
    keys = zoo.column("layout")
    counts: dict[str, int] = {}
    for key in set(keys):
        try:
            counts[key] = zoo.layouts[key].num_entries
        except (KeyError, ZooError):
            counts[key] = 0
    return np.array([counts[key] for key in keys], dtype=np.int64)


def _spread(values: np.ndarray) -> dict[str, Any] | None:
    """Least, mean and largest of the known fractions, and a histogram of ten bins; None if no fraction is known."""
    values = values[np.isfinite(values)]
    if not len(values):
        return None
    histogram, _ = np.histogram(values, bins=10, range=(0.0, 1.0))
    return {
        "min": float(values.min()),
        "mean": float(values.mean()),
        "max": float(values.max()),
        "histogram": [int(n) for n in histogram],
    }
