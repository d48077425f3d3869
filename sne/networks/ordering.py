"""The order of sibling modules, which follows from their names, their numbers and chains of equal widths.

The table in `grammar.py` interprets names. The order of keys in a file is never used. Siblings that cannot be ordered
by names, numbers or widths are in alphabetical order, and a note reports it.
"""

from collections.abc import Callable, Iterable, Sequence, Set
from dataclasses import dataclass, field
from itertools import pairwise

from sne.networks.grammar import PARALLEL, PLACES, Form, has_role, place
from sne.networks.norm_places import insert_norms
from sne.networks.spelling import natural_key
from sne.networks.tree import Node

_MOST_CHAINED = 8  # runs of siblings whose widths are tried in every order


@dataclass
class Siblings:
    """The children of one module in order.

    Args:
        stages: Stages one after the other; the modules of one stage stand side by side.
        beside: Shortcuts, each with the module that it bypasses.
        is_sure: Whether the order follows from names, numbers and widths, rather than being a guess.
    """

    stages: list[list[Node]]
    beside: list[tuple[Node, Node]] = field(default_factory=list)
    is_sure: bool = True


def order(node: Node) -> Siblings:
    """Orders the children of a module, whose widths are known.

    Args:
        node: The module.

    Returns:
        The order, which depends on the set of children alone.
    """
    children = sorted(node.children.values(), key=lambda child: natural_key(child.name))
    if len(children) <= 1:
        return Siblings([[child] for child in children])
    if node.is_list:
        is_parallel = has_role(node.name, "side by side") or _are_heads(children)
        return Siblings([children] if is_parallel else [[child] for child in children])
    if any(has_role(child.name, "adapter") for child in children) or has_role(node.name, "adapter"):
        return _by_place(children, Form.ADAPTER, lambda child: (place(Form.ADAPTER, child.snake), 0))
    if any(has_role(child.name, "named by its class") for child in children):
        if (found := _by_graph(children)) is not None:
            return Siblings([[child] for child in found])
    if node.is_attention and any(has_role(child.name, "feed-forward") for child in children):
        return _by_place(children, Form.BLOCK, _place_in_flat_block)
    if node.is_attention:
        return _by_place(children, Form.ATTENTION, _place_in_attention)
    if has_role(node.name, "squeeze-and-excite"):
        return _by_place(children, Form.SQUEEZE, lambda child: (place(Form.SQUEEZE, child.snake), 0))
    is_block = _is_block(children)
    if not is_block and _is_mlp(children):
        return _by_place(children, Form.MLP, _place_in_mlp)
    shortcuts = [child for child in children if has_role(child.name, "shortcut")]
    main = [child for child in children if not has_role(child.name, "shortcut")]
    siblings = _block(main) if is_block else _module(main)
    _place_shortcuts(siblings, shortcuts)
    return siblings


def _is_block(children: Sequence[Node]) -> bool:
    """Whether a module with these children is a transformer block: it holds an attention and no list of blocks."""
    has_attention = any(has_role(child.name, "attention") for child in children if not child.is_norm)
    return has_attention and not any(has_role(child.name, "blocks") and child.is_list for child in children)


def _is_mlp(children: Sequence[Node]) -> bool:
    """Whether a module with these children is a feed-forward part, and not a stack whose layers are numbered."""
    ups = [child for child in children if has_role(child.name, "mlp up")]
    is_certain = any(not has_role(child.name, "mlp up or first layer") for child in ups)
    return is_certain and any(has_role(child.name, "mlp down") for child in children)


def _by_place(children: Iterable[Node], form: Form, place_of: Callable[[Node], tuple[str, int]]) -> Siblings:
    """Orders siblings by place, and by number at one place."""
    stages: dict[tuple[int, int], list[Node]] = {}
    for child in children:
        where, number = place_of(child)
        stages.setdefault((PLACES[form].index(where), number), []).append(child)
    return Siblings([stages[key] for key in sorted(stages)])


def _place_in_attention(child: Node) -> tuple[str, int]:
    if child.is_norm:
        return place(Form.ATTENTION_NORM, child.snake), 0
    if child.word:
        return ("out" if child.word == "out" else "projections"), 0
    return place(Form.ATTENTION, child.snake), 0


def _place_in_flat_block(child: Node) -> tuple[str, int]:
    """Returns the place in a transformer block whose attention and MLP are no modules of their own."""
    if child.is_norm:
        return place(Form.BLOCK_NORM, child.snake), 0
    if has_role(child.name, "feed-forward"):
        return "mlp", int(has_role(child.name, "second half of an mlp"))
    return "attention", PLACES[Form.ATTENTION].index(_place_in_attention(child)[0])


def _place_in_mlp(child: Node) -> tuple[str, int]:
    if child.is_norm:
        return place(Form.MLP_NORM, child.snake), 0
    if has_role(child.name, "mlp down"):
        return "down", 0
    return ("up" if has_role(child.name, "mlp up") else "between"), 0


def _block(children: Sequence[Node]) -> Siblings:
    """Orders the children of a transformer block; its MLP is often no module of its own (fc1, fc2)."""
    told = set()
    has_named_norm = any(has_role(child.name, "cross-attention") for child in children if child.is_norm)
    if not has_named_norm and any(has_role(child.name, "cross-attention") for child in children):
        told.add("cross-attention")
    if any(has_role(child.name, "own mlp norm") for child in children):
        told.add("own mlp norm")
    siblings = frozenset(told)

    def place_of(child: Node) -> tuple[str, int]:
        if child.is_norm:
            return place(Form.BLOCK_NORM, child.snake, siblings), 0
        found = place(Form.BLOCK, child.snake)
        if found != "mlp":
            return found, 0
        found = child.module_place
        if found in ("embedding", "stem"):
            return found, 0
        is_down = has_role(child.name, "mlp down") or has_role(child.name, "second half of an mlp")
        return "mlp", child.number[0] if child.number else (2 if is_down else 1)

    return _by_place(children, Form.BLOCK, place_of)


def _module(children: Sequence[Node]) -> Siblings:
    """Orders the children of a module of no special form: first all others by place, then norms next to them."""
    others = [child for child in children if not child.is_norm]
    groups: dict[str, list[Node]] = {}
    for child in others:
        groups.setdefault(child.module_place, []).append(child)
    siblings = Siblings([])
    last = next((where for where in reversed(PLACES[Form.MODULE]) if where in groups and where != "loose"), "")
    for where in PLACES[Form.MODULE]:
        members = groups.get(where, [])
        if where in PARALLEL or (where == "embedding" and not all(member.number for member in members)):
            siblings.stages += [members] if members else []
        else:
            ordered, is_sure = _at_one_place(members)
            stages = _in_parallel(ordered, is_sure=is_sure, is_last=where == last)
            siblings.stages += stages
            siblings.is_sure &= is_sure or len(stages) == 1
    norms = [child for child in children if child.is_norm]
    if norms:
        siblings.stages = insert_norms(norms, siblings.stages, others)
    by_graph = _by_graph(children) if all(child.is_leaf for child in children) else None
    if by_graph is not None and _is_chain(by_graph) and not _is_chain([n for stage in siblings.stages for n in stage]):
        return Siblings([[child] for child in by_graph])  # made-up names (w2, fc1) that mean nothing
    return siblings


def _is_chain(nodes: Sequence[Node]) -> bool:
    """Whether each module reads as many neurons as the one before it feeds."""
    return all(first.feeds is not None and first.feeds == second.reads for first, second in pairwise(nodes))


def _at_one_place(members: list[Node]) -> tuple[list[Node], bool]:
    """Orders siblings of one place: one word by its numbers, several by chaining widths or by known words."""
    by_base: dict[str, list[Node]] = {}
    for member in members:
        by_base.setdefault(member.base, []).append(member)
    if len(by_base) <= 1:
        if members and has_role(members[0].base, "no name") and (found := _by_graph(members)) is not None:
            return found, True
        held = {member.number[0] for member in members if member.number is not None}
        return sorted(members, key=lambda member: (_number(member, held), natural_key(member.name))), True
    runs = [sorted(run, key=lambda member: member.number or (-1, "")) for run in by_base.values()]
    chain = _chain(runs)
    if chain is None and len(members) > len(runs):
        chain = _chain([[member] for member in members])
    if chain is None and (joined := _join_moments(runs)) is not None:
        chain = _chain(joined)
    if chain is not None:
        return [member for run in chain for member in run], True
    ties = [PLACES[Form.TIE].index(place(Form.TIE, run[0].base)) for run in runs]
    ranked = [member for _, index in sorted(zip(ties, range(len(runs)), strict=True)) for member in runs[index]]
    if len(set(ties)) == len(ties):
        return ranked, True
    if (found := _by_graph(members)) is not None:
        return found, True
    numbers = [{member.number for member in run} for run in runs]
    if all(None not in held and held & numbers[0] for held in numbers):  # denseblock1, transition1, denseblock2, ...
        return sorted(members, key=lambda member: (member.number or (-1, ""), member.base)), False
    return ranked, False


def _number(member: Node, held: Set[int]) -> tuple[int, str]:
    """Returns the number by which a module is sorted, times ten: `fc21` and `fc22` stand where `fc2` is missing."""
    if member.number is None:
        return -1, ""
    number, letter = member.number
    tens = number // 10
    is_second = 10 <= number < 100 and tens not in held and {tens - 1, tens + 1} <= held
    return (number if is_second else 10 * number), letter


def _are_heads(children: Sequence[Node]) -> bool:
    """Whether all modules of a list are heads of one body."""
    return all(_is_head(child) for child in children) and len({child.reads for child in children}) == 1


def _is_head(node: Node) -> bool:
    """Whether a module is a linear layer that feeds fewer neurons than it reads."""
    return node.is_linear and node.reads is not None and node.feeds is not None and node.feeds < node.reads


def _in_parallel(ordered: Sequence[Node], *, is_sure: bool, is_last: bool) -> list[list[Node]]:
    """Puts modules of one place side by side that read the same and cannot follow one another.

    Linear layers narrower than what they read are heads of one body, whatever their numbers (`fc21` and `fc22` of a
    variational autoencoder). Other modules without numbers are put side by side where their order would be a guess,
    if all of the place read the same, none feeds what they read, and they feed the same or are the last.
    """
    reads = {node.reads for node in ordered}
    is_sure |= not is_last and len({node.feeds for node in ordered}) > 1
    is_open = not is_sure and len(reads) == 1 and None not in reads and not any(node.number for node in ordered)
    if is_open and all(node.feeds is not None and node.feeds not in reads for node in ordered):
        return [list(ordered)]
    stages: list[list[Node]] = []
    for node in ordered:
        last = stages[-1][-1] if stages else None
        if (
            _is_head(node)
            and last is not None
            and last.is_linear
            and last.reads == node.reads
            and (last.feeds or 0) < (node.reads or 0)
        ):
            stages[-1].append(node)
        else:
            stages.append([node])
    return stages


def _by_graph(members: Sequence[Node]) -> list[Node] | None:
    """Returns modules in the order of the graph of their file, None if that is not known of each of them."""
    known = [(member.order, member) for member in members if member.order is not None]
    if len(known) < len(members):
        return None
    return [member for _, member in sorted(known, key=lambda pair: (pair[0], natural_key(pair[1].name)))]


def _join_moments(runs: Sequence[list[Node]]) -> list[list[Node]] | None:
    """Returns the runs with `fc_mean` and `fc_logvar`, which stand side by side, as one run; None if there are none."""
    moments = [run[0] for run in runs if len(run) == 1 and has_role(run[0].name, "moment") and _is_head(run[0])]
    if len(moments) < 2 or len({(node.reads, node.feeds) for node in moments}) != 1:
        return None
    return [moments, *(run for run in runs if run[0] not in moments)]


def _chain(runs: list[list[Node]]) -> list[list[Node]] | None:
    """Returns the order in which each run reads the width that the previous run feeds; None if it is not unique."""
    widths = [(run[0].reads, run[-1].feeds) for run in runs]
    if len(runs) > _MOST_CHAINED or any(None in width for width in widths):
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


def _place_shortcuts(siblings: Siblings, shortcuts: Sequence[Node]) -> None:
    """Puts shortcuts parallel to the module they bypass, and strided layers before or after the blocks of a stage."""
    if not shortcuts:
        return
    main = [child for stage in siblings.stages for child in stage]
    blocks = next((child for child in main if has_role(child.name, "blocks") and child.is_list), None)
    bypassed = next((child for child in main if child.holds_conv), None) or next(
        (child for child in main if not child.is_norm), None
    )
    before: list[Node] = []
    after: list[Node] = []
    for shortcut in shortcuts:
        if blocks is not None and has_role(shortcut.name, "strided layer"):  # before: ConvNeXt; after: Swin
            (before if shortcut.feeds == blocks.reads else after).append(shortcut)
        elif bypassed is not None:
            siblings.beside.append((shortcut, bypassed))
        else:
            siblings.stages.append([shortcut])
    if blocks is not None and (before or after):
        at = next(number for number, stage in enumerate(siblings.stages) if blocks in stage)
        siblings.stages[at + 1 : at + 1] = [[shortcut] for shortcut in reversed(after)]
        siblings.stages[at:at] = [[shortcut] for shortcut in before]
