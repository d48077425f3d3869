import math

import numpy as np
import pytest
import torch

from sne.errors import PredictorError
from sne.predictors.discriminator import LARGEST_FEATURE, LARGEST_LOGIT, Discriminator
from sne.training.discriminating import train_discriminator


def related(count, seed):
    """Two features that go together, one that never varies, and noise."""
    generator = torch.Generator().manual_seed(seed)
    found = torch.randn(count, 6, generator=generator)
    found[:, 1] = 3.0 + 2.0 * found[:, 0]
    found[:, 2] = 0.5
    return found


def unrelated(rows, seed):
    """The same values of every feature, in another order."""
    generator = torch.Generator().manual_seed(seed)
    return torch.stack([column[torch.randperm(len(rows), generator=generator)] for column in rows.T], 1)


@pytest.fixture(scope="module")
def trained():
    rows = related(400, 0)
    return train_discriminator(rows, unrelated(rows, 1), seed=5)


def test_it_learns_that_features_belong_together(trained):
    rows = related(300, 2)
    own, others = trained.logits(rows), trained.logits(unrelated(rows, 3))
    assert np.median(own) < 0 < np.median(others)
    assert (others[:, None] > own).mean() > 0.85


def test_logits_are_those_of_a_slow_loop(trained):
    silu = lambda x: x / (1 + math.exp(-x))  # noqa: E731
    row = related(1, 4)[0]
    values = [min(max((v - s) * g, -LARGEST_FEATURE), LARGEST_FEATURE)
              for v, s, g in zip(row.tolist(), trained.shift.tolist(), trained.gain.tolist(), strict=True)]  # fmt: skip
    for weight, bias in ((trained.first, trained.first_bias), (trained.second, trained.second_bias)):
        values = [
            silu(sum(w * v for w, v in zip(line, values, strict=True)) + b)
            for line, b in zip(weight.tolist(), bias.tolist(), strict=True)
        ]
    expected = sum(w * v for w, v in zip(trained.last[0].tolist(), values, strict=True)) + float(trained.last_bias)
    assert trained.logits(row[None])[0] == pytest.approx(expected, rel=1e-4)


def test_a_feature_that_never_varied_is_not_read(trained):
    assert trained.gain[2] == 0
    moved = related(10, 6)
    moved[:, 2] = 1e6
    np.testing.assert_array_equal(trained.logits(moved), trained.logits(related(10, 6)))


def test_values_that_are_not_finite_give_logits(trained):
    rows = related(3, 7)
    rows[0], rows[1, 0] = torch.inf, torch.nan
    found = trained.logits(rows)
    assert np.isfinite(found).all() and (np.abs(found) <= LARGEST_LOGIT).all()


def test_same_seed_same_bits(trained):
    rows = related(400, 0)
    before = torch.random.get_rng_state()
    again = train_discriminator(rows, unrelated(rows, 1), seed=5).to_tensors()
    assert torch.equal(before, torch.random.get_rng_state())
    assert all(torch.equal(again[name], tensor) for name, tensor in trained.to_tensors().items())
    other = train_discriminator(rows, unrelated(rows, 1), seed=6).to_tensors()
    assert not torch.equal(other["first"], again["first"])


@pytest.mark.parametrize(
    "change",
    [
        lambda t: t.pop("gain"),
        lambda t: t.update({"more": torch.zeros(1)}),
        lambda t: t.update({"shift": torch.zeros(7)}),
        lambda t: t.update({"second": t["second"].double()}),
        lambda t: t.update({"last": torch.zeros(2, t["last"].shape[1])}),
        lambda t: t.update({"first_bias": t["first_bias"] + torch.inf}),
        lambda t: t.update({"gain": -t["gain"]}),
    ],
)
def test_damaged_tensors_are_refused(trained, change):
    tensors = {name: tensor.clone() for name, tensor in trained.to_tensors().items()}
    assert Discriminator.from_tensors(tensors, 6).num_features == 6
    change(tensors)
    with pytest.raises(PredictorError, match="domain"):
        Discriminator.from_tensors(tensors, 6)
