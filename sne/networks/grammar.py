"""The grammar of names: it infers the role of a module, and its place among its siblings, from its name.

`GRAMMAR` is the one table of such knowledge. Recognition (`sne.networks`) and the symmetries of plain stacks
(`sne.symmetry.by_name`) both read it. To support an unknown layout, add one row with an example of a name, and one
layout file in `tests/networks/layouts/` that shows the order; docs/extending.md has the steps. Nothing else changes.

A row answers one question, its `form`:

- ROLE: what is this module or tensor? All rows of a role are tried.
- MODULE, BLOCK, ...: where does it stand among its siblings in a parent of this form? The first row that matches
  decides. `PLACES` lists the places of each form from the input to the output; places next to each other in a tuple
  that start with "|" stand side by side.

Names are matched one component at a time, in lower case with words joined by "_". Rows of MODULE and TIE see the name
without its number (`conv` for `conv1`), all others the whole name.
"""

import re
from collections.abc import Set
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

from sne.networks.spelling import snake_case


class Form(StrEnum):
    """The question that a row answers."""

    ROLE = "role"
    MODULE = "module"  # place in a module of no special form
    TIE = "tie"  # order of modules at one place of MODULE, if their widths do not decide it
    BLOCK = "block"  # place in a transformer block: a module that holds an attention
    BLOCK_NORM = "norm of a block"
    ATTENTION = "attention"  # place in a module that holds queries and keys
    ATTENTION_NORM = "norm of an attention"
    MLP = "mlp"  # place in a feed-forward module with names of its own
    MLP_NORM = "norm of an mlp"
    ADAPTER = "adapter"  # place in a layer that an adapter changes
    SQUEEZE = "squeeze"  # place in a squeeze-and-excite module


@dataclass(frozen=True)
class Row:
    """One row of the grammar: names that match the pattern have the role or the place.

    Args:
        form: Question that the row answers.
        says: The role or the place.
        pattern: Regular expression that is searched in the name.
        example: A name that this row decides, and after a comma where it was seen.
        plain: Place in a plain stack, for a pattern of whole words that are common in plain stacks and in nothing
            else; empty for names that do not show a plain stack.
        beside: Role that the name of a sibling must have for the row to hold; empty if siblings do not matter.
    """

    form: Form
    says: str
    pattern: str
    example: str
    plain: str = ""
    beside: str = ""

    def matches(self, name: str) -> bool:
        """Whether the pattern is in a name."""
        return re.search(self.pattern, name) is not None


PLACES: dict[Form, tuple[str, ...]] = {
    Form.MODULE: (
        "number",  # in plain stacks alone: components that are numbers
        "embedding",  # tables, and layers that cut an image into tokens
        "stem",  # first layer
        "gate",  # in front of the body: a router, an expansion
        "tower",  # encoders side by side
        "body",  # where a name that no row knows stands
        "recurrent",  # in plain stacks alone: elsewhere widths decide between these and the body
        "middle",  # between encoder and decoder
        "moments",  # mean and variance of a code, side by side
        "decoder",
        "projection",  # narrows the output of the body
        "tower end",
        "head convolution",  # last convolution, in front of the pooling
        "pooling",
        "dense",  # linear layers in front of the head
        "head",  # last layer
        "loose",  # scales and other vectors, whose place names do not tell
        "side",  # in plain stacks alone: norms and activations, whose place is found by other means
    ),
    Form.TIE: ("depthwise first", "pointwise", "depthwise", "squeeze", "other", "blocks"),
    Form.BLOCK: (
        "embedding",
        "stem",
        "attention norm",
        "attention",
        "after attention",
        "cross-attention norm",
        "cross-attention",
        "mlp norm",
        "mlp",
        "after mlp",
        "head",
    ),
    Form.ATTENTION: ("projections", "norm of a projection", "between", "out", "norm"),
    Form.MLP: ("norm", "up", "between", "inner norm", "down"),
    Form.ADAPTER: ("first", "middle", "second", "scale"),
    Form.SQUEEZE: ("reduce", "expand"),
}
"""Places from the input to the output. A norm's form has the places of the form that holds it."""

PARALLEL = frozenset({"tower", "moments", "tower end", "loose"})
"""Places of MODULE whose modules stand side by side."""

OTHERWISE = {
    Form.MODULE: "body",
    Form.TIE: "other",
    Form.BLOCK: "mlp",
    Form.BLOCK_NORM: "attention norm",
    Form.ATTENTION: "between",
    Form.ATTENTION_NORM: "norm",
    Form.MLP: "between",
    Form.MLP_NORM: "inner norm",
    Form.ADAPTER: "first",  # the layer itself, beside the first factor of its change
    Form.SQUEEZE: "reduce",
}
"""The place of a name that no row of a form matches."""

GRAMMAR = (
    # Roles of modules and tensors.
    Row(Form.ROLE, "norm", r"norm", "norm1, timm ViT; layer_norm, transformers"),
    Row(Form.ROLE, "norm", r"(^|_)(bn|ln|gn|rms)(_|\d|$)", "bn1, torchvision ResNet; ln_f, GPT-2"),
    Row(Form.ROLE, "batch norm", r"batch_?norm|(^|_)bns?(_|\d|$)|bn\d*$", "bn2, torchvision ResNet; skipbn, Xception"),
    Row(Form.ROLE, "layer norm", r"layer_?norm|(^|_)lns?(_|\d|$)", "ln_1, GPT-2; layernorm_before, ViT"),
    Row(Form.ROLE, "group norm", r"group_?norm|(^|_)gn\d*$", "group_norm, diffusers"),
    Row(Form.ROLE, "position", r"^wpe$", "wpe, GPT-2"),
    Row(Form.ROLE, "position", r"(^|_)pos(ition(al)?|itions)?(_|$|s$)|pos_?emb|position", "pos_embed, timm ViT"),
    Row(Form.ROLE, "position", r"^pe$", "pos_encoder.pe, tutorials of PyTorch"),
    Row(Form.ROLE, "position", r"relative_attention_bias|rel_pos", "relative_attention_bias, T5; rel_pos_h, SAM"),
    Row(Form.ROLE, "embedding", r"^wte$|^shared$", "wte, GPT-2; shared, T5"),
    Row(Form.ROLE, "embedding", r"embed(?!_out)|^emb(_|$)|_emb$", "embed_tokens, Llama"),
    Row(Form.ROLE, "embedding", r"(cls|mask|dist|class|register)_tokens?$", "cls_token, timm ViT"),
    Row(Form.ROLE, "not a table", r"proj", "pos_proj, DeBERTa; time_emb_proj, diffusers"),
    # Names that Keras makes of classes say nothing about the order, which the configuration tells.
    Row(
        Form.ROLE, "named by its class",
        r"^((batch|layer|group|rms)_normalization|(depthwise_|separable_)?conv[123]d(_transpose)?|multi_head_attention"
        r"|bidirectional|simple_rnn|p_re_lu)(_\d+)?$",
        "conv2d_1, Keras without names of the user",
    ),
    # Roles of linear layers in an attention.
    Row(Form.ROLE, "query", r"^(to_|w|linear_|lin_)?(q|query)(_proj|_lin|_linear|_layer)?(_weight)?$", "q_lin, XLM"),
    Row(Form.ROLE, "query", r"^q_attn$", "q_attn, cross-attention of GPT-2"),
    Row(Form.ROLE, "kv", r"^(to_|w|c_)?kv(_proj|_lin|_linear)?$", "kv, PVT; to_kv, lucidrains; kv_linear, PixArt"),
    Row(Form.ROLE, "interleaved kv", r"^(linear_kv|key_value)$", "linear_kv, cross-attention of Megatron-Core"),
    Row(Form.ROLE, "low-rank kv", r"^kv_b_proj$", "kv_b_proj, DeepSeek-V2 and V3"),
    Row(Form.ROLE, "key", r"^(to_|w|linear_|lin_)?(k|key)(_proj|_lin|_linear|_layer)?(_weight)?$", "to_k, diffusers"),
    Row(Form.ROLE, "value", r"^(to_|w|linear_|lin_)?(v|value)(_proj|_lin|_linear|_layer)?(_weight)?$", "wv, Llama"),
    Row(Form.ROLE, "qkv", r"^(to_|w)?qkv(_proj)?$", "qkv, timm ViT; wqkv, ModernBERT"),
    Row(Form.ROLE, "qkv", r"^c_attn$", "c_attn, GPT-2"),
    Row(Form.ROLE, "qkv", r"^w_?pack$", "W_pack, Baichuan"),
    Row(Form.ROLE, "qkv", r"^(qkv_linear|att_proj)$", "qkv_linear, LayoutLMv2; att_proj, OLMo"),
    Row(Form.ROLE, "qkv", r"^(query_key_value|linear_qkv)$", "query_key_value, GPT-NeoX; linear_qkv, Megatron-Core"),
    Row(Form.ROLE, "qkv", r"^in_proj(_weight)?$", "in_proj, torch attention with a module of its own"),
    Row(Form.ROLE, "out", r"^(c_proj|out_proj|o_proj|proj|o|wo)$", "o_proj, Llama; proj, timm ViT; wo, Llama by Meta"),
    Row(Form.ROLE, "out", r"^(out|to_out|out_lin|attn_out|linear_o)$", "to_out, diffusers; out_lin, DistilBERT"),
    Row(Form.ROLE, "out", r"^attention_output$", "attention_output, MultiHeadAttention of Keras"),
    Row(Form.ROLE, "out", r"^linear_proj$", "linear_proj, Megatron-Core"),
    Row(Form.ROLE, "out", r"^(dense|output)$", "dense, BERT and GPT-NeoX"),
    Row(Form.ROLE, "stored in-first", r"^(c_attn|c_fc|c_proj|q_attn)$", "c_fc, GPT-2: Conv1D of transformers"),
    Row(Form.ROLE, "gate and up", r"^(gate_up_proj|wi_gate_up)$", "gate_up_proj, Phi-3"),
    # The contents of a module, which decide its form.
    Row(Form.ROLE, "attention", r"attn|attention|^msa$|^mha$|^sa$", "self_attn, Llama; attention, BERT"),
    Row(Form.ROLE, "cross-attention", r"cross|enc_?dec|encoder_attn", "EncDecAttention, T5; encoder_attn, BART"),
    Row(Form.ROLE, "cross-attention", r"multihead_attn", "multihead_attn, torch TransformerDecoderLayer"),
    Row(Form.ROLE, "squeeze-and-excite", r"squeeze|^se(_module|_block|_layer)?$", "se, timm EfficientNet"),
    Row(Form.ROLE, "blocks", r"^(blocks?|layers?|stages?|h|residual_layers|resnets|groups)$", "h, GPT-2; blocks, timm"),
    Row(Form.ROLE, "side by side", r"^(experts|(\w+_)?heads|branches|towers|adapters|embeddings)$", "experts, Mixtral"),
    Row(Form.ROLE, "moment", r"(^|_)(mu|mean|log_?var|var|log_?std|std|sigma|log_?sigma)$", "fc_logvar, autoencoders"),
    Row(Form.ROLE, "no name", r"^(c|constants?)$", "c, of c0 and c1 in frozen TorchScript"),
    Row(Form.ROLE, "adapter", r"^lora_(a|b|up|down|mid|embedding_a|embedding_b|magnitude_vector)$", "lora_A, PEFT"),
    Row(Form.ROLE, "adapter", r"(^|_)lora$", "to_q_lora, early diffusers"),
    Row(Form.ROLE, "adapter first", r"^lora_(a|down|embedding_a)$", "lora_down, kohya-ss"),
    Row(Form.ROLE, "shortcut", r"downsampl|shortcut|^skip|identity", "downsample, torchvision ResNet; skip, Xception"),
    Row(Form.ROLE, "shortcut", r"^residual_(conv|proj)|conv_skip", "residual_conv, rewrites of WaveNet and TCN"),
    Row(Form.ROLE, "strided layer", r"^(?!shortcut).*downsampl", "downsample, timm Swin; downsampling_layer, ConvNeXt"),
    Row(Form.ROLE, "mlp up", r"^(up|gate|up_proj|gate_proj|gate_up_proj)$", "gate_proj, Llama; gate_up_proj, Phi-3"),
    Row(Form.ROLE, "mlp up", r"^(w1|w3|wi|wi_0|wi_1)$", "wi_0, T5; w3, Llama by Meta"),
    Row(Form.ROLE, "mlp up", r"^(c_fc|c_in|fc_in|fc1|fc1_g|fc1_x)$", "c_fc, GPT-2; fc_in, GPT-J; fc1_g, EVA-02"),
    Row(Form.ROLE, "mlp up", r"^(linear1|lin1|dense_h_to_4h|intermediate)$", "dense_h_to_4h, GPT-NeoX"),
    Row(Form.ROLE, "mlp up or first layer", r"^(fc1|linear1|lin1)$", "fc1, whose number may count layers of any stack"),
    Row(Form.ROLE, "mlp down", r"^(down|down_proj|w2|wo)$", "down_proj, Llama; wo, T5"),
    Row(Form.ROLE, "mlp down", r"^(c_proj|c_out|fc_out|fc2)$", "c_proj, GPT-2; fc_out, GPT-J"),
    Row(Form.ROLE, "mlp down", r"^(linear2|lin2|dense_4h_to_h|output)$", "lin2, DistilBERT; dense_4h_to_h, GPT-NeoX"),
    Row(Form.ROLE, "feed-forward", r"^ff_(?!norm)", "ff_proj, OLMo by AI2: an MLP that is no module of its own"),
    Row(Form.ROLE, "own mlp norm", r"pre_feedforward", "pre_feedforward_layernorm, Gemma 2"),
    Row(Form.ROLE, "norm at the input", r"embed|pre|input|first", "ln_pre, CLIP; norm_embed, DeBERTa"),
    Row(Form.ROLE, "dense", r"^(dense|linear|lin)$", "dense, BERT: a layer that a norm may follow"),
    Row(Form.ROLE, "transposed convolution", r"deconv|transpose|^up_?conv", "deconv1, upconv2, U-Nets"),
    Row(
        Form.ROLE, "norm word", r"^((batch|layer|group|rms)?norm\w*|batch|layer|group|rms|[blg]n\d*|\d+)$",
        "bn, timm GhostNet: what is left of bn_dw names the layer that the norm belongs to",
    ),
    Row(Form.ROLE, "kind of layer", r"^(conv|convolution|proj|linear|dense)$", "conv, of conv_dw with its norm bn_dw"),
    Row(Form.ROLE, "output", r"head|decoder|predict", "lm_head, which is often tied to an embedding"),
    Row(Form.ROLE, "second half of an mlp", r"output|^ff_out$", "ffn_output, ALBERT; output, BERT; ff_out, OLMo"),
    # Where a module stands among its siblings in a module of no special form.
    Row(Form.MODULE, "head", r"embed_out|unembed|lm_head", "lm_head, GPT-2; embed_out, GPT-NeoX"),
    # Whole words that are common in plain stacks: `plain` is their place in such a stack.
    Row(
        Form.MODULE, "embedding",
        r"^(embed|embeds|embedding|embeddings|emb|word_embeddings?|token_embeddings?|wte)$",
        "embedding, text classifiers", plain="embedding",
    ),
    Row(Form.MODULE, "stem", r"^(input|input_layer|input_proj|inp|stem|first|conv_in)$", "stem", plain="stem"),
    Row(Form.MODULE, "dense", r"^fc_in$", "fc_in, before hidden layers", plain="stem"),
    Row(
        Form.MODULE, "body",
        r"^(conv|convs|conv_layers?|features|feature_extractor|encoder|backbone|body|trunk|layers?|blocks?|hidden"
        r"|hidden_layers?|net|network|main|model|module|module_list|seq|sequential|cnn)$",
        "conv1, LeNet; features, torchvision VGG; net, SIREN", plain="body",
    ),
    Row(Form.MODULE, "dense", r"^mlp$", "mlp, a stack of linear layers before a head", plain="body"),
    Row(Form.MODULE, "body", r"^(lstm|gru|rnn)$", "lstm", plain="recurrent"),
    Row(Form.MODULE, "dense", r"^(fc|fcs|linear|lin|dense|fc_layers?|linear_layers?)$", "fc1, LeNet", plain="dense"),
    Row(Form.MODULE, "body", r"^linears$", "linears, a list of linear layers", plain="dense"),
    Row(Form.MODULE, "decoder", r"^decoder$", "decoder, autoencoders", plain="dense"),
    Row(
        Form.MODULE, "head",
        r"^(classifier|head|out|output|output_layer|out_proj|conv_out|final|last|logits|readout|regressor)$",
        "classifier, torchvision VGG", plain="head",
    ),
    Row(Form.MODULE, "dense", r"^fc_out$", "fc_out, seq2seq decoders", plain="head"),
    Row(
        Form.MODULE, "body",
        r"^(bn|bns|ln|lns|norms?|batch_?norm|layer_?norm|rms_?norm|p?relu|act|activation)$",
        "bns, a list of norms next to a list of layers", plain="side",
    ),
    # Parts of words, from the input to the output where several fit.
    Row(Form.MODULE, "stem", r"stem|conv_first|conv_in$", "conv_stem, timm EfficientNet; conv_first, ESRGAN"),
    Row(Form.MODULE, "stem", r"^lora_te$", "lora_te, text encoder in kohya-ss, before lora_unet"),
    Row(Form.MODULE, "stem", r"^input|^in_|^init|^first|^proj_in$", "input_blocks, guided diffusion; init_conv"),
    Row(Form.MODULE, "embedding", r"embed|^emb(_|$)|_emb$|^wpe$|^shared$", "embed_tokens, Llama; shared, T5"),
    Row(Form.MODULE, "embedding", r"tokens?$|(^|_)pos(_|$|ition)", "cls_token, pos_embed, timm ViT"),
    Row(Form.MODULE, "embedding", r"patch|^conv_proj$", "patch_partition; conv_proj, torchvision ViT"),
    Row(Form.MODULE, "gate", r"expan", "expand_1x1, MobileNet V2; expansion, EfficientNet"),
    Row(Form.MODULE, "gate", r"^gate$|^router$", "gate, Mixtral; router, Switch Transformer"),
    Row(
        Form.MODULE, "tower", r"^(text|vision|visual|image|audio)(_(model|encoder|tower|backbone))?$",
        "text_model, CLIP",
    ),
    Row(Form.MODULE, "tower end", r"^(text|vision|visual|image|audio)_proj(ection)?$", "text_projection, CLIP"),
    Row(Form.MODULE, "moments", r"^(mu|mean|logvar|log_var|std|log_std|sigma)$", "logvar, variational autoencoders"),
    Row(Form.MODULE, "middle", r"^mid(dle)?(_|$)|bottleneck|^latent", "mid_block, diffusers; bottleneck, U-Nets"),
    Row(Form.MODULE, "decoder", r"^dec(oder)?(_|$)|^ups?(_|$)|^upsampl", "up_blocks, diffusers; dec, autoencoders"),
    Row(Form.MODULE, "projection", r"reduce|^project(ion|_conv|_layer)?$", "reduce_1x1, MobileNet V2; projection"),
    Row(Form.MODULE, "projection", r"conv_pwl|point_linear", "conv_pwl, timm EfficientNet"),
    Row(Form.MODULE, "head convolution", r"^conv_(head|last|1x1)$|^last_conv$", "conv_head, timm EfficientNet"),
    Row(Form.MODULE, "pooling", r"pool|pre_logits", "pooler, BERT; attnpool, CLIP ResNet"),
    Row(Form.MODULE, "dense", r"^(fc|linear|dense)_", "fc_norm, timm ViT"),
    Row(Form.MODULE, "head", r"head|classif|^cls$|^score|logits|predict", "cls, BERT; score, GPT-2 classifier"),
    Row(
        Form.MODULE, "head", r"^(action|value|policy)_net$|^(actor|critic)(_|$)",
        "action_net, stable-baselines3; critic_linear, PPO",
    ),
    Row(Form.MODULE, "head", r"qa_output|^out|^last|^final|proj_out|conv_out", "qa_outputs, BERT; proj_out, diffusers"),
    Row(Form.MODULE, "loose", r"gamma|layer_?scale|^ls$", "gamma, timm ConvNeXt; ls1, timm ViT"),
    # Modules at one place whose widths do not chain.
    Row(Form.TIE, "depthwise first", r"^dwconv|^depthwise_conv$", "dwconv, ConvNeXt; depthwise_conv, EfficientNet"),
    Row(Form.TIE, "pointwise", r"^conv$|^convs$", "conv, next to a module without a known place"),
    Row(Form.TIE, "pointwise", r"pw(conv)?$|point(wise)?", "conv_pw, timm; pwconv1, ConvNeXt"),
    Row(Form.TIE, "depthwise", r"dw$|depthwise|3x3", "conv_dw, timm; conv_3x3, MobileNet V2"),
    Row(Form.TIE, "squeeze", r"^se$|squeeze", "se, timm; squeeze_excite, EfficientNet"),
    Row(Form.TIE, "blocks", r"^(blocks?|layers?|stages?|h|groups)$", "blocks, after what has no known place"),
    # Where a module stands in a transformer block and in its parts.
    Row(
        Form.BLOCK, "cross-attention",
        r"^(?=.*(cross|enc_?dec|encoder_attn|multihead_attn)).*(attn|attention)",
        "encoder_attn, BART; multihead_attn, torch TransformerDecoderLayer",
    ),
    Row(Form.BLOCK, "attention", r"attn|attention|^msa$|^mha$|^sa$", "self_attn, Llama; attention, BERT"),
    Row(Form.BLOCK, "after mlp", r"^(?=.*(gamma|layer_?scale|^ls)).*(?<![\dx])2[a-z]?$", "ls2, timm ViT; gamma_2"),
    Row(Form.BLOCK, "after attention", r"gamma|layer_?scale|^ls", "ls1, timm ViT"),
    Row(Form.BLOCK, "head", r"head|classif|logits", "head, next to an attention"),
    Row(Form.BLOCK_NORM, "after mlp", r"post_feedforward|post_mlp|post_ffn", "post_feedforward_layernorm, Gemma 2"),
    Row(Form.BLOCK_NORM, "after mlp", r"output_layer_norm|full_layer", "output_layer_norm, DistilBERT"),
    Row(Form.BLOCK_NORM, "mlp norm", r"pre_feedforward|pre_mlp|feed_forward", "pre_feedforward_layernorm, Gemma 2"),
    Row(Form.BLOCK_NORM, "mlp norm", r"ffn|^ff_|mlp|after|final", "ffn_norm, Llama by Meta; layernorm_after, ViT"),
    Row(Form.BLOCK_NORM, "cross-attention norm", r"cross|encoder_attn|enc_dec", "encoder_attn_layer_norm, BART"),
    Row(Form.BLOCK_NORM, "after attention", r"^sa_layer_norm|post_attn|post_self", "sa_layer_norm, DistilBERT"),
    Row(
        Form.BLOCK_NORM, "after attention", r"post_attention", "post_attention_layernorm, Gemma 2",
        beside="own mlp norm",
    ),
    Row(Form.BLOCK_NORM, "mlp norm", r"post_attention", "post_attention_layernorm, Llama, which stands before the MLP"),
    Row(Form.BLOCK_NORM, "attention norm", r"before|input|attn|attention|pre", "input_layernorm, Llama"),
    Row(Form.BLOCK_NORM, "mlp norm", r"(?<![\dx])([3-9]|[1-9]\d+)[a-z]?$", "norm3, torch TransformerDecoderLayer"),
    Row(
        Form.BLOCK_NORM, "cross-attention norm", r"(?<![\dx])2[a-z]?$", "norm2, torch TransformerDecoderLayer",
        beside="cross-attention",
    ),
    Row(Form.BLOCK_NORM, "mlp norm", r"(?<![\dx])2[a-z]?$", "norm2, timm ViT"),
    Row(
        Form.ATTENTION, "projections", r"^$|^(q|kv)_a_proj(_with_mqa)?$|^(linear_kv|key_value)$",
        "kv_a_proj_with_mqa, DeepSeek-V3; and parameters of the module itself, which have no name",
    ),
    Row(Form.ATTENTION, "projections", r"bias|pos|rel", "relative_position_bias_table, Swin; pos_proj, DeBERTa"),
    Row(Form.ATTENTION, "between", r"^(q|kv)_b_proj$", "kv_b_proj, DeepSeek-V3, after the norm of kv_a"),
    Row(Form.ATTENTION, "out", r"out|proj$", "out_projection, Small Transformer Zoo"),
    Row(
        Form.ATTENTION_NORM, "norm of a projection", r"(^|_)(q|k|v|kv|query|key|value)(_|$)|^norm[qkv]$",
        "q_norm, Qwen3",
    ),
    Row(Form.MLP_NORM, "norm", r"pre|in", "pre_norm"),
    Row(Form.ADAPTER, "first", r"^lora_(a|down|embedding_a)$|^down$", "lora_A, PEFT, beside base_layer"),
    Row(Form.ADAPTER, "middle", r"^lora_mid$", "lora_mid, LoCon of LyCORIS with a core tensor"),
    Row(Form.ADAPTER, "second", r"^lora_(b|up|embedding_b)$|^up$", "lora_B, PEFT"),
    Row(Form.ADAPTER, "scale", r"magnitude|dora_scale", "lora_magnitude_vector, DoRA"),
    Row(Form.SQUEEZE, "expand", r"expan|(?<![\dx])2$", "conv_expand, timm EfficientNet; fc2, torchvision MobileNet V3"),
)  # fmt: skip

"""Every row. Within a form of places the first row that matches decides."""

_BY_FORM = {form: [row for row in GRAMMAR if row.form is form] for form in Form}


def row_of(form: Form, name: str, siblings: Set[str] = frozenset()) -> Row | None:
    """Returns the first row of a form that matches a name; see `place`."""
    found = (row for row in _BY_FORM[form] if not row.beside or row.beside in siblings)
    return next((row for row in found if row.matches(name)), None)


@lru_cache(maxsize=65536)
def place(form: Form, name: str, siblings: Set[str] = frozenset()) -> str:
    """Returns where a module stands among its siblings.

    Args:
        form: Form of the parent, or of norms in it.
        name: Name of the module in snake case; without its number for MODULE and TIE.
        siblings: Roles of siblings that rows can ask for.

    Returns:
        One of the places of the form, which is the one of `OTHERWISE` for a name that no row knows.
    """
    row = row_of(form, name, siblings)
    return row.says if row else OTHERWISE[form]


@lru_cache(maxsize=65536)
def plain_place(base: str) -> str:
    """Returns where a module stands in a plain stack, empty if its name does not show that it is part of one.

    Args:
        base: Name of the module in snake case, without its number.
    """
    row = row_of(Form.MODULE, base)
    return row.plain if row else ""


@lru_cache(maxsize=65536)
def has_role(component: str, role: str) -> bool:
    """Whether a component of a name says that a module or tensor has a role.

    Example:
        >>> has_role("LayerNorm", "norm"), has_role("c_attn", "qkv"), has_role("c_attn", "query")
        (True, True, False)
    """
    name = snake_case(component)
    return any(row.says == role and row.matches(name) for row in _BY_FORM[Form.ROLE])


def is_position(component: str) -> bool:
    """Whether a tensor or module of this name holds positions."""
    return has_role(component, "position") and not has_role(component, "not a table")


def is_embedding(component: str) -> bool:
    """Whether a tensor or module of this name holds embeddings."""
    return has_role(component, "embedding") and not has_role(component, "not a table")


@lru_cache(maxsize=65536)
def attention_word(component: str) -> str:
    """Returns the role of a name in an attention: "query", "key", "value", "qkv", "kv", "out" or ""."""
    return next((role for role in ("query", "key", "value", "qkv", "kv", "out") if has_role(component, role)), "")
