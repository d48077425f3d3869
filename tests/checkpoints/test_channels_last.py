"""Kernels that MLX stores channels last."""

import torch
from safetensors.torch import save_file

from sne.checkpoints import read_network


def test_kernels_of_mlx_are_turned_and_nothing_else(tmp_path):
    torch.manual_seed(0)
    kernels = {"a": torch.randn(8, 3, 5), "b": torch.randn(6, 8, 3, 3), "c": torch.randn(4, 6, 1, 2, 3)}
    state = {f"{name}.weight": torch.movedim(kernel, 1, -1).contiguous() for name, kernel in kernels.items()}
    others = {"fc.weight": torch.randn(5, 4), "pos_embed": torch.randn(1, 7, 4)}
    others["mlp.switch_mlp.up_proj.weight"] = torch.randn(2, 8, 4)  # experts, stacked
    metadata = {"format": "mlx"}
    save_file(state | others, tmp_path / "mlx.safetensors", metadata=metadata)
    network = read_network(tmp_path / "mlx.safetensors")
    parts = {part.tensor: part for _, part in network.parts()}
    for name, kernel in kernels.items():
        assert torch.equal(network.read(parts[f"{name}.weight"]), kernel.flatten(2))
    assert all(torch.equal(network.source.load(name), values) for name, values in others.items())
    save_file(state, tmp_path / "torch.safetensors", metadata={"format": "pt"})
    plain = read_network(tmp_path / "torch.safetensors")
    assert torch.equal(plain.source.load("b.weight"), state["b.weight"])
