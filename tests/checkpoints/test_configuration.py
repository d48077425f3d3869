"""What the configuration beside a checkpoint says about heads and quantisation."""

import json

import pytest

from sne.checkpoints.configuration import heads_of, quantisation_of, read_config
from sne.networks import Heads

CONFIGS = {
    "llama": ({"num_attention_heads": 8, "num_key_value_heads": 2, "head_dim": 64}, Heads(8, 2, 64)),
    "gpt2": ({"n_head": 12}, Heads(12)),
    "mpt": ({"n_heads": 16, "attn_config": {"kv_n_heads": 4}}, Heads(16, 4)),
    "falcon 7b": ({"model_type": "falcon", "num_attention_heads": 71, "num_kv_heads": 71, "multi_query": True,
                   "new_decoder_architecture": False}, Heads(71, 1, None, "falcon")),
    "falcon 40b": ({"model_type": "falcon", "num_attention_heads": 128, "num_kv_heads": 8, "multi_query": True,
                    "new_decoder_architecture": True}, Heads(128, 8, None, "falcon")),
    "falcon 40b, first version": ({"model_type": "RefinedWeb", "n_head": 128, "n_head_kv": 8},
                                  Heads(128, 8, None, "RefinedWeb")),
    "starcoder": ({"model_type": "gpt_bigcode", "n_head": 48}, Heads(48, 1, None, "gpt_bigcode")),
    "tiny starcoder": ({"model_type": "gpt_bigcode", "n_head": 12, "multi_query": False},
                       Heads(12, None, None, "gpt_bigcode")),
    "chatglm": ({"model_type": "chatglm", "num_attention_heads": 32, "multi_query_attention": True,
                 "multi_query_group_num": 2, "kv_channels": 128}, Heads(32, 2, 128, "chatglm")),
    "t5": ({"num_heads": 6, "d_kv": 64}, Heads(6, None, 64)),
    "bart": ({"encoder_attention_heads": 16, "decoder_attention_heads": 16}, Heads(16)),
    "multimodal": ({"model_type": "llava", "text_config": {"model_type": "mistral", "num_attention_heads": 32}},
                   Heads(32, None, None, "mistral")),
    "different stacks": ({"encoder_attention_heads": 16, "decoder_attention_heads": 8}, None),
    "per layer": ({"num_attention_heads": [4, 8]}, None),
    "nonsense": ({"num_attention_heads": "8", "text_config": 3, "n_head": True}, None),
}  # fmt: skip


@pytest.mark.parametrize("case", CONFIGS)
def test_heads(case):
    config, expected = CONFIGS[case]
    assert heads_of(config) == expected


def test_nesting_without_end_is_cut():
    config = {}
    config["text_config"] = config
    assert heads_of(config) is None
    assert quantisation_of(config) == {}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("quantize_config.json", {"bits": 4}),
        ("quant_config.json", {"bits": 4}),
        ("hf_quant_config.json", {"quantization": {"bits": 4}, "producer": {}}),
    ],
)
def test_settings_of_quantisation_in_a_file_of_their_own(name, content, tmp_path):
    (tmp_path / name).write_text(json.dumps(content))
    (tmp_path / "config.json").write_text('{"n_head": 2}')
    config = read_config(tmp_path / "model.safetensors")
    assert config == {"n_head": 2, "quantization_config": {"bits": 4}}


@pytest.mark.parametrize("content", ["", "[1]", "{", '{"a": 1, "a": 2}'])
def test_files_that_are_no_configuration_are_ignored(content, tmp_path):
    for name in ("config.json", "quantize_config.json"):
        (tmp_path / name).write_text(content)
    assert read_config(tmp_path) == {}
