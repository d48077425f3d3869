"""Names of weights: those that exporters keep, or else the place of the node in the module that was exported."""

import re
from collections.abc import Iterable

from sne.checkpoints.formats.onnx_graph.nodes import Node
from sne.networks.stems import split_name

_NUMBERED = re.compile(
    r".*::.*|\d+|.*_output_\d+|_?(?:val|v|t|node|tensor|input|output|onnx_initializer|initializer)_?\.?\d*"
    r"|_?(?:const|constant|const_fold_opt)_*\d*|.*/.*|",
    re.IGNORECASE,
)
_PARAMETERS = frozenset({
    "weight", "bias", "running_mean", "running_var", "kernel", "gamma", "beta", "scale",
    "q_proj_weight", "k_proj_weight", "v_proj_weight",
})  # fmt: skip
_CELL = re.compile(r"(?:(.*)\.)?weight_ih_l(\d+)(?:_reverse)?")
_FUSED = re.compile(r"(in_proj_)(weight|bias)()|()(weight|bias)(_(?:ih|hh)(?:_l\d+)?(?:_reverse)?)")
_SCOPES = "pkg.torch.onnx.name_scopes"
_QUOTED = re.compile(r"'((?:[^'\\]|\\.)*)'")
_ENDING = re.compile(r"[._](?:w|W|weights|gamma|quantized|q|Q4)(?:_\d+)?$")
_VARIABLE = re.compile(r"(?:/(?:ReadVariableOp|Read|Identity|resource))?(?::\d+)?$")


def is_numbered(name: str) -> bool:
    """Whether an exporter has made a name up, so that it does not tell a parameter.

    Example:
        >>> [is_numbered(name) for name in ("onnx::MatMul_12", "val_3", "fc1.weight", "coefficient1")]
        [True, True, False, False]
    """
    return _NUMBERED.fullmatch(name) is not None


def is_parameter(name: str) -> bool:
    """Whether a name is that of a parameter of a module, such as `layers.0.fc1.weight`."""
    last = name.rpartition(".")[2]
    return not is_numbered(name) and (last in _PARAMETERS or _FUSED.fullmatch(last) is not None)


def leaf_of(leaf: str, owns: Iterable[str]) -> str:
    """Returns the last part of a weight's name, as the module names it that holds several of its kind.

    Args:
        leaf: The generic name, "weight" or "bias".
        owns: Names of parameters among the weights of the layer.

    Example:
        >>> leaf_of("weight", ["attn.in_proj_bias"]), leaf_of("bias", ["cell.weight_ih"]), leaf_of("bias", ["fc.bias"])
        ('in_proj_weight', 'bias_ih', 'bias')
    """
    matches = (_FUSED.fullmatch(own.rpartition(".")[2]) for own in owns)
    match = next((match for match in matches if match), None)
    return (
        leaf
        if match is None or leaf not in ("weight", "bias")
        else f"{match[1] or ''}{leaf}{match[3] or match[6] or ''}"
    )


def scope_of(node: Node) -> str | None:
    """Returns the path of the module that a node belongs to, as its exporter has written it.

    Torch writes `/layer1/layer1.0/conv1/Conv` or a list of scopes beside the node, TensorFlow `model/dense/MatMul`.

    Args:
        node: The node.

    Returns:
        The dotted path, empty for the network itself; None if the node does not tell.
    """
    if scopes := _QUOTED.findall(node.metadata.get(_SCOPES, "")):
        return scopes[-2] if len(scopes) > 1 else ""
    if "/" not in node.name:
        return None
    return path_of([part for part in node.name.split("/") if part][:-1])


def path_of(parts: list[str]) -> str:
    """Returns a dotted path from its parts, of which exporters repeat the beginning in the entries of lists."""
    path: list[str] = []
    for part in parts:
        for before in (".".join(path), path[-1] if path else ""):
            if before and part.startswith(before + "."):
                part = part[len(before) + 1 :]
                break
        path += part.split(".")
    return ".".join(path)


def operator_name(node: Node) -> str:
    """Returns the last part of a node's name, or one made of its position if it has none."""
    last = node.name.rstrip("/").rpartition("/")[2]
    return last.replace(".", "_") or f"nodes.{node.index}"


def own_name(names: tuple[str, ...]) -> str:
    """Returns the first of a value's names that is a parameter's, empty if none is."""
    return next((name for name in names if is_parameter(name)), "")


def spoken_stem(names: tuple[str, ...]) -> str:
    """Returns the stem of the first of a value's names that somebody has chosen, empty if none is.

    Example:
        >>> [spoken_stem((name,)) for name in ("val_3", "dense/kernel:0", "coefficient1", "conv_0.w_0")]
        ['', 'dense', 'coefficient1', 'conv_0']
    """
    for name in names:
        plain = _VARIABLE.sub("", name).replace("/", ".").strip(".")
        if plain and not is_numbered(plain):
            plain = _ENDING.sub("", plain) or plain
            stem, leaf = split_name(plain)
            return stem if leaf and stem and not stem.isdigit() else plain
    return ""


def is_related(name: str, scope: str) -> bool:
    """Whether a parameter's name and a scope are about the same module, or one is inside the other."""
    stem = name.rpartition(".")[0]
    return f"{stem}.".startswith(f"{scope}." if scope else "") or f"{scope}.".startswith(f"{stem}." if stem else "")


def is_same_call(scope: str | None, other: str | None) -> bool:
    """Whether a scope is a later call of the module of another, which torch numbers: `fc` and `fc_1`."""
    if scope is None or other is None or scope == other:
        return scope == other
    return scope.startswith(f"{other}_") and scope[len(other) + 1 :].isdigit()


def cell_name(names: Iterable[str]) -> tuple[str, int] | None:
    """Returns path and layer of a recurrent module from names such as `rnn.weight_ih_l0`, None if none tells."""
    matches = (_CELL.fullmatch(name) for name in names)
    match = next((match for match in matches if match), None)
    return None if match is None else (match[1] or "", int(match[2]))
