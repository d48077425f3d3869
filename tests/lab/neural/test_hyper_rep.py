"""Hyper-representations: tokens contain every weight once, the autoencoder learns without labels."""

import numpy as np
import pytest
import torch
from family_zoo import write_family_zoo
from tiny import write_tiny_zoo

from sne.baselines import BASELINES
from sne.lab.neural import SLOW_BASELINES, HyperRepBaseline
from sne.lab.neural.token_autoencoder import TokenAutoencoder, TokenWindows, contrastive_loss
from sne.lab.neural.weight_tokens import TokenScales, plan_tokens
from sne.zoo import Zoo

QUICK = {"token_size": 16, "window": 12, "dim": 16, "code_size": 8, "depth": 1, "heads": 2, "epochs": 2}
FAMILIES = ["small_cnn", "mlp", "gru", "residual_cnn", "vit"]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> Zoo:
    path = tmp_path_factory.mktemp("hyper_rep") / "tiny"
    return Zoo.open(write_tiny_zoo(path, runs=40, known=lambda run: run % 3 > 0))


@pytest.fixture(scope="module")
def mixed(tmp_path_factory) -> Zoo:
    return write_family_zoo(tmp_path_factory.mktemp("hyper_rep") / "mixed", FAMILIES, count=1)[0]


def fitted(zoo, rows=None, *, target="test_loss", kind="real", seed=0, **settings):
    rows = np.arange(len(zoo)) if rows is None else rows
    values = zoo.column(target)[rows]
    if kind == "class":
        values = (values > 1.5).astype(np.int64)
    baseline = HyperRepBaseline(**{**QUICK, **settings})
    baseline.fit(zoo, rows, values, target=target, kind=kind, seed=seed)
    return baseline


def plan_of(zoo, row, token_size=16):
    return plan_tokens(zoo.network(row).layers, zoo.layout(row), token_size)


@pytest.mark.parametrize("token_size", [5, 16, 300])
def test_tokens_hold_every_weight_once(token_size, mixed):
    for row in range(len(mixed)):
        plan = plan_of(mixed, row, token_size)
        held = plan.index[plan.mask]
        np.testing.assert_array_equal(held.sort().values, np.arange(mixed.num_weights(row)))
        assert bool(plan.mask[:, 0].all())  # no token is padding alone
        assert len(plan.positions.unique(dim=0)) > len(plan.levels.unique())


def test_a_row_is_all_that_a_neuron_has(mixed):
    layout = mixed.layout(0)
    plan, values = plan_of(mixed, 0), mixed.weights(0)
    tensors = {
        slot.name: values[slot.offset : slot.offset + slot.num_entries].view(slot.shape) for slot in layout.slots
    }
    neuron = torch.cat([tensors["layers.1.weight"][3].flatten(), tensors["layers.1.bias"][3:4]])
    here = (plan.levels == 1) & (plan.positions[:, 1] == 3)
    got = plan.read(values)[here]
    assert got.shape == (10, 16)  # 145 entries
    torch.testing.assert_close(got.flatten()[:145], neuron * 145**0.5)
    assert bool((got.flatten()[145:] == 0).all())
    assert plan.positions[here][:, 2].tolist() == list(range(10))


def test_windows_are_pieces_of_the_plan(mixed):
    plan = plan_of(mixed, 0)
    values = mixed.weights(0)
    pieces = [plan.window(start, 12) for start in range(0, len(plan), 12)]
    assert sum(map(len, pieces)) == len(plan)
    torch.testing.assert_close(torch.cat([one.read(values) for one in pieces]), plan.read(values))


def test_scales_are_mean_sizes_and_fall_back(mixed):
    scales = TokenScales()
    plan, values = plan_of(mixed, 0), mixed.weights(0)
    scales.add(plan, values)
    read = plan.read(values)
    for level in plan.levels.unique().tolist():
        here = plan.levels == level
        mean = float(read[here].abs().sum() / plan.mask[here].sum())
        torch.testing.assert_close(scales.of(plan)[here], torch.full((int(here.sum()),), mean))
    everything = float(read.abs().sum() / plan.mask.sum())
    other = plan_of(mixed, FAMILIES.index("gru"))
    unseen = scales.of(other)[other.levels == 0]
    torch.testing.assert_close(unseen, torch.full((len(unseen),), everything))
    assert bool((TokenScales().of(plan) == 1).all())


def test_padding_changes_no_code(mixed):
    torch.manual_seed(0)
    model = TokenAutoencoder(token_size=16, dim=16, code_size=8, depth=2, heads=2)
    plans = [plan_of(mixed, 0).window(0, 12), plan_of(mixed, 1).window(0, 5)]
    values = [plan.read(mixed.weights(row)) for row, plan in enumerate(plans)]

    def codes(chosen):
        batch = TokenWindows.join([plans[i] for i in chosen], [values[i] for i in chosen], torch.device("cpu"))
        positions = model.encode_positions(batch.layer_types, batch.positions)
        coded = model.encode(batch.tokens, positions, batch.is_token)
        return coded[batch.is_token], model.decode(coded, positions, batch.is_token)[batch.is_token]

    for together, alone in zip(codes([0, 1]), codes([1]), strict=True):
        torch.testing.assert_close(together[12:], alone, rtol=1e-4, atol=1e-5)


def test_contrast_is_small_where_partners_are_alike():
    vectors = torch.nn.functional.normalize(torch.randn(6, 32, generator=torch.Generator().manual_seed(0)), dim=1)
    others = vectors.roll(1, 0)
    assert float(contrastive_loss(vectors, vectors)) < 0.2 < 2 < float(contrastive_loss(vectors, others))
    both, total = torch.cat([vectors, others]), 0.0
    for i in range(12):
        terms = [torch.exp(both[i] @ both[j] / 0.1) for j in range(12) if j != i]
        total -= float(torch.log(torch.exp(both[i] @ both[(i + 6) % 12] / 0.1) / sum(terms)))
    assert float(contrastive_loss(vectors, others)) == pytest.approx(total / 12, rel=1e-4)


def test_training_without_labels_lowers_the_loss(tiny):
    rows = np.arange(40)
    losses = []
    for epochs in (0, 15):
        baseline = fitted(tiny, rows, epochs=epochs, batch_size=8, contrast=0.0)
        with torch.no_grad():
            losses.append(float(baseline._loss(baseline._tokens(tiny), rows.tolist(), torch.Generator())))
    assert losses[1] < 0.8 * losses[0]


@pytest.mark.parametrize("target, kind", [("test_loss", "real"), ("test_accuracy", "fraction"), ("test_loss", "class")])
def test_the_head_learns_from_the_codes(target, kind, tiny):
    values = tiny.column(target)
    known = np.flatnonzero(~np.isnan(values))
    order = np.random.default_rng(0).permutation(known)
    baseline = fitted(tiny, order[:50], target=target, kind=kind, epochs=4, batch_size=10)
    got = baseline.predict(tiny, order[50:])
    assert got.shape == (len(order) - 50,)
    if kind == "class":
        truth = values[order[50:]] > 1.5
        assert (got == truth).mean() > 0.7 > 0.6 > max(truth.mean(), 1 - truth.mean())
        return
    assert np.corrcoef(got, values[order[50:]])[0, 1] > 0.6
    if kind == "fraction":
        assert got.min() >= 0 and got.max() <= 1


def test_any_architecture_is_read_and_long_ones_in_part(mixed, tiny):
    rows = np.arange(len(mixed))
    baseline = fitted(tiny)
    assert np.isfinite(baseline.predict(mixed, rows)).all()  # architectures that it has not seen
    baseline = fitted(mixed, target="sharpness", most_windows=2)
    features = baseline.features(mixed, rows)
    assert baseline.num_parameters == sum(p.numel() for p in baseline._model.parameters()) > 1000
    assert features.shape == (len(mixed), 6 * 8) and np.isfinite(features).all()
    longest = int(np.argmax([mixed.num_weights(row) for row in rows.tolist()]))
    unread = plan_of(mixed, longest).window(12, 12)  # between the two windows, at its ends
    weights = mixed.weights(longest)
    weights[unread.index[unread.mask]] += 1.0
    changed = mixed.with_weights({longest: weights})
    np.testing.assert_array_equal(baseline.features(changed, rows[longest : longest + 1])[0], features[longest])


def test_same_seed_same_bits(tiny):
    assert "hyper_rep" in SLOW_BASELINES and "hyper_rep" not in BASELINES
    asked = np.array([5, 2, 9, 2])
    state = torch.get_rng_state()
    few = np.arange(24)
    one, two = (fitted(tiny, few).predict(tiny, asked) for _ in range(2))
    np.testing.assert_array_equal(one, two)
    assert torch.equal(torch.get_rng_state(), state)
    assert one[1] == one[3] and not np.array_equal(one, fitted(tiny, few, seed=1).predict(tiny, asked))
    assert not np.array_equal(one, fitted(tiny, few, contrast=0.0).predict(tiny, asked))


def test_layouts_without_weights_are_refused(tiny):
    with pytest.raises(ValueError, match="expected networks with weights, found none"):
        plan_tokens((), tiny.layout(0), 16)
