"""Adapters are said to be adapters, with their rank."""

import pytest
import torch

from sne.checkpoints import read_network


def matrices(*names: str) -> dict[str, torch.Tensor]:
    return {name: torch.ones((4, 16) if "A" in name or "down" in name else (16, 4)) for name in names}


@pytest.mark.parametrize(
    "state",
    [
        matrices("base_model.model.q_proj.lora_A.weight", "base_model.model.q_proj.lora_B.weight"),
        matrices("m.q_proj.lora_A.default.weight", "m.q_proj.lora_B.default.weight"),
        {
            **matrices("lora_unet_x.lora_down.weight", "lora_unet_x.lora_up.weight"),
            "lora_unet_x.alpha": torch.tensor(4.0),
        },
        matrices("unet.attn.to_q.lora.down.weight", "unet.attn.to_q.lora.up.weight"),
    ],
)
def test_lora(state):
    reasons = [note.reason for note in read_network(state).notes]
    assert any(reason.startswith("an adapter (LoRA, rank 4)") for reason in reasons)


def test_other_kinds_and_what_is_none():
    state = {"x.lokr_w1": torch.ones(4, 4), "x.lokr_w2_a": torch.ones(8, 2), "x.lokr_w2_b": torch.ones(2, 8)}
    assert any("an adapter" in note.reason for note in read_network(state).notes)
    unmerged = {"q.base_layer.weight": torch.ones(16, 16), **matrices("q.lora_A.weight", "q.lora_B.weight")}
    assert any("an unmerged adapter" in note.reason for note in read_network(unmerged).notes)
    plain = {"adapter.down.weight": torch.ones(4, 8), "explora_A.weight": torch.ones(4, 4)}
    assert not any("adapter" in note.reason for note in read_network(plain).notes)
