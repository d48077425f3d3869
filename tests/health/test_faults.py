"""Faults of layers: copies, dead neurons, adapters without effect, statistics that were never collected."""

import json
import os

import pytest
import torch
from safetensors.torch import save_file

import sne


def found(state):
    return {(one.code, one.severity.value, one.location) for one in sne.check(state).findings}


def blocks(count=4):
    torch.manual_seed(0)
    return {
        f"h.{i}.{name}.weight": torch.randn(24, 24) + torch.randn(24, 1)
        for i in range(count)
        for name in ("fc", "proj")
    }


def attention(path, *, config=True, vision=False, **empty):
    """Writes a model with an attention of 6 heads and 3 of keys and values; `q=2` empties 2 heads of q_proj."""
    generator = torch.Generator().manual_seed(1)
    state = {}
    for name, rows in (("q", 24), ("k", 12), ("v", 12), ("o", 24)):
        values = torch.randn(rows, 24, generator=generator) + torch.randn(rows, 1, generator=generator)
        (values.T if name == "o" else values)[: 4 * empty.get(name, 0)] = 0
        state[f"model.layers.0.self_attn.{name}_proj.weight"] = values
    path.mkdir()
    save_file(state, path / "model.safetensors")
    heads = {"model_type": "llama", "num_attention_heads": 6, "num_key_value_heads": 3}
    if vision:
        heads = {"model_type": "llava", "text_config": heads, "vision_config": {"hidden_size": 24}}
    if config:
        (path / "config.json").write_text(json.dumps(heads))
    return {
        (one.code, one.severity.value, one.location.split(".")[-2], one.message) for one in sne.check(path).findings
    }


def test_empty_heads_are_found_where_the_heads_are_known(tmp_path):
    assert attention(tmp_path / "none") == set()
    found = attention(tmp_path / "some", q=2, v=1, o=1)
    assert found == {
        ("empty-heads", "info", "q_proj", "2 of 6 heads have no query weights"),
        ("empty-heads", "info", "v_proj", "1 of 3 heads have no value weights"),
        ("empty-heads", "info", "o_proj", "1 of 6 heads have no output weights"),
    }
    found = attention(tmp_path / "half", k=2, o=3)
    assert found == {
        ("half-empty", "warning", "k_proj", "2 of 3 heads have no key weights"),
        ("half-empty", "warning", "o_proj", "3 of 6 heads have no output weights"),
    }
    found = attention(tmp_path / "several models", vision=True, q=2)
    assert found == {("dead-neurons", "info", "q_proj", "8 of 24 neurons have no incoming weights")}
    found = attention(tmp_path / "unknown", config=False, q=2)
    assert found == {("dead-neurons", "info", "q_proj", "8 of 24 neurons have no incoming weights")}


def test_copied_blocks_are_one_finding():
    state = blocks()
    state |= {f"h.2.{name}.weight": state[f"h.1.{name}.weight"].clone() for name in ("fc", "proj")}
    (one,) = sne.check(state).findings
    assert (one.code, one.location, one.message) == ("duplicate", "h.2", "equals h.1, in 2 weight tensors")
    state["h.2.fc.weight"][23, 23] += 1e-3
    (one,) = sne.check(state).findings
    assert one.location == "h.2.proj"


def test_copies_are_read_in_pieces(tmp_path, monkeypatch):
    import sne.health.duplicates as duplicates

    state = blocks()
    state |= {"h.3.fc.weight": state["h.0.fc.weight"].clone()}
    save_file(state, tmp_path / "a.safetensors")
    monkeypatch.setattr(duplicates, "PIECE", 100)
    assert ("duplicate", "warning", "h.3.fc") in found(tmp_path / "a.safetensors")


def test_a_head_that_equals_its_embedding_is_a_remark():
    torch.manual_seed(0)
    table = torch.randn(50, 24)
    state = blocks() | {"wte.weight": table, "lm_head.weight": table.clone()}
    assert found(state) == {("duplicate", "info", "lm_head")}


def test_half_of_a_head_is_empty():
    state = blocks()
    head = torch.randn(10, 24) + torch.randn(10, 1)
    head[5:] = 0
    assert found(state | {"head.weight": head}) == {("half-empty", "warning", "head.weight")}
    head[5:] = torch.randn(5, 24)
    head[3] = 1e-20
    report = sne.check(state | {"head.weight": head})
    assert [one.message for one in report.findings] == ["1 of 10 outputs of the head have no incoming weights"]
    assert report.verdict == "good"


def test_an_entry_for_padding_is_no_finding():
    table = torch.randn(50, 24) + torch.randn(24)
    table[0] = 0
    assert found(blocks() | {"wte.weight": table}) == set()
    table[:30] = 0
    assert found(blocks() | {"wte.weight": table}) == {("half-empty", "warning", "wte.weight")}


@pytest.mark.parametrize(
    ("first", "second"),
    [("{}.lora_A.weight", "{}.lora_B.weight"), ("{}.lora_down.weight", "{}.lora_up.weight")],
)
def test_adapters_without_effect(first, second):
    torch.manual_seed(0)
    state = {}
    for name in ("q_proj", "v_proj"):
        state[first.format(f"layers.0.{name}")] = torch.randn(4, 32)
        state[second.format(f"layers.0.{name}")] = torch.zeros(32, 4)
    one, kind = sne.check(state).findings
    assert (kind.code, kind.severity) == ("adapter", "info")
    assert (one.code, one.severity, one.location) == ("adapter-without-effect", "warning", "network")
    assert one.message.startswith("2 of 2 factors B of the adapters are 0: ")
    state[second.format("layers.0.q_proj")] = torch.randn(32, 4)
    one, _ = sne.check(state).findings
    assert one.location == second.format("layers.0.v_proj")


def test_statistics_that_were_never_collected():
    state = {
        "conv.weight": torch.randn(8, 3, 3, 3) + torch.randn(8, 1, 1, 1),
        "bn.weight": torch.rand(8), "bn.bias": torch.rand(8), 
        "bn.running_mean": torch.zeros(8), "bn.running_var": torch.ones(8),
    }  # fmt: skip
    assert found(state) == {("unset-statistics", "warning", "bn")}
    state["bn.running_mean"][3] = 0.01
    assert found(state) == set()


def test_a_tensor_that_cannot_be_read_is_an_error(tmp_path):
    save_file({"a.weight": torch.rand(40, 40), "b.weight": torch.rand(40, 40)}, tmp_path / "a.safetensors")
    network = sne.read_network(tmp_path / "a.safetensors")
    os.truncate(tmp_path / "a.safetensors", 10_000)  # a copy that is still being written, or a failing disk
    report = sne.check(network)
    assert [(one.code, one.location) for one in report.findings] == [("unreadable", "b.weight")]
    assert report.verdict == "broken" and [one.tensor for one in report.tensors] == ["a.weight"]


def test_odd_tensors():
    assert found({"a.weight": torch.zeros(0, 5), "b.weight": torch.randn(4, 4)}) == set()
    assert found({"s.weight": torch.tensor(1.5)}) == set()
    assert found({"a.weight": torch.full((3, 3), torch.nan), "b.weight": torch.full((3, 3), torch.inf)}) == {
        ("nonfinite", "error", "a.weight"), ("nonfinite", "error", "b.weight"),
    }  # fmt: skip
    with pytest.raises(sne.CheckpointError, match="complex"):
        sne.check({"a.weight": torch.complex(torch.ones(2, 2), torch.ones(2, 2))})
    with pytest.raises(sne.CheckpointError, match="integers"):
        sne.check({"a.weight": torch.arange(9).reshape(3, 3)})
