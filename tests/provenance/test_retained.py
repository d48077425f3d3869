"""What a matrix retains of the largest singular directions of another one."""

import pytest
import torch

from sne.provenance.spectra import retained


@pytest.mark.parametrize("shape", [(40, 40), (10, 60), (60, 7), (3, 2)])
@pytest.mark.parametrize("rank", [1, 2, 60])
def test_what_is_retained_is_that_of_the_singular_value_decomposition(shape, rank):
    generator = torch.Generator().manual_seed(0)
    left, right, noise = (torch.randn(*size, generator=generator).double() for size in
                          ((shape[0], rank), (rank, shape[1]), shape))  # fmt: skip
    one = left @ right
    other = one + noise
    vectors, sizes, others = torch.linalg.svd(one, full_matrices=False)
    most = max(1, min(shape) // 4)
    kept = sum(sizes[n] * (vectors[:, n] @ other @ others[n]) for n in range(most)) / sizes[:most].square().sum()
    assert retained(one, other) == pytest.approx(float(kept), abs=1e-9)
    assert retained(one, one) == pytest.approx(1) and retained(one, -one) == pytest.approx(-1)


def test_nothing_is_retained_of_vectors_and_of_zeros():
    assert retained(torch.ones(1, 8).double(), torch.ones(1, 8).double()) == 0
    assert retained(torch.zeros(8, 8).double(), torch.ones(8, 8).double()) == 0
