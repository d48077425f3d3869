"""Floating tensors that are no weights: masks, rotary tables, schedules, counters, moving averages of a trainer.

`BUFFERS` is the one table of such knowledge. A row is as narrow as the names allow, because a weight that is set aside
is lost, while a buffer that no row knows is read as a layer of type "other" with a note.
"""

import re
from collections.abc import Callable, Container
from dataclasses import dataclass
from functools import lru_cache
from math import prod

from sne.networks.part import TensorInfo

Shape = tuple[int, ...]


def _any(shape: Shape) -> bool:
    return True


def _is_one_number(shape: Shape) -> bool:
    return prod(shape) == 1


def _is_square(shape: Shape) -> bool:
    """Whether a tensor is one square, with any number of axes of size 1 before it."""
    return len(shape) >= 2 and shape[-1] == shape[-2] > 1 and prod(shape[:-2]) == 1


def _is_causal_mask(shape: Shape) -> bool:
    return len(shape) == 4 and _is_square(shape)


def _is_vector(shape: Shape) -> bool:
    return len(shape) == 1


def _is_table(shape: Shape) -> bool:
    return len(shape) == 2


def _is_one_row(shape: Shape) -> bool:
    return len(shape) == 2 and shape[0] == 1


def _counts_channels(shape: Shape) -> bool:
    """Whether there is one number per colour of an image, for use on [batch, channels, height, width]."""
    return len(shape) >= 3 and max(shape) == prod(shape) <= 4


def _is_small_filter(shape: Shape) -> bool:
    return 1 <= len(shape) <= 4 and prod(shape[:-2]) == 1 and max(shape[-2:]) <= 64


def _is_blur(shape: Shape) -> bool:
    return len(shape) == 2 and _is_square(shape) and shape[0] <= 8


@dataclass(frozen=True)
class Buffer:
    """Floating tensors that are no weights.

    Args:
        leaf: Regular expression for the whole last component of the name.
        what: What the tensor is, for the note.
        example: A full name, and after a comma where it was seen.
        inside: Regular expression that is searched in the path before the last component; empty if any path will do.
        fits: Whether a shape can be that of such a tensor.
        beside: Names below the same module of which one must be there; empty if it does not matter.
    """

    leaf: str
    what: str
    example: str
    inside: str = ""
    fits: Callable[[Shape], bool] = _any
    beside: tuple[str, ...] = ()


_MASK = "a mask of an attention"
_ROTARY = "angles of rotary positions, which follow from the settings"
_SCHEDULE = "the noise schedule of a diffusion model"
_AVERAGE = "statistics of a codebook, for training"
_QUEUE = "samples or averages of a self-supervised loss"
_PIXELS = "statistics by which inputs are normalised"
_FILTER = "a filter that is not learned"
_SOUND = "a window or filter bank of a spectrogram"
_INDEX = "indices of positions"
_ANCHORS = "anchors or strides of a detector"
_COUNTER = "a counter or another number of the training"
_CLASSES = "weights of the classes in a loss"
_OBSERVER = "state of a quantisation observer"
_ALIBI = "slopes or decays of positions, which follow from the number of heads"
_NORMALISER = r"(?i)(obs|ret|state|input|running)_(rms|norm|mean_std)|normali[sz]|scaler"

BUFFERS = (
    Buffer("bias", _MASK, "h.0.attn.bias, GPT-2, GPT-Neo, ImageGPT", fits=_is_causal_mask),
    Buffer("bias", _MASK, "layers.0.attention.bias, GPT-J", fits=_is_square, beside=("masked_bias",)),
    Buffer("mask", "a mask that the layer applies to its weight, which is read as it is stored",
           "net.0.mask, MADE", fits=_is_table, beside=("weight",)),
    Buffer("masked_bias", _MASK, "h.0.attn.masked_bias, GPT-2"),
    Buffer(
        r"((attn|attention|self_attn|causal|src|tgt|key|pad|padding|key_padding|look_ahead|future|window)_?)*mask|tri[lu]",
        _MASK, "attn_mask, CLIP and Swin; attn.mask, minGPT",
    ),
    Buffer(r"position_ids|token_type_ids|rel(ative)?_pos(ition)?_(index|idx)|\w*bias_idxs|rp_bucket", _INDEX,
           "attn.relative_position_index, Swin, in files that hold floats alone"),
    Buffer(r"relative_coords_table", _INDEX, "attn.relative_coords_table, Swin V2"),
    Buffer(r"(\w+_)?inv_freq|(cos|sin)_cached|freqs_(cis|cos|sin)|rope_(cos|sin)", _ROTARY,
           "rotary_emb.inv_freq, Llama; rope.freqs_cos, EVA-02"),
    Buffer(r"freqs|periods|(cos|sin)(_cache)?", _ROTARY, "rope.freqs, Llama by Meta; rope_embed.periods, DINOv3",
           inside=r"(^|\.)(rope|rotary)[a-z_]*$", fits=lambda shape: len(shape) <= 2),
    Buffer("embed_positions", _ROTARY, "h.0.attn.embed_positions, GPT-J and CodeGen",
           inside=r"(attn|attention)$", fits=_is_table),
    Buffer(r"alibi(_slopes|_bias|_biases)?|slope_rate|(query|key|diagonal)_decay", _ALIBI,
           "self_attn.slope_rate, MiniMax; alibi, models with linear biases"),
    Buffer(r"_float_tensor|version", _COUNTER, "decoder.embed_positions._float_tensor, decoder.version, fairseq",
           fits=_is_one_number),
    Buffer("num_batches_tracked", _COUNTER, "bn1.num_batches_tracked, in files that hold floats alone"),
    Buffer(r"(global_)?steps?|iterations?|iters?|n_iter|epochs?|count(er)?|num_updates|decay|initt?ed", _COUNTER,
           "model_ema.num_updates, latent diffusion; global_step", fits=_is_one_number),
    Buffer(r"anchors?|anchor_grid|anchor_points|strides?", _ANCHORS, "model.24.anchors, YOLOv5; model.22.strides"),
    Buffer(r"\d+", _ANCHORS, "anchor_generator.cell_anchors.0, detectron2", inside=r"cell_anchors$"),
    Buffer(r"project", _ANCHORS, "bbox_head.integral.project, GFL in mmdetection",
           inside=r"integral$", fits=_is_vector),
    Buffer(r"(pixel|image|img|input|data)_(mean|std)", _PIXELS, "pixel_mean, detectron2"),
    Buffer(r"mean|std", _PIXELS, "normalize.mean, of shape [1, 3, 1, 1]", fits=_counts_channels),
    Buffer("mean", _PIXELS, "normalizer.mean, normalised states", inside=_NORMALISER, beside=("std",)),
    Buffer("mean", _PIXELS, "obs_rms.mean, normalised observations", inside=_NORMALISER, beside=("var",)),
    Buffer(r"std|var", _PIXELS, "obs_rms.var, normalised observations", inside=_NORMALISER, beside=("mean",)),
    Buffer(r"betas|\w*alphas_cumprod(_prev)?|posterior_(variance|log_variance_clipped|mean_coef[12])"
           r"|lvlb_weights|p2_loss_weight|log_sigmas", _SCHEDULE, "sqrt_one_minus_alphas_cumprod, latent diffusion",
           fits=_is_vector),
    Buffer(r"sigmas|timesteps|loss_weight|snr", _SCHEDULE, "sigmas, k-diffusion", fits=_is_vector, beside=("betas",)),
    Buffer(r"_?(ema_\w+|cluster_size|embed_avg|embedding_avg|embed_sum|cluster_usage|codebook_usage)", _AVERAGE,
           "quantize.cluster_size, VQ-VAE; vq_layer._ema_w"),
    Buffer(r"(\w+_)?queue(_(ptr|labels?|\d+))?", _QUEUE, "queue, MoCo", fits=lambda shape: len(shape) <= 2),
    Buffer("center", _QUEUE, "dino_loss.center, DINO", fits=_is_one_row),
    Buffer(r"w_avg|latent_avg|dlatent_avg", _QUEUE, "mapping.w_avg, StyleGAN", fits=_is_vector),
    Buffer(r"resample_(filter|kernel)|filt|noise_const", _FILTER, "conv0.resample_filter, StyleGAN; filt, BlurPool"),
    Buffer(r"noise_\d+", _FILTER, "noises.noise_0, StyleGAN 2 of rosinality", inside=r"(^|\.)noises$"),
    Buffer("kernel", _FILTER, "conv1.blur.kernel, StyleGAN 2 of rosinality",
           inside=r"(^|\.)(blur|upsample|downsample)$", fits=_is_blur),
    Buffer("filter", _FILTER, "lowpass.filter, BigVGAN", inside=r"(^|\.)(lowpass|upsample|downsample)$",
           fits=_is_small_filter),
    Buffer(r"(\w+_)?window|mel_(basis|filters|fb|scale)|fbank|fb|melW", _SOUND,
           "spectrogram.window, mel_scale.fb, torchaudio", inside=r"(?i)(^$|mel|stft|spec|fbank|feature|frontend)",
           fits=lambda shape: len(shape) <= 2),
    Buffer(r"(pos_)?weight|weights", _CLASSES, "criterion.weight, CrossEntropyLoss as a module",
           inside=r"(^|\.)(criterion|crit|loss|loss_fn|loss_func|cross_entropy)$", fits=_is_vector),
    Buffer(r"class_weights?|pos_weight|empty_weight", _CLASSES, "criterion.empty_weight, DETR", fits=_is_vector),
    Buffer("alpha", "the strength of an adapter", "lora_unet_mid_block.alpha, kohya-ss", fits=_is_one_number,
           beside=("lora_down.weight", "lokr_w1", "lokr_w1_a", "hada_w1_a", "diff")),
    Buffer(r".*", _OBSERVER, "conv.activation_post_process.min_val, torch.ao.quantization",
           inside=r"(^|\.)(activation_post_process|weight_fake_quant)"),
)  # fmt: skip
"""The first row that matches decides."""


@lru_cache(maxsize=4096)
def _rows(leaf: str) -> tuple[Buffer, ...]:
    return tuple(row for row in BUFFERS if re.fullmatch(row.leaf, leaf))


def why_buffer(info: TensorInfo, names: Container[str]) -> str:
    """Returns why a floating tensor is no weight, by its name, its shape and what is beside it.

    Args:
        info: The tensor.
        names: Names of all tensors.

    Returns:
        The reason; empty if the tensor may be a weight.

    Example:
        >>> why_buffer(TensorInfo("h.0.attn.bias", (1, 1, 8, 8), "float32"), ())
        'a mask of an attention, not a weight'
    """
    path, dot, leaf = info.name.rpartition(".")
    for row in _rows(leaf):
        is_there = not row.beside or any(f"{path}{dot}{other}" in names for other in row.beside)
        if is_there and row.fits(info.shape) and (not row.inside or re.search(row.inside, path)):
            return f"{row.what}, not a weight"
    return ""
