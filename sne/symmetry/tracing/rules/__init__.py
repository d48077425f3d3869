"""Rules of operations: which axes each operation ties together, and how it passes on scales."""

from collections.abc import Callable, Mapping

from sne.symmetry.tracing.axes import Result
from sne.symmetry.tracing.call import Call
from sne.symmetry.tracing.rules import (
    contraction,
    elementwise,
    indexing,
    normalising,
    recurrent,
    reducing,
    regrouping,
)

Rule = Callable[[Call], Result]

RULES: Mapping[str, Rule] = {
    **dict.fromkeys(elementwise.PASSINGS, elementwise.unary_rule),
    **dict.fromkeys(
        ("clone", "contiguous", "alias", "detach", "dropout", "_to_copy", "to", "lift_fresh_copy", "type_as"),
        regrouping.through_rule,
    ),
    **dict.fromkeys(("add", "sub", "rsub"), elementwise.sum_rule),
    **dict.fromkeys(("maximum", "minimum"), elementwise.maximum_rule),
    **dict.fromkeys(("mul", "multiply"), elementwise.product_rule),
    **dict.fromkeys(("div", "divide", "true_divide"), elementwise.quotient_rule),
    "pow": elementwise.power_rule,
    "where": elementwise.choice_rule,
    "masked_fill": elementwise.masked_fill_rule,
    "glu": elementwise.gate_rule,
    **dict.fromkeys(("clamp", "clamp_min"), elementwise.clamp_rule),
    **dict.fromkeys(("prelu", "_prelu_kernel"), elementwise.prelu_rule),
    **dict.fromkeys(
        ("eq", "ne", "lt", "le", "gt", "ge", "logical_and", "logical_or", "logical_xor", "bitwise_and", "bitwise_or",
         "__and__", "__or__", "atan2", "remainder", "fmod", "floor_divide", "clamp_max"),
        elementwise.nonlinear_rule,
    ),
    **dict.fromkeys(
        ("zeros", "ones", "full", "new_zeros", "new_ones", "new_full", "zeros_like", "ones_like", "full_like",
         "scalar_tensor"),
        elementwise.constant_rule,
    ),
    "linear": contraction.linear_rule,
    "bilinear": contraction.bilinear_rule,
    **dict.fromkeys(("matmul", "mm", "bmm", "mv", "dot"), contraction.matmul_rule),
    **dict.fromkeys(("addmm", "baddbmm"), contraction.addmm_rule),
    "einsum": contraction.einsum_rule,
    **dict.fromkeys(
        ("conv1d", "conv2d", "conv3d", "convolution", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d"),
        contraction.convolution_rule,
    ),
    **dict.fromkeys(("view", "_unsafe_view", "reshape", "flatten", "unflatten"), regrouping.view_rule),
    **dict.fromkeys(("permute", "transpose", "t"), regrouping.permute_rule),
    "unsqueeze": regrouping.unsqueeze_rule,
    "squeeze": regrouping.squeeze_rule,
    **dict.fromkeys(("expand", "expand_as"), regrouping.expand_rule),
    "pixel_shuffle": regrouping.pixel_shuffle_rule,
    "repeat": regrouping.repeat_rule,
    "repeat_interleave": regrouping.repeat_interleave_rule,
    **dict.fromkeys(("cat", "concat"), indexing.cat_rule),
    "stack": indexing.stack_rule,
    **dict.fromkeys(("constant_pad_nd", "pad"), indexing.pad_rule),
    "unbind": indexing.unbind_rule,
    "select": indexing.select_rule,
    "slice": indexing.slice_rule,
    "narrow": indexing.narrow_rule,
    **dict.fromkeys(("split", "split_with_sizes", "chunk"), indexing.split_rule),
    **dict.fromkeys(("sum", "mean"), reducing.reduction_rule),
    **dict.fromkeys(("amax", "amin", "logsumexp", "linalg_vector_norm", "var", "std"), reducing.extremum_rule),
    **dict.fromkeys(("softmax", "_softmax", "log_softmax", "_log_softmax"), reducing.softmax_rule),
    **dict.fromkeys(("cumsum", "cumprod", "sort", "topk", "flip", "roll", "argmax", "argmin", "diff"),
                    reducing.ordered_rule),
    **dict.fromkeys(
        ("max_pool1d", "max_pool2d", "max_pool3d", "max_pool2d_with_indices", "adaptive_max_pool1d",
         "adaptive_max_pool2d", "adaptive_max_pool3d", "avg_pool1d", "avg_pool2d", "avg_pool3d",
         "adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d", "_adaptive_avg_pool2d",
         "upsample_nearest1d", "upsample_nearest2d", "upsample_nearest3d", "upsample_bilinear2d",
         "upsample_bicubic2d", "upsample_trilinear3d", "upsample_linear1d", "_upsample_bicubic2d_aa",
         "_upsample_bilinear2d_aa", "reflection_pad1d", "reflection_pad2d", "replication_pad1d", "replication_pad2d"),
        reducing.pooling_rule,
    ),
    **dict.fromkeys(("batch_norm", "instance_norm"), normalising.batch_norm_rule),
    **dict.fromkeys(("_native_batch_norm_legit_no_training", "_native_batch_norm_legit"),
                    normalising.native_batch_norm_rule),
    "layer_norm": normalising.layer_norm_rule,
    "rms_norm": normalising.rms_norm_rule,
    "_weight_norm": normalising.weight_norm_rule,
    "group_norm": normalising.group_norm_rule,
    "embedding": indexing.embedding_rule,
    "index": indexing.index_rule,
    "gather": indexing.gather_rule,
    "index_select": indexing.index_select_rule,
    "scaled_dot_product_attention": contraction.attention_rule,
    **dict.fromkeys(("lstm", "gru", "rnn_tanh", "rnn_relu"), recurrent.recurrent_rule),
}  # fmt: skip
"""Maps names of operations, without overloads, to their rules. A new operation needs a rule and a line here."""
