"""What a zoo holds, in figures."""

from typing import Any

import numpy as np

from sne.errors import ZooError
from sne.zoo.store.index import INDEX
from sne.zoo.store.zoo import Zoo

_ACCURACY = "test_accuracy"


def summarise(zoo: Zoo) -> dict[str, Any]:
    """Counts, families, accuracies, columns and size of a zoo, as plain JSON values.

    Args:
        zoo: an open zoo.

    Returns:
        `path`, `networks`, `runs`, `bytes`, `split` (counts of runs), `families` (one entry a family and
        data set: networks, runs, least and largest number of weights, test accuracy with a histogram in
        tenths), `properties` and `hyperparameters`.
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
        "split": zoo.split and {name: len(getattr(zoo.split, name)) for name in ("train", "val", "test")},
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
    """Number of weights of each row; 0 where its layout is missing or damaged."""
    keys = zoo.column("layout")
    counts: dict[str, int] = {}
    for key in set(keys):
        try:
            counts[key] = zoo.layouts[key].num_entries
        except (KeyError, ZooError):
            counts[key] = 0
    return np.array([counts[key] for key in keys], dtype=np.int64)


def _spread(values: np.ndarray) -> dict[str, Any] | None:
    """Least, mean, largest and a histogram in tenths of fractions; None where there are none."""
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
