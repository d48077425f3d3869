"""The order of sibling modules: by role words, numbers and chaining widths, never by the order of keys.

The words are those of the common libraries (torchvision, timm, transformers, torch.nn). Where neither
words nor numbers nor widths decide, siblings stand in alphabetical order and a note says so.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from sne.networks.names import natural_key
from sne.networks.tree import Node

Widths = Callable[[Node], tuple[int | None, int | None]]


@dataclass
class Siblings:
    """The children of one module in order.

    Args:
        stages: one after the other; the nodes of one stage stand side by side.
        beside: shortcuts, each with the node at whose level it starts.
        is_sure: False where the order had to be guessed.
    """

    stages: list[list[Node]]
    beside: list[tuple[Node, Node]] = field(default_factory=list)
    is_sure: bool = True


_SIDE_BY_SIDE = re.compile(r"^(experts|heads|branches|towers|adapters|embeddings)$|^(lora_embedding)")
_SQUEEZE = re.compile(r"squeeze|^se(_module|_block|_layer)?$")
_SHORTCUT = re.compile(r"downsampl|shortcut|^skip|identity|^residual_(conv|proj)|conv_skip|conv_shortcut")
_BLOCKS = re.compile(r"^(blocks?|layers?|stages?|h|residual_layers|resnets|groups)$")

_EMBED, _FINAL_NORM, _HEAD_CONV, _POOL, _HEAD = 0.0, 20.0, 25.0, 26.0, 30.0
_BODY, _TOWERS, _MOMENTS, _TOWER_ENDS = 10.0, 9.5, 11.5, 19.5
_LOOSE = 35.0
_PARALLEL = frozenset({_LOOSE, _TOWERS, _TOWER_ENDS, _MOMENTS})
_GENERAL: tuple[tuple[re.Pattern[str], float], ...] = tuple(
    (re.compile(pattern), rank)
    for pattern, rank in (
        (r"embed_out|unembed|lm_head", _HEAD),
        (r"stem|conv_first|conv_in$|^input|^in_|^init|^first", 2.0),
        (
            r"embed|^emb(_|$)|_emb$|^wte$|^wpe$|^shared$|tokens?$|(^|_)pos(_|$|ition)|patch|^conv_proj$",
            _EMBED,
        ),
        (r"expan|^gate$|^router$", 9.0),
        (r"^(text|vision|visual|image|audio)(_(model|encoder|tower|backbone))?$", _TOWERS),
        (r"^(text|vision|visual|image|audio)_proj(ection)?$", _TOWER_ENDS),
        (r"^(mu|mean|logvar|log_var|std|log_std|sigma)$", _MOMENTS),
        (r"^mid(dle)?(_|$)|bottleneck|^latent", 11.0),
        (r"^dec(oder)?(_|$)|^ups?(_|$)|^upsampl", 12.0),
        (r"reduce|^project(ion|_conv|_layer)?$|conv_pwl|point_linear", 19.0),
        (r"^conv_(head|last|1x1)$|^last_conv$", _HEAD_CONV),
        (r"pool|pre_logits", _POOL),
        (r"^(fc|fcs|linear|lin|dense|mlp)$|^(fc|linear|dense)_", 28.0),
        (r"head|classif|^cls$|^score|^out|logits|predict|qa_output|^last|^final|proj_out|conv_out", _HEAD),
        (r"gamma|layer_?scale|^ls$", _LOOSE),
    )
)
_WITHIN: tuple[tuple[re.Pattern[str], int], ...] = tuple(
    (re.compile(pattern), rank)
    for pattern, rank in (
        (r"^dwconv|^depthwise_conv$", 1),
        (r"^conv$|^convs$|pw(conv)?$|point(wise)?", 2),
        (r"dw$|depthwise|3x3", 3),
        (r"^se$|squeeze", 4),
        (r"^(blocks?|layers?|stages?|h|groups)$", 6),
    )
)
_ATTENTION = re.compile(r"attn|attention|^msa$|^mha$|^sa$")
_NORM_WORD = re.compile(r"(batch|layer|group|rms)?norm\w*$|(batch|layer|group|rms)$|[blg]n\d*$|\d+$")
_CROSS = re.compile(r"cross|enc_?dec|encoder_attn|multihead_attn")
_MLP_DOWN = re.compile(r"^(down|down_proj|w2|wo|c_proj|fc_out|fc2|linear2|lin2|dense_4h_to_h|output|c_out)$")
_MLP_UP = re.compile(
    r"^(up|gate|up_proj|gate_proj|gate_up_proj|w1|w3|wi|wi_0|wi_1|c_fc|fc_in|fc1|fc1_g|fc1_x|linear1|lin1|"
    r"dense_h_to_4h|intermediate|c_in)$"
)
_BLOCK_NORMS: tuple[tuple[re.Pattern[str], float], ...] = tuple(
    (re.compile(pattern), slot)
    for pattern, slot in (
        (r"post_feedforward|post_mlp|output_layer_norm|full_layer|post_ffn", 21.0),
        (r"pre_feedforward|pre_mlp|ffn|mlp|after|final|feed_forward", 19.0),
        (r"cross|encoder_attn|enc_dec", 14.0),
        (r"^sa_layer_norm|post_attn|post_self", 11.0),
        (r"post_attention", 18.0),
        (r"before|input|attn|attention|pre", 9.0),
    )
)


def order(node: Node, is_attention: bool, widths: Widths) -> Siblings:
    """Orders the children of a module.

    Args:
        node: the module.
        is_attention: whether it holds queries and keys.
        widths: neurons that a node reads and feeds, None where unknown.

    Returns:
        The stages. Depends on the set of children alone.
    """
    children = sorted(node.children.values(), key=lambda child: natural_key(child.name))
    if len(children) <= 1:
        return Siblings([[child] for child in children])
    if node.is_list:
        if _SIDE_BY_SIDE.match(node.snake):
            return Siblings([children])
        return Siblings([[child] for child in children])
    if is_attention:
        return _by_slots(children, _attention_slot)
    names = {child.snake for child in children}
    is_block = any(_ATTENTION.search(child.snake) for child in children if not child.is_norm)
    is_block = is_block and not any(_BLOCKS.match(child.snake) and child.is_list for child in children)
    if _SQUEEZE.search(node.snake):
        return _by_slots(children, lambda child: (float("expan" in child.snake or child.number == (2, "")),))
    if not is_block and _is_mlp(names):
        return _by_slots(children, _mlp_slot)
    shortcuts = [child for child in children if _SHORTCUT.search(child.snake)]
    main = [child for child in children if child not in shortcuts]
    if is_block:
        siblings = _by_slots(main, lambda child: _block_slot(child, main))
    else:
        siblings = _general(main, widths)
    _place_shortcuts(siblings, shortcuts, widths)
    return siblings


def _by_slots(children: Sequence[Node], slot: Callable[[Node], tuple[float, ...]]) -> Siblings:
    stages: dict[tuple[float, ...], list[Node]] = {}
    for child in children:
        stages.setdefault(slot(child), []).append(child)
    return Siblings([stages[key] for key in sorted(stages)])


def _attention_slot(child: Node) -> tuple[float, ...]:
    if child.is_norm:
        is_inner = re.search(r"(^|_)(q|k|v|query|key|value)(_|$)|^norm[qkv]$", child.snake)
        return (1.0 if is_inner else 4.0,)
    if child.word == "out":
        return (3.0,)
    if child.word or not child.name or child.snake == "query_key_value":
        return (0.0,)
    if re.search(r"bias|pos|rel", child.snake):
        return (0.0,)
    return (3.0,) if re.search(r"out|proj$", child.snake) else (2.0,)


def _is_mlp(names: set[str]) -> bool:
    ups = {name for name in names if _MLP_UP.match(name)}
    is_glu = "w1" in names and "w2" in names
    is_numbered = ups <= {"w1", "fc1", "linear1", "lin1"} and not is_glu
    return bool(ups) and not is_numbered and any(_MLP_DOWN.match(name) for name in names)


def _mlp_slot(child: Node) -> tuple[float, ...]:
    if child.is_norm:
        return (2.0 if not re.search("pre|in", child.snake) else -1.0,)
    if _MLP_DOWN.match(child.snake):
        return (3.0,)
    return (0.0,) if _MLP_UP.match(child.snake) else (1.0,)


def _block_slot(child: Node, siblings: Sequence[Node]) -> tuple[float, ...]:
    has_cross = any(_CROSS.search(other.snake) for other in siblings if not other.is_norm)
    if child.is_norm:
        for pattern, slot in _BLOCK_NORMS:
            if pattern.search(child.snake):
                if slot == 18.0:  # before the MLP, unless a norm of its own stands there (Gemma)
                    has_own = any("pre_feedforward" in other.snake for other in siblings)
                    return (11.0 if has_own else 19.0,)
                return (slot,)
        number = child.number[0] if child.number else 1
        if number >= 3 or (number == 2 and not has_cross):
            return (19.0,)
        return (14.0,) if number == 2 else (9.0,)
    if _ATTENTION.search(child.snake):
        return (15.0,) if _CROSS.search(child.snake) else (10.0,)
    if re.search(r"gamma|layer_?scale|^ls", child.snake):
        return (21.0,) if child.number and child.number[0] == 2 else (11.0,)
    rank = _general_rank(child)
    if rank <= 2.0:
        return (rank,)
    if re.search(r"head|classif|logits", child.snake):
        return (_HEAD,)
    # The MLP, often without a module of its own: fc1, fc2; intermediate, output; ffn, ffn_output.
    is_down = _MLP_DOWN.match(child.snake) or re.search(r"output", child.snake)
    number = float(child.number[0]) if child.number else (2.0 if is_down else 1.0)
    return (20.0, number)


def _general(children: Sequence[Node], widths: Widths) -> Siblings:
    norms = [child for child in children if child.is_norm]
    others = [child for child in children if not child.is_norm]
    siblings = Siblings([])
    groups: dict[float, list[Node]] = {}
    for child in others:
        groups.setdefault(_general_rank(child), []).append(child)
    for rank in sorted(groups):
        members = groups[rank]
        if rank in _PARALLEL or (rank == _EMBED and not all(member.number for member in members)):
            siblings.stages.append(members)
        else:
            ordered, is_sure = _sequence(members, widths)
            siblings.stages += [[member] for member in ordered]
            siblings.is_sure &= is_sure
    for norm in norms:
        siblings.stages.insert(_norm_place(norm, others, siblings.stages, widths), [norm])
    return siblings


def _general_rank(child: Node) -> float:
    if child.is_loose:
        return _LOOSE
    for pattern, rank in _GENERAL:
        if pattern.search(child.base or child.snake):
            return rank
    return _BODY


def _sequence(members: list[Node], widths: Widths) -> tuple[list[Node], bool]:
    """Orders siblings of one rank: one base by its numbers, several by chaining widths or known words."""
    bases: dict[str, list[Node]] = {}
    for member in members:
        bases.setdefault(member.base, []).append(member)
    if len(bases) == 1:
        return sorted(members, key=lambda member: (member.number or (-1, ""), natural_key(member.name))), True
    runs = [sorted(run, key=lambda member: member.number or (-1, "")) for run in bases.values()]
    chain = _chain(runs, lambda run: (widths(run[0])[0], widths(run[-1])[1]))
    if chain is None and len(members) > len(runs):
        chain = _chain([[member] for member in members], lambda run: widths(run[0]))
    if chain is not None:
        return [member for run in chain for member in run], True
    words = [next((rank for pattern, rank in _WITHIN if pattern.search(run[0].base)), 5) for run in runs]
    if len(set(words)) == len(words):
        ranked = sorted(zip(words, range(len(runs)), strict=True))
        return [member for _, index in ranked for member in runs[index]], True
    numbered = [{member.number for member in run} for run in runs]
    if all(None not in numbers and numbers & numbered[0] for numbers in numbered):  # denseblock1, transition1, ...
        return sorted(members, key=lambda member: (member.number or (-1, ""), member.base)), False
    ranked = sorted(zip(words, range(len(runs)), strict=True))
    return [member for _, index in ranked for member in runs[index]], False


def _chain(
    runs: list[list[Node]], ends: Callable[[list[Node]], tuple[int | None, int | None]]
) -> list[list[Node]] | None:
    """The only order in which each run reads as many neurons as the one before feeds, or None."""
    widths = [ends(run) for run in runs]
    if len(runs) > 8 or any(None in width for width in widths):
        return None
    found: list[list[int]] = []

    def extend(path: list[int]) -> None:
        if len(found) > 2:
            return
        if len(path) == len(runs):
            found.append(path)
            return
        for index in range(len(runs)):
            if index not in path and (not path or widths[path[-1]][1] == widths[index][0]):
                extend([*path, index])

    extend([])
    if len(found) == 2:  # a closed pair (wide to narrow and back): an expansion comes first
        opening = [path for path in found if (widths[path[0]][1] or 0) > (widths[path[0]][0] or 0)]
        found = opening if len(runs) == 2 else found
    return [runs[index] for index in found[0]] if len(found) == 1 else None


def _norm_place(norm: Node, others: Sequence[Node], stages: list[list[Node]], widths: Widths) -> int:
    """Where among the stages a norm belongs."""
    after = {id(child): index + 1 for index, stage in enumerate(stages) for child in stage}
    width = widths(norm)[0]

    def beside(child: Node) -> int:
        reads, feeds = widths(child)
        is_before = width == reads and width != feeds
        place = after[id(child)]
        return place - 1 if is_before else _past_norms(stages, place)

    words = [word for word in norm.snake.split("_") if not _NORM_WORD.match(word)]
    rest = "_".join(words)
    twins = [child for child in others if rest and _plain_name(child) in (rest, rest + "_conv", "conv_" + rest)]
    if len(twins) == 1:
        return beside(twins[0])
    if norm.number is not None:
        same = [child for child in others if child.number == norm.number]
        fits = [child for child in same if width in widths(child)] or same
        fits.sort(key=lambda child: (not child.is_leaf, not child.is_conv))
        if fits:
            return beside(fits[0])
    embedding = [child for child in others if _general_rank(child) == _EMBED]
    if embedding and (re.search(r"embed|pre|input|first", norm.snake) or len(embedding) == len(others)):
        return _past_norms(stages, max(after[id(child)] for child in embedding))
    blocks = [child for child in others if _BLOCKS.match(child.base) or child.is_list]
    if not blocks:
        depthwise = [child for child in others if child.is_depthwise]
        feeding = [child for child in others if child.is_leaf and widths(child)[1] == width != widths(child)[0]]
        fed = [child for child in others if child.is_leaf and widths(child)[0] == width != widths(child)[1]]
        if len(depthwise) == 1:
            return _past_norms(stages, after[id(depthwise[0])])
        if len(feeding) == 1 and not fed:
            return _past_norms(stages, after[id(feeding[0])])
        if len(fed) == 1 and not feeding:
            return after[id(fed[0])] - 1
    elif norm.number is not None:
        feeding = [child for child in others if widths(child)[1] == width]
        if len(feeding) == 1:
            return _past_norms(stages, after[id(feeding[0])])
    # A norm comes before a head, but after a layer that is merely called dense or linear.
    plain = () if blocks else ("dense", "linear", "lin")
    head = [
        after[id(child)] - 1
        for child in others
        if _general_rank(child) > _FINAL_NORM and not (child.is_leaf and child.base in plain)
    ]
    return _past_norms(stages, min(head, default=len(stages)))


def _plain_name(child: Node) -> str:
    return re.sub(r"_(conv|convolution|proj|linear|dense)$", "", child.snake)


def _past_norms(stages: list[list[Node]], place: int) -> int:
    while place < len(stages) and all(child.is_norm for child in stages[place]):
        place += 1
    return place


def _place_shortcuts(siblings: Siblings, shortcuts: Sequence[Node], widths: Widths) -> None:
    main = [child for stage in siblings.stages for child in stage]
    for shortcut in shortcuts:
        blocks = [child for child in main if _BLOCKS.match(child.snake) and child.is_list]
        if "downsampl" in shortcut.snake and blocks and not shortcut.snake.startswith("shortcut"):
            # A strided layer between stages (ConvNeXt: before the blocks; Swin: after them), not a bypass.
            place = next(i for i, stage in enumerate(siblings.stages) if blocks[0] in stage)
            is_before = widths(shortcut)[1] == widths(blocks[0])[0]
            siblings.stages.insert(place if is_before else place + 1, [shortcut])
            continue
        anchor = next((child for child in main if child.holds_conv), None) or next(
            (child for child in main if not child.is_norm), None
        )
        if anchor is None:
            siblings.stages.append([shortcut])
        else:
            siblings.beside.append((shortcut, anchor))
