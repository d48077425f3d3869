"""Embeddings of many stored networks, against the cheapest features that a predictor could read."""

import numpy as np

from sne.predictors import Predictor
from sne.zoo import Zoo
from speed_lines.line import Line, Reading, Setting
from speed_lines.material import load_predictor, small_cnn_zoo
from speed_lines.timing import alternate, floor, multiply_adds

NETWORKS = 10_000
BLOCK = 256


def numpy_features(zoo: Zoo, rows: range) -> np.ndarray:
    """Computes mean, variance and quantiles of every tensor, as a NumPy script would: a block of networks at a time.

    Source: Unterthiner et al., arXiv 2002.11448, section 4.
    Differs: nothing; float32 throughout.
    """
    slots = zoo.layout(0).slots
    ends = np.cumsum([slot.num_entries for slot in slots])
    blocks = []
    for start in range(0, len(rows), BLOCK):
        some = rows[start : start + BLOCK]
        matrix = zoo.weight_rows(some)[0].numpy().reshape(len(some), -1)
        columns = []
        for slot, end in zip(slots, ends, strict=True):
            values = matrix[:, end - slot.num_entries : end]
            quantiles = np.quantile(values, (0, 0.25, 0.5, 0.75, 1), axis=1)
            columns += [values.mean(1), values.var(1), *quantiles]
        blocks.append(np.stack(columns, 1))
    return np.concatenate(blocks)


def measure(setting: Setting) -> list[Reading]:
    """Compares embeddings of a zoo, reading included, with statistics in NumPy."""
    zoo, whole = small_cnn_zoo(setting.work, NETWORKS), load_predictor(setting.work)
    member = next(expert for expert in whole.experts if expert.embedding_dim)
    single = Predictor(whole.encoder, whole.properties, [member], np.ones((1, len(whole.properties))))
    rows = range(NETWORKS)

    def embed(predictor: Predictor, rows: range = rows) -> None:
        for start in range(0, len(rows), BLOCK):
            predictor.encode(zoo.networks(rows[start : start + BLOCK]), batch_size=BLOCK)

    numpy_features(zoo, rows[:BLOCK])
    embed(whole, rows[:BLOCK])
    calls = {
        "five members": lambda: embed(whole),
        "one member": lambda: embed(single),
        "numpy": lambda: numpy_features(zoo, rows),
    }
    times = alternate(calls, repeats=3, seconds=25, warm=False)
    described = alternate({"describe": lambda: whole.encoder.prepare(zoo.networks(rows[:BLOCK]))}, repeats=5)
    described_share = described["describe"].wall * NETWORKS / BLOCK / times["five members"].wall
    readings = []
    for name, predictor in (("five members", whole), ("one member", single)):
        products = multiply_adds(lambda predictor=predictor: embed(predictor, rows[:BLOCK])) * NETWORKS / BLOCK
        readings.append(
            Reading(
                f"10,000 stored small CNNs to embeddings of {name}, reading included",
                "mean, variance and five quantiles of each tensor in NumPy, reading included",
                times[name].wall,
                times["numpy"].wall,
                3,
                cpu_ratio=times[name].cpu / times["numpy"].cpu,
                threads=setting.threads,
                repeats=times[name].repeats,
                floor=floor(
                    "weights read once; matrix products, as they are now",
                    bytes=4 * 4970 * NETWORKS,
                    multiply_adds=products,
                ),
                notes=[f"description: {described_share:.0%} of the time of five members"] if predictor is whole else [],
            )
        )
    return readings


LINES = (Line("stored", measure, 300),)
