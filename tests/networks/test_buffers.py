"""Floating tensors that are no weights, and weights that resemble them."""

import pytest
import torch
from network_modules import read
from torch import nn

from sne.networks import TensorInfo
from sne.networks.buffers import BUFFERS, why_buffer

SHAPES = {  # of the examples of the rows, and other tensors beside them
    "h.0.attn.bias": (1, 1, 8, 8),
    "layers.0.attention.bias": (8, 8),
    "h.0.attn.masked_bias": (),
    "net.0.mask": (6, 4),
    "attn_mask": (8, 8),
    "attn.relative_position_index": (9, 9),
    "attn.relative_coords_table": (1, 5, 5, 2),
    "rotary_emb.inv_freq": (4,),
    "rope.freqs": (4,),
    "h.0.attn.embed_positions": (16, 4),
    "self_attn.slope_rate": (4, 1, 1),
    "decoder.embed_positions._float_tensor": (1,),
    "bn1.num_batches_tracked": (),
    "model_ema.num_updates": (),
    "model.24.anchors": (3, 3, 2),
    "anchor_generator.cell_anchors.0": (3, 4),
    "bbox_head.integral.project": (17,),
    "pixel_mean": (3, 1, 1),
    "normalize.mean": (1, 3, 1, 1),
    "normalizer.mean": (11,),
    "obs_rms.mean": (11,),
    "obs_rms.var": (11,),
    "sqrt_one_minus_alphas_cumprod": (1000,),
    "sigmas": (1000,),
    "quantize.cluster_size": (16,),
    "queue": (8, 64),
    "dino_loss.center": (1, 64),
    "mapping.w_avg": (8,),
    "conv0.resample_filter": (4, 4),
    "noises.noise_0": (1, 1, 4, 4),
    "conv1.blur.kernel": (4, 4),
    "lowpass.filter": (1, 1, 12),
    "spectrogram.window": (400,),
    "criterion.weight": (10,),
    "criterion.empty_weight": (10,),
    "lora_unet_mid_block.alpha": (),
    "conv.activation_post_process.min_val": (),
}
BESIDE = {
    "layers.0.attention.masked_bias",
    "net.0.weight",
    "normalizer.std",
    "betas",
    "lora_unet_mid_block.lora_down.weight",
} | set(SHAPES)


@pytest.mark.parametrize("row", BUFFERS, ids=lambda row: row.example.partition(",")[0])
def test_the_example_of_a_row_is_set_aside_by_it(row):
    name = row.example.partition(",")[0]
    assert why_buffer(TensorInfo(name, SHAPES[name], "float32"), BESIDE) == f"{row.what}, not a weight"


WEIGHTS = {
    "attn.relative_position_bias_table": (49, 4),
    "attn.bias": (32,),
    "conv.bias": (1, 8, 1, 1),
    "alone.attention.bias": (8, 8),
    "mask_token": (1, 1, 8),
    "soft_mask": (8, 8),
    "logit_scale": (),
    "temperature": (1,),
    "log_std": (4,),
    "policy.mean.weight": (4, 8),
    "bn.mean": (8,),
    "bn.var": (8,),
    "upsample.kernel": (3, 3, 8, 16),
    "embed_positions.weight": (16, 8),
    "loss.net.weight": (8, 8),
    "centers": (10, 8),
    "betas": (4, 8),
    "step.weight": (8, 8),
    "window.weight": (8, 8),
    "pos_embed": (1, 9, 8),
    "codebook.embed": (16, 8),
}


@pytest.mark.parametrize("name", WEIGHTS)
def test_weights_that_resemble_them_are_kept(name):
    assert why_buffer(TensorInfo(name, WEIGHTS[name], "float32"), WEIGHTS) == ""


def test_values_of_a_mask_are_never_loaded():
    mask = torch.full((8, 8), float("-inf")).triu(1)
    network = read({"fc.weight": torch.ones(4, 8), "fc.bias": torch.ones(4), "attn_mask": mask})
    assert {part.tensor for _, part in network.parts()} == {"fc.weight", "fc.bias"}
    assert [note.tensor for note in network.notes] == ["attn_mask"]


def test_a_model_that_is_stored_in_floats_alone():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    state = {name: value.float() for name, value in net.state_dict().items()}
    network, whole = read(state), read(net)
    assert network.layers == whole.layers
    assert [note.tensor for note in network.notes] == ["1.num_batches_tracked"]


def test_tables_of_positions_that_may_be_fixed_are_kept_and_noted():
    network = read({"pos_encoder.pe": torch.ones(50, 1, 8), "fc.weight": torch.ones(4, 8)})
    assert [layer.type.value for layer in network.layers] == ["position", "linear"]
    assert [note.tensor for note in network.notes] == ["pos_encoder.pe"]
