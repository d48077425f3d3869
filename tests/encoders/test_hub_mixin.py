"""Encoders with the mixin of huggingface_hub, as docs/remote.md shows it."""

import pytest
import torch
from huggingface_hub import PyTorchModelHubMixin

import sne
from sne.encoders import SetEncoder, TensorSetEncoder


class HubSetEncoder(SetEncoder, PyTorchModelHubMixin, library_name="sne"):
    """The encoder after the paper, with the mixin."""


class HubTensorSetEncoder(TensorSetEncoder, PyTorchModelHubMixin, library_name="sne"):
    """The default encoder, with the mixin."""


@pytest.mark.parametrize(("encoder", "settings"), [(HubSetEncoder, {"dim": 32}), (HubTensorSetEncoder, {"dim": 48})])
def test_an_encoder_that_was_saved_is_loaded_with_its_settings(encoder, settings, tmp_path):
    torch.manual_seed(0)
    saved = encoder(**settings).eval()
    saved.save_pretrained(tmp_path)
    loaded = encoder.from_pretrained(tmp_path).eval()
    network = {"0.weight": torch.randn(8, 4), "0.bias": torch.randn(8), "2.weight": torch.randn(3, 8)}
    assert loaded.settings() == saved.settings()
    assert (sne.encode([network], encoder=loaded) == sne.encode([network], encoder=saved)).all()
    assert not any(file.suffix in (".bin", ".pkl", ".pt") for file in tmp_path.iterdir())
