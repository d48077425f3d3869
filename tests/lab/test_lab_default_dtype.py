"""torch's default dtype changes no bit of what the methods of the laboratory learn and say."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from family_zoo import write_family_zoo
from oracles import handmade

from sne.baselines import Baseline
from sne.lab.neural import NEURAL_BASELINES, HyperRepBaseline
from sne.lab.probing import ProbingBaseline
from sne.zoo import Zoo

LAYERS = {
    "deep_sets": handmade.resnet(),
    "flat_mlp": handmade.gru(),
    "dwsnet": handmade.mlp((3, 6, 7, 4)),
    "nfn_np": handmade.cnn((2, 4, 6, 5)),
    "nft": handmade.cnn((2, 4, 6, 5)),
    "graph_network": handmade.cnn(),
    "graph_transformer": handmade.cnn(),
}
BASELINES: dict[str, Callable[[], Baseline]] = {
    "hyper_rep": lambda: HyperRepBaseline(token_size=16, window=12, dim=16, code_size=8, depth=1, heads=2, epochs=2),
    "deep linear probes": lambda: ProbingBaseline(num_probes=4, epochs=2, batch_size=4, hidden=8),
    "free probes": lambda: ProbingBaseline(num_probes=4, generator="free", epochs=2, batch_size=4, hidden=8),
}


@contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


def found_with(dtype: torch.dtype, find: Callable[[], np.ndarray]) -> np.ndarray:
    with default_dtype(dtype):
        torch.manual_seed(0)
        return find()


@pytest.mark.parametrize("method", LAYERS)
def test_embeddings(method: str):
    networks = [handmade.network(LAYERS[method], seed=seed, std=0.1 + 0.1 * seed) for seed in range(3)]

    def embeddings() -> np.ndarray:
        encoder = NEURAL_BASELINES[method](networks[:1])
        prepared = encoder.prepare(networks)
        encoder.fit_scale(prepared)
        with torch.no_grad():
            return encoder.eval()(encoder.collate(prepared)).numpy()

    expected, found = found_with(torch.float32, embeddings), found_with(torch.float64, embeddings)
    assert expected.dtype == found.dtype == np.float32
    np.testing.assert_array_equal(found, expected)


@pytest.fixture(scope="module")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> Zoo:
    return write_family_zoo(tmp_path_factory.mktemp("dtype") / "zoo", ["mlp", "small_cnn"])[0]


@pytest.mark.parametrize("name", BASELINES)
def test_predictions(name: str, zoo: Zoo):
    rows = np.arange(len(zoo))

    def predictions() -> np.ndarray:
        baseline = BASELINES[name]()
        baseline.fit(zoo, rows, zoo.column("sharpness")[rows], target="sharpness", kind="real", seed=0)
        return baseline.predict(zoo, rows)

    np.testing.assert_array_equal(found_with(torch.float64, predictions), found_with(torch.float32, predictions))
