"""Writes 25 small checkpoints of transformers, which other measurements read.

    python benchmarks/transformers_files.py FOLDER

There are five files per architecture: as initialised (`a`), a copy in float16 (`half`), as initialised from another
seed (`other`), trained for 30 steps to reproduce its hidden states of other inputs, which leaves a pooler as it was
(`tuned`), and the same under names that begin with `model.` (`tuned-prefixed`).
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import (
    BertConfig,
    BertModel,
    GPT2Config,
    GPT2Model,
    LlamaConfig,
    LlamaModel,
    ResNetConfig,
    ResNetModel,
    ViTConfig,
    ViTModel,
)

SIZES = {"hidden_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 128}
MAKERS: dict[str, Callable[[], nn.Module]] = {
    "bert": lambda: BertModel(BertConfig(vocab_size=500, max_position_embeddings=64, **SIZES)),
    "gpt2": lambda: GPT2Model(GPT2Config(vocab_size=500, n_positions=64, n_embd=64, n_layer=3, n_head=4)),
    "llama": lambda: LlamaModel(LlamaConfig(vocab_size=500, max_position_embeddings=64, **SIZES)),
    "resnet": lambda: ResNetModel(
        ResNetConfig(embedding_size=16, hidden_sizes=[16, 32, 64], depths=[1, 1, 2], layer_type="basic")
    ),
    "vit": lambda: ViTModel(ViTConfig(image_size=16, patch_size=4, **SIZES)),
}


def made(name: str, seed: int) -> nn.Module:
    """Returns a model as initialised."""
    torch.manual_seed(seed)
    return MAKERS[name]()


def tuned(model: nn.Module, name: str, steps: int = 30) -> nn.Module:
    """Trains a model to give, for one input, the hidden states that it gave for another one at the start."""
    generator = torch.Generator().manual_seed(0)
    if name in ("vit", "resnet"):
        size = 16 if name == "vit" else 64
        first, second = torch.randn(2, 8, 3, size, size, generator=generator)
    else:
        first, second = torch.randint(500, (2, 8, 32), generator=generator)
    with torch.no_grad():
        wanted = model(second).last_hidden_state
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    for _ in range(steps):
        optimizer.zero_grad()
        nn.functional.mse_loss(model(first).last_hidden_state, wanted).backward()
        optimizer.step()
    return model


def state(model: nn.Module) -> dict[str, Tensor]:
    """Returns the state dict, with copies of its tensors."""
    return {name: values.detach().clone() for name, values in model.state_dict().items()}


def main() -> None:
    parser = argparse.ArgumentParser(description="Writes small checkpoints of transformers.")
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    for name in MAKERS:
        model = made(name, 0)
        save_file(state(model), folder / f"{name}-a.safetensors")
        halves = {key: values.half() if values.is_floating_point() else values for key, values in state(model).items()}
        save_file(halves, folder / f"{name}-half.safetensors")
        torch.save(state(made(name, 1)), folder / f"{name}-other.pt")
        trained = state(tuned(model, name))
        torch.save(trained, folder / f"{name}-tuned.pt")
        torch.save({f"model.{key}": values for key, values in trained.items()}, folder / f"{name}-tuned-prefixed.pt")


if __name__ == "__main__":
    main()
