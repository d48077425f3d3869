"""Function probing: networks are rebuilt and run exactly, and the probes are learned."""

import numpy as np
import pytest
import torch
from family_zoo import SHAPE, write_family_zoo
from tiny import write_tiny_zoo

from sne.lab.neural import CannotTakeError
from sne.lab.probing import (
    PROBING_BASELINES,
    DeepLinearProbes,
    FreeProbes,
    NetworkRunner,
    ProbingBaseline,
    input_shape,
)
from sne.lab.probing.baseline import output_features, probe
from sne.making import FAMILIES
from sne.symmetry import apply_flat, sample
from sne.zoo import Zoo

IMAGES = [name for name in FAMILIES if "inr" not in name and name != "gpt"]
QUICK = {"num_probes": 6, "epochs": 2, "batch_size": 4, "hidden": 16}


@pytest.fixture(scope="module")
def every(tmp_path_factory):
    """All families of classifiers, with their modules."""
    return write_family_zoo(tmp_path_factory.mktemp("probing") / "every", IMAGES, count=2)


@pytest.fixture(scope="module")
def traced(tmp_path_factory) -> Zoo:
    path = tmp_path_factory.mktemp("probing") / "traced"
    return write_family_zoo(path, ["small_cnn", "mlp"], count=4, traced=True)[0]


def fitted(zoo, rows=None, *, target="sharpness", kind="real", seed=0, **settings):
    rows = np.arange(len(zoo)) if rows is None else rows
    values = zoo.column(target)[rows]
    baseline = ProbingBaseline(**{**QUICK, **settings})
    baseline.fit(zoo, rows, values.astype(np.int64) if kind == "class" else values, target=target, kind=kind, seed=seed)
    return baseline


def test_networks_answer_as_their_modules_do(every):
    zoo, modules = every
    inputs = torch.randn(5, *SHAPE, generator=torch.Generator().manual_seed(0))
    rows = np.random.default_rng(0).permutation(len(zoo)).tolist()
    got = NetworkRunner(zoo, SHAPE)(rows, inputs)
    with torch.no_grad():
        expected = torch.stack([modules[row](inputs) for row in rows])
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["sine_inr", "image_inr"])
def test_networks_of_points_answer_too(name, tmp_path):
    zoo, modules = write_family_zoo(tmp_path / "zoo", [name])
    rows = np.arange(3)
    shape = input_shape(zoo, rows)
    assert shape == ((1,) if name == "sine_inr" else (2,))
    inputs = torch.linspace(-1, 1, 4 * shape[0]).view(4, *shape)
    with torch.no_grad():
        expected = torch.stack([module(inputs) for module in modules])
    torch.testing.assert_close(NetworkRunner(zoo, shape)(rows.tolist(), inputs), expected, rtol=1e-4, atol=1e-5)
    assert np.isfinite(fitted(zoo).predict(zoo, rows)).all()


def test_gradients_reach_the_probes(every):
    zoo, modules = every
    inputs = torch.randn(3, *SHAPE, generator=torch.Generator().manual_seed(1), requires_grad=True)
    rows = list(range(len(zoo)))
    weights = torch.randn(len(rows), 3, 3, generator=torch.Generator().manual_seed(2))
    (got,) = torch.autograd.grad((NetworkRunner(zoo, SHAPE)(rows, inputs) * weights).sum(), inputs)
    answers = torch.stack([module(inputs) for module in modules])
    (expected,) = torch.autograd.grad((answers * weights).sum(), inputs)
    torch.testing.assert_close(got, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("generator", ["deep_linear", "free"])
def test_probes_move_when_they_learn(generator, traced):
    still, moved = (fitted(traced, generator=generator, epochs=epochs).probes for epochs in (0, 2))
    assert still.shape == (6, *SHAPE)
    assert bool((still != moved).all())


@pytest.mark.parametrize("shape", [(1, 20, 20), (3, 15, 17)])
def test_generated_probes_have_variance_one_and_are_linear_in_their_codes(shape):
    torch.manual_seed(0)
    probes = DeepLinearProbes(shape, 8)
    first = probes().detach()
    assert first.shape == (8, *shape)
    assert float(first.std()) == pytest.approx(1, rel=1e-4)
    with torch.no_grad():
        probes.codes.copy_(probes.codes.mean(0, keepdim=True).expand_as(probes.codes))
    torch.testing.assert_close(probes()[0].detach(), first.mean(0), rtol=1e-4, atol=1e-4)
    assert FreeProbes(shape, 8)().shape == (8, *shape)


def test_what_computes_the_same_gets_the_same_prediction(traced):
    rows = np.array([0, 4])  # of these the symmetry is known
    baseline = fitted(traced)
    before = baseline.predict(traced, rows)
    for kinds in (("permutation",), ("permutation", "scaling", "sign")):
        moved = {}
        for row in rows.tolist():
            symmetry = traced.symmetry(row)
            assert symmetry is not None
            moved[row] = apply_flat(sample(symmetry, row, kinds), traced.layout(row).slots, traced.weights(row))
            assert not torch.equal(moved[row], traced.weights(row))
        np.testing.assert_allclose(baseline.predict(traced.with_weights(moved), rows), before, atol=1e-5)
    others = {row: traced.weights(row).flip(0) for row in rows.tolist()}
    assert np.abs(baseline.predict(traced.with_weights(others), rows) - before).min() > 1e-5


@pytest.mark.parametrize("target, kind", [("sharpness", "fraction"), ("is_sharp", "class")])
def test_it_learns_what_the_answers_tell(target, kind, tmp_path):
    zoo, _ = write_family_zoo(tmp_path / "zoo", ["small_cnn", "cnn_s"], count=20)
    order = np.random.default_rng(0).permutation(len(zoo))
    baseline = fitted(zoo, order[:28], target=target, kind=kind, epochs=12, hidden=64, batch_size=7, learning_rate=5e-3)
    got, measured = baseline.predict(zoo, order[28:]), zoo.column(target)[order[28:]]
    if kind == "class":
        assert (got == measured).mean() > 0.8
    else:
        assert np.corrcoef(got, measured)[0, 1] > 0.6
    if kind == "fraction":
        assert got.min() >= 0 and got.max() <= 1


def test_same_seed_same_bits_and_one_prediction_a_row(traced):
    assert set(PROBING_BASELINES) == {"probing"}
    asked = np.array([5, 2, 7, 2])
    state = torch.get_rng_state()
    one, two = (fitted(traced).predict(traced, asked) for _ in range(2))
    np.testing.assert_array_equal(one, two)
    assert torch.equal(torch.get_rng_state(), state)
    assert one.shape == (4,) and one[1] == pytest.approx(one[3], rel=1e-5)
    assert not np.array_equal(one, fitted(traced, seed=1).predict(traced, asked))


def test_parameters_are_counted(traced):
    baseline = fitted(traced, generator="free", epochs=0)
    reader = (36 * 16 + 16) + (16 * 16 + 16) + (16 + 1)  # 6 probes of 3 outputs, twice
    assert baseline.num_parameters == 6 * 20 * 20 + reader


def test_features_are_of_order_one_whatever_the_logits(traced):
    huge = torch.tensor([[[1e6, -1e6, 0.0]]])
    assert float(output_features(huge).abs().max()) < 20
    single = torch.tensor([[[3.0], [-1e5]]])
    torch.testing.assert_close(output_features(single), torch.asinh(torch.tensor([[3.0, -1e5]])))
    broken = {0: torch.full_like(traced.weights(0), 1e30)}
    probes = torch.randn(4, *SHAPE, generator=torch.Generator().manual_seed(0))
    features = probe(NetworkRunner(traced.with_weights(broken), SHAPE), np.array([1, 0]), probes).numpy()
    assert features.shape == (2, 4 * 2 * 3) and np.isfinite(features).all()
    alone = probe(NetworkRunner(traced, SHAPE), np.array([1]), probes)
    np.testing.assert_allclose(features[0], alone[0], rtol=1e-5, atol=1e-6)


def test_the_side_is_that_of_the_tensors(tmp_path, traced):
    assert input_shape(traced, np.arange(len(traced))) == SHAPE
    assert input_shape(traced, np.arange(2)) == (1, 28, 28)  # small CNNs take any side
    assert input_shape(traced, np.arange(2), side=24) == (1, 24, 24)
    zoo, _ = write_family_zoo(tmp_path / "zoo", ["small_cnn", "gru"], shape=(3, 24, 24))
    assert input_shape(zoo, np.arange(len(zoo))) == (3, 24, 24)


def test_probes_are_brought_to_the_side_that_networks_read(tmp_path):
    zoos = [write_family_zoo(tmp_path / str(side), ["mlp"], shape=(1, side, side)) for side in (20, 24)]
    (small, _), (large, modules) = zoos
    baseline = fitted(small)
    rows = np.arange(len(large))
    with torch.no_grad():
        probes = torch.nn.functional.interpolate(baseline.probes, size=24, mode="bilinear")
        answers = torch.stack([module(probes) for module in modules])
        expected = baseline._reader(output_features(answers))[:, 0].double() * baseline._spread + baseline._middle
    np.testing.assert_allclose(baseline.predict(large, rows), expected, rtol=1e-4, atol=1e-5)


def test_unknown_families_are_refused(tmp_path, traced):
    zoo = Zoo.open(write_tiny_zoo(tmp_path / "tiny", runs=4))
    with pytest.raises(CannotTakeError, match=r"tiny: run00.-. is of family '\w+', .* expected one of small_cnn"):
        fitted(zoo, target="test_loss")
    with pytest.raises(CannotTakeError, match="'narrow'"):
        fitted(traced).predict(zoo, np.arange(2))


def test_what_does_not_fit_is_refused(tmp_path, traced):
    lacking, _ = write_family_zoo(tmp_path / "lacking", ["small_cnn", "mlp"], shape=(3, 20, 20), missing=["taper"])
    with pytest.raises(CannotTakeError, match=r"mlp-0 cannot be run: the family mlp needs the column config\.taper"):
        fitted(lacking)
    colour, _ = write_family_zoo(tmp_path / "colour", ["small_cnn", "mlp"], shape=(3, 20, 20))
    with pytest.raises(CannotTakeError, match=r"layers\.0\.weight is \[16, 3, 3, 3\], expected \[16, 1, 3, 3\]"):
        fitted(traced).predict(colour, np.arange(len(colour)))
    more, _ = write_family_zoo(tmp_path / "more", ["small_cnn"], classes=4)
    with pytest.raises(CannotTakeError, match="4 outputs, expected 3"):
        fitted(traced).predict(more, np.arange(3))
    points, _ = write_family_zoo(tmp_path / "points", ["sine_inr", "small_cnn"])
    with pytest.raises(CannotTakeError, match="sine_inr-0 and small_cnn-0 share no input shape"):
        fitted(points)


def test_unknown_generators_are_named():
    with pytest.raises(ValueError, match="generator 'random' is not known, expected deep_linear or free"):
        ProbingBaseline(generator="random")
