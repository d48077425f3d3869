"""Files of one layout share what is understood of them, and nothing that depends on their values."""

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from sne import read_network
from sne.networks import Network
from sne.networks.remembered import Remembered


def test_the_oldest_and_the_large_are_forgotten():
    known = Remembered[str](3, 100)
    known.put("large", "x", 11)
    assert known.get("large") is None
    for number in range(30):
        known.put(number, str(number), 10)
        known.put(number, "another", 10)
    assert [known.get(number) for number in range(26, 30)] == [None, "27", "28", "29"]
    many = Remembered[str](1000, 100)
    for number in range(30):
        many.put(number, str(number), 10)
    assert sum(many.get(number) is not None for number in range(30)) == 10


def scaled(offset: float, *, shape: tuple[int, int] = (4, 6)) -> dict[str, Tensor]:
    weight = torch.arange(24, dtype=torch.int8).view(4, 6) % 7
    return {"fc.weight": weight.view(shape), "fc.weight_scale": torch.full((shape[0],), offset)}


def values(network: Network) -> Tensor:
    return network.read(network.layers[0].parts[0])


@pytest.mark.parametrize("order", [(1.0, 2.0, 1.0), (2.0, 1.0, 3.0)])
def test_composed_weights_of_one_layout_have_their_own_values(order, tmp_path):
    networks = []
    for place, offset in enumerate(order):
        save_file(scaled(offset), tmp_path / f"{place}.safetensors")
        networks.append(read_network(tmp_path / f"{place}.safetensors"))
    for offset, network in zip(order, networks, strict=True):
        assert torch.equal(values(network)[..., 0], scaled(1.0)["fc.weight"] * offset)
        assert network.layers is networks[0].layers
    assert values(read_network(scaled(5.0, shape=(6, 4)))).shape == (6, 4, 1)


def test_metadata_and_order_of_names_make_a_difference(tmp_path):
    kernel = {"conv.weight": torch.randn(8, 3, 3, 5)}
    save_file(kernel, tmp_path / "a.safetensors")
    save_file(kernel, tmp_path / "b.safetensors", metadata={"format": "mlx"})
    shapes = [values(read_network(tmp_path / f"{name}.safetensors")).shape for name in "abab"]
    assert shapes == [(8, 3, 15), (8, 5, 9)] * 2
