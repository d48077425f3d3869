import numpy as np
import pytest
import torch

from sne.errors import PredictorError
from sne.predictors.discriminator import LARGEST_LOGIT, Discriminator
from sne.predictors.domain import (
    LARGEST,
    LEAST_CALIBRATION,
    LEAST_P,
    NEAREST,
    Domain,
    Neighbours,
    Region,
    most_axes,
    p_values,
    share_of_distance,
)


def rows(count=60, features=12, seed=0):
    generator = torch.Generator().manual_seed(seed)
    found = torch.randn(count, 4, generator=generator) @ torch.randn(
        4, features, generator=torch.Generator().manual_seed(9)
    )
    found = found + 0.1 * torch.randn(count, features, generator=generator)
    found[:, 3] = 0.25  # constant
    return found


def make_domain(count=60):
    neighbours = Neighbours.fit(rows(count))
    distances = torch.from_numpy(np.sort(neighbours.distances(rows(200, seed=7)))).float()
    return Domain([Region(neighbours, distances)], None, torch.zeros(0))


def discriminator(features):
    """One hidden value after the other, all weights zero."""
    zeros = {"first": (1, features), "first_bias": (1,), "second": (1, 1), "second_bias": (1,), "last_bias": (1,)}
    tensors = {name: torch.zeros(shape) for name, shape in zeros.items()}
    ones = torch.ones(1, 1)
    return {**tensors, "second": ones, "last": ones, "shift": torch.zeros(features), "gain": torch.ones(features)}


def test_p_values_count_as_defined():
    generator = np.random.default_rng(0)
    calibration, scores = generator.normal(size=50), np.append(generator.normal(size=20), [-9.0, 9.0])
    slow = [(1 + sum(other >= score for other in calibration)) / 51 for score in scores]
    np.testing.assert_allclose(p_values(scores, np.sort(calibration)), slow)
    assert p_values(np.array([0.0]), np.zeros(0)).tolist() == [1.0]


def test_with_the_least_calibration_the_strangest_network_is_just_outside():
    smallest = {count: p_values(np.array([np.inf]), np.zeros(count))[0] for count in range(5000)}
    shares = {count: share_of_distance(count) for count in smallest}
    for reason in (shares, {count: 1 - share for count, share in shares.items()}):
        is_reached = [smallest[count] / reason[count] < LEAST_P for count in smallest]
        assert not any(is_reached[:LEAST_CALIBRATION]) and all(is_reached[LEAST_CALIBRATION:])


def test_each_reason_has_its_share():
    """The first feature is far from that of the others, or the discriminator reads the second."""
    tensors = discriminator(12)
    tensors["first"][0, 1], tensors["gain"] = 1.0, torch.full((12,), 0.1)
    domain = make_domain(400)
    known = Discriminator.from_tensors(tensors, 12).logits(rows(400))
    domain = Domain(domain.regions, Discriminator.from_tensors(tensors, 12), torch.from_numpy(np.sort(known)).float())
    share, near = share_of_distance(200), rows(1, seed=1)
    assert share == 0.25
    shuffled = near.clone()
    shuffled[:, 1] = 50.0
    far = domain.regions[0].p_values(shuffled) / share
    expected = np.minimum(far, (1 / 401) / (1 - share))
    np.testing.assert_allclose(domain.p_values(shuffled), expected)
    assert domain.p_values(near)[0] > LEAST_P > domain.p_values(shuffled)[0]
    again = Domain.from_tensors(domain.to_tensors())
    np.testing.assert_array_equal(again.p_values(rows(9)), domain.p_values(rows(9)))


def test_axes_are_principal_and_of_unit_variance():
    neighbours = Neighbours.fit(rows())
    points = neighbours.points
    assert points.shape == (60, neighbours.axes.shape[1] + 2)
    along = points[:, :-2].double()
    covariance = along.T @ along / len(along)
    torch.testing.assert_close(covariance, torch.eye(len(covariance)).double(), atol=1e-3, rtol=0)
    scaled = ((rows() - rows().mean(0)) / rows().std(0, unbiased=False).clamp_min(1e-4)).clamp(-LARGEST, LARGEST)
    variances = torch.linalg.svdvals(scaled.double()) ** 2 / 60
    torch.testing.assert_close(
        1 / neighbours.axes.double().square().sum(0), variances[: len(covariance)], rtol=1e-3, atol=1e-6
    )
    assert points[:, -1].abs().max() < 1e-3


def test_distance_is_the_mean_to_the_nearest_others():
    neighbours = Neighbours.fit(rows())
    points = neighbours.points.double().numpy()
    found = neighbours.distances(rows())
    for place in (0, 7, 59):  # each has itself among the nearest
        slow = np.sort(np.linalg.norm(points - points[place], axis=1))[:NEAREST].mean()
        assert found[place] == pytest.approx(slow, rel=1e-3, abs=1e-3)


def test_new_rows_of_the_same_kind_are_inside_and_others_are_not():
    domain = make_domain(400)
    same = domain.p_values(rows(400, seed=1))
    assert (same < LEAST_P).mean() < 0.15 and same.max() > 0.5  # .05, and what 200 distances allow
    generator = torch.Generator().manual_seed(2)
    unlike = rows(30, seed=3) + 8 * torch.randn(30, 12, generator=generator)
    assert (domain.p_values(unlike) < LEAST_P).all()
    moved = rows(30, seed=4)
    moved[:, 3] += 3.0  # a feature that never varied
    assert (domain.p_values(moved) < LEAST_P).all()
    beyond = rows(5, seed=5)
    beyond[:, 0], beyond[:, 1] = torch.inf, torch.nan
    assert np.isfinite(domain.p_values(beyond)).all()


def test_between_two_families_is_outside_although_the_families_are_far_apart():
    """In units of all networks, the middle is no farther from them than they are from each other."""
    shift = torch.zeros(100).index_fill(0, torch.tensor([0, 1]), 40.0)
    families = [rows(200, 100, 1), rows(200, 100, 2) + shift]
    others = [rows(200, 100, 3), rows(200, 100, 4) + shift]
    regions = []
    for own, other in zip(families, others, strict=True):
        known = Neighbours.fit(own, most_axes(2))
        regions.append(Region(known, torch.from_numpy(np.sort(known.distances(other))).float()))
    domain = Domain(regions, None, torch.zeros(0))
    for seed, level in ((5, 0.0), (6, 1.0)):
        assert (domain.p_values(rows(100, 100, seed) + level * shift) < LEAST_P).mean() < 0.1
    assert (domain.p_values(rows(100, 100, 7) + 0.5 * shift) < LEAST_P).all()
    again = Domain.from_tensors(domain.to_tensors())
    np.testing.assert_array_equal(again.p_values(others[1]), domain.p_values(others[1]))


def test_axes_are_shared_among_regions():
    assert [most_axes(regions) for regions in (1, 2, 4, 14)] == [64, 32, 16, 16]
    assert Neighbours.fit(rows(400, 200), 5).axes.shape == (200, 5)


def test_tensors_and_back():
    domain = make_domain()
    again = Domain.from_tensors(domain.to_tensors())
    np.testing.assert_array_equal(again.p_values(rows(seed=6)), domain.p_values(rows(seed=6)))
    assert again.num_features == 12


@pytest.mark.parametrize(
    "change",
    [
        lambda t: t.pop("0.distances"),
        lambda t: t.pop("0.gain"),
        lambda t: t.update({"0.points": torch.zeros(0, t["0.points"].shape[1])}),
        lambda t: t.update({"0.points": torch.zeros(5, 2)}),
        lambda t: t.update({"0.axes": torch.zeros(3, 3)}),
        lambda t: t.update({"0.shift": t["0.shift"].double()}),
        lambda t: t.update({"0.distances": torch.zeros(200, dtype=torch.int64)}),
        lambda t: t.update({"0.distances": torch.zeros(LEAST_CALIBRATION - 1)}),
        lambda t: t.update({"0.distances": -t["0.distances"]}),
        lambda t: t.update({"0.distances": t["0.distances"] + 1e9}),
        lambda t: t.pop("logits"),
        lambda t: t.update({"logits": torch.full((200,), 1.1 * LARGEST_LOGIT)}),
        lambda t: t.update({"logits": torch.zeros(200, dtype=torch.int64)}),
        lambda t: t.update({f"shuffled.{name}": tensor for name, tensor in discriminator(12).items()}),
        lambda t: t["0.gain"].__setitem__(0, 1e30),
        lambda t: t["0.gain"].__setitem__(0, 0.0),
        lambda t: t["0.points"].__setitem__((0, 0), 1e30),
        lambda t: t["0.axes"].__setitem__((slice(None), 0), 0.0),
        lambda t: t.update({"0.residual": torch.tensor(1e30)}),
        lambda t: t.update({"shuffled.roots": torch.zeros(1, dtype=torch.int32), "logits": torch.zeros(200)}),
    ],
)
def test_damaged_tensors_are_refused(change):
    tensors = make_domain().to_tensors()
    change(tensors)
    with pytest.raises(PredictorError, match=r"domain|trees"):
        Domain.from_tensors(tensors)
