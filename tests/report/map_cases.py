"""Networks for tests of maps, made up so that it is known which belong together."""

import numpy as np

from sne.report.map_data import Column, MapData

HOSTILE = "</script><script>document.title='run'</script>"


def islands(num_islands=3, members=30, dim=12, seed=0, names=None):
    """Groups of networks far from each other, with a family per group and an accuracy that rises within each."""
    generator = np.random.default_rng(seed)
    centres = generator.normal(size=(num_islands, dim)) * 20
    group = np.repeat(np.arange(num_islands), members)
    embeddings = (centres[group] + generator.normal(size=(len(group), dim))).astype(np.float32)
    measured = np.tile(np.linspace(0.1, 0.9, members), num_islands)
    predicted = measured + 0.01
    columns = (
        Column.of("family", [f"family-{number}" for number in group]),
        Column("test_accuracy", measured),
        Column("predicted test_accuracy", predicted, predicted - 0.1, predicted + 0.1),
        Column.of("config.optimizer", [("adam", "sgd")[number % 2] for number in range(len(group))]),
        Column.of("diverged", [None if number == 0 else number % 7 == 0 for number in range(len(group))]),
    )
    names = names or tuple(f"/runs/{number // 2:03d}/net-{number % 2}.pt" for number in range(len(group)))
    return MapData(tuple(names), embeddings, columns)
