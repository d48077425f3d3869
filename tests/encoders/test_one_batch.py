"""The default encoder reads networks of any architectures in one batch."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import sne
from sne.encoders import TensorSetEncoder
from sne.making.families import FAMILIES


class Reader(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(28, 24, batch_first=True)
        self.head = nn.Linear(24, 10)


def resnet(width: int, num_classes: int) -> nn.Module:
    from transformers import ResNetConfig, ResNetForImageClassification

    sizes = {"embedding_size": width, "hidden_sizes": [width, 2 * width, 4 * width, 8 * width], "depths": [2, 2, 2, 2]}
    return ResNetForImageClassification(ResNetConfig(**sizes, layer_type="basic", num_labels=num_classes))


def vit() -> nn.Module:
    from transformers import ViTConfig, ViTForImageClassification

    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    return ViTForImageClassification(ViTConfig(**sizes, image_size=28, patch_size=7, num_labels=10))


def gpt2() -> nn.Module:
    from transformers import GPT2Config, GPT2LMHeadModel

    return GPT2LMHeadModel(GPT2Config(n_embd=32, n_layer=2, n_head=2, vocab_size=200, n_positions=50))


@pytest.fixture(scope="module")
def modules() -> dict[str, nn.Module]:
    torch.manual_seed(0)
    small_cnn = FAMILIES["small_cnn"].module({"activation": "relu", "dropout": 0.0}, (1, 28, 28), 10)
    return {
        "mlp": nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10)),
        "small_cnn": small_cnn,
        "resnet18": resnet(8, 10),
        "vit": vit(),
        "gru": Reader(),
        "gpt2": gpt2(),
    }


@pytest.fixture(scope="module")
def encoder(modules) -> TensorSetEncoder:
    torch.manual_seed(0)
    encoder = TensorSetEncoder().eval()
    encoder.fit_scale(encoder.prepare([sne.read_network(modules[name]) for name in ("mlp", "small_cnn", "gru")]))
    return encoder


@pytest.fixture(scope="module")
def rows(modules, encoder) -> torch.Tensor:
    with torch.no_grad():
        return encoder(encoder.collate(encoder.prepare([sne.read_network(module) for module in modules.values()])))


def test_six_architectures_in_one_batch(modules, encoder, rows):
    assert rows.shape == (6, encoder.dim) and rows.isfinite().all()
    assert torch.cdist(rows, rows).fill_diagonal_(torch.inf).min() > 0.01


@pytest.mark.slow
def test_a_network_of_eleven_million_weights_shares_a_batch(modules, encoder, rows):
    large = resnet(64, 1000)
    assert sum(parameter.numel() for parameter in large.parameters()) > 11_000_000
    networks = [sne.read_network(module) for module in (*modules.values(), large)]
    with torch.no_grad():
        together = encoder(encoder.collate(encoder.prepare(networks)))
        alone = encoder(encoder.collate(encoder.prepare(networks[-1:])))
    assert together.isfinite().all()
    torch.testing.assert_close(together[:-1], rows, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(together[-1:], alone, rtol=1e-5, atol=1e-5)


def test_each_is_the_same_alone(modules, encoder, rows):
    for row, (name, module) in zip(rows, modules.items(), strict=True):
        with torch.no_grad():
            alone = encoder(encoder.collate(encoder.prepare([sne.read_network(module)])))[0]
        torch.testing.assert_close(alone, row, rtol=1e-5, atol=1e-5, msg=name)


def test_saved_files_encode_as_the_modules_do(modules, encoder, rows, tmp_path):
    paths: list[Path] = []
    for name, module in modules.items():
        paths.append(tmp_path / name)
        if hasattr(module, "save_pretrained"):
            module.save_pretrained(paths[-1])
        elif name == "gru":
            paths[-1] = tmp_path / "gru.pt"
            torch.save(module.state_dict(), paths[-1])
        else:
            paths[-1] = tmp_path / f"{name}.safetensors"
            save_file(module.state_dict(), paths[-1])
    got = sne.encode(paths, encoder=encoder)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, rows.numpy(), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(sne.encode(paths[::-1], encoder=encoder, batch_size=1), got[::-1], rtol=1e-5, atol=1e-5)
