"""Adapters: what they are called, their order, and the note that says so."""

import pytest
import torch
from network_modules import order, read

PEFT = "base_model.model.model.layers.0.self_attn."


def lora(prefix, rank=2, middle=""):
    return {
        f"{prefix}.lora_A{middle}.weight": torch.ones(rank, 8),
        f"{prefix}.lora_B{middle}.weight": torch.ones(8, rank),
    }


def about_adapters(network):
    return [note.reason for note in network.notes if "adapter" in note.reason]


def test_an_adapter_alone():
    network = read(lora(f"{PEFT}q_proj") | lora(f"{PEFT}v_proj"))
    assert about_adapters(network) == ["the file is an adapter of rank 2: changes of a network that is not in the file"]
    first, second = order(network)
    assert "lora_A" in first and "lora_B" not in first and "lora_B" in second
    mixed = read(lora(f"{PEFT}q_proj") | lora(f"{PEFT}v_proj", rank=4))
    assert "of ranks 2 to 4" in about_adapters(mixed)[0]


def test_an_adapter_beside_the_weights_that_it_changes():
    state = {f"layers.0.self_attn.{name}_proj.weight": torch.ones(8, 8) for name in "kvo"}
    state["layers.0.self_attn.q_proj.base_layer.weight"] = torch.ones(8, 8)
    network = read(state | lora("layers.0.self_attn.q_proj", middle=".default"))
    assert about_adapters(network) == [
        "an adapter of rank 2 is stored beside the weights that it changes; read as layers, not merged"
    ]
    types = {layer.name.rpartition("self_attn.")[2]: layer.type.value for layer in network.layers}
    assert types["q_proj.base_layer"] == "attention_query" and types["q_proj.lora_A.default"] == "linear"
    assert len([note for note in network.notes if "guess" in note.reason]) == 0


@pytest.mark.parametrize("leaf", ["lokr_w1", "hada_w1_a", "dora_scale"])
def test_other_factors_are_named(leaf):
    network = read({"x.alpha": torch.tensor(1.0), f"x.{leaf}": torch.ones(4, 4), "x.lokr_w1": torch.ones(4, 4)})
    reasons = {note.tensor: note.reason for note in network.notes}
    assert "strength of an adapter" in reasons["x.alpha"]
    assert reasons[f"x.{leaf}"].startswith(("a factor of an adapter", "the file is an adapter"))


def test_a_network_without_adapters_has_no_such_note():
    assert not about_adapters(read({"explorer.weight": torch.ones(8, 8), "flora.down.weight": torch.ones(8, 8)}))
