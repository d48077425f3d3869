"""Names of the layers and variables of Keras, from the groups of its files and from its configuration."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

_FIXED = {
    "Dense": ("kernel", "bias"), "EinsumDense": ("kernel", "bias"), "Embedding": ("embeddings",),
    "PReLU": ("alpha",), "Normalization": ("mean", "variance", "count"),
    "SimpleRNNCell": ("kernel", "recurrent_kernel", "bias"), "LSTMCell": ("kernel", "recurrent_kernel", "bias"),
    "GRUCell": ("kernel", "recurrent_kernel", "bias"),
}  # fmt: skip
_NORMS = {
    "BatchNormalization": ("gamma", "beta", "moving_mean", "moving_variance"),
    "LayerNormalization": ("gamma", "beta"), "GroupNormalization": ("gamma", "beta"), "RMSNormalization": ("scale",),
}  # fmt: skip
_SWITCHES = {"gamma": "scale", "beta": "center"}
_CONTAINERS = ("layers", "_layers", "_layer_checkpoint_dependencies")
_MAX_LAYERS, _MAX_DEPTH = 100_000, 50


@dataclass
class KerasConfig:
    """What the configuration of a Keras model says about its layers.

    Args:
        classes: Class of each layer by its name, such as "Conv2D".
        settings: Settings of each layer by its name.
        order: Names of the layers in the order of the model.
    """

    classes: dict[str, str] = field(default_factory=dict)
    settings: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    order: list[str] = field(default_factory=list)


def parse_config(content: Any) -> KerasConfig:
    """Collects the layers of a configuration, those of nested models too. Nothing is built from it.

    Args:
        content: Parsed JSON of `config.json` or of the attribute `model_config`.

    Example:
        >>> layer = {"class_name": "Dense", "config": {"name": "fc", "units": 3}}
        >>> parse_config({"class_name": "Sequential", "config": {"layers": [layer]}}).classes
        {'fc': 'Dense'}
    """
    found = KerasConfig()
    pending: list[tuple[Any, int]] = [(content, 0)]
    while pending and len(found.order) < _MAX_LAYERS:
        item, depth = pending.pop()
        if isinstance(item, list) and depth < _MAX_DEPTH:
            pending += [(inner, depth + 1) for inner in reversed(item)]
        if not isinstance(item, dict):
            continue
        kind, config = item.get("class_name"), item.get("config")
        if not isinstance(kind, str):
            continue
        if isinstance(config, list):  # a Sequential of old versions
            pending.append((config, depth + 1))
        if not isinstance(config, dict):
            continue
        name = config.get("name") or item.get("name")
        if isinstance(name, str) and "layers" not in config:
            known = name in found.classes
            found.classes[name] = "" if known and found.classes[name] != kind else kind
            found.settings[name] = {} if known else config
            found.order.append(name)
        for inner in ("layers", "layer"):
            if depth < _MAX_DEPTH and isinstance(config.get(inner), list | dict):
                pending.append((config[inner], depth + 1))
    return found


def class_of_group(group: str) -> str:
    """Returns the class of which Keras 3 made the name of a group, empty if it is none that is known.

    Example:
        >>> class_of_group("conv2d_transpose_3"), class_of_group("p_re_lu"), class_of_group("my_layer")
        ('Conv2DTranspose', 'PReLU', '')
    """
    return _CLASS_OF.get(re.sub(r"_\d+$", "", group), "")


def _snake(name: str) -> str:
    """Writes the name of a class as Keras does in the names of its groups."""
    name = re.sub(r"(.)([A-Z][a-z0-9]+)", r"\1_\2", re.sub(r"\W+", "", name))
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()


_CONVS = tuple(
    f"{kind}{ndim}D{end}"
    for ndim in (1, 2, 3)
    for kind, end in (("Conv", ""), ("Conv", "Transpose"), ("DepthwiseConv", ""), ("SeparableConv", ""))
)
_CLASS_OF = {_snake(kind): kind for kind in (*_FIXED, *_NORMS, *_CONVS)}


def variable_names(kind: str, count: int, settings: Mapping[str, Any]) -> tuple[str, ...] | None:
    """Returns the names of the variables of a layer, which Keras 3 only numbers.

    Args:
        kind: Class of the layer, empty if unknown.
        count: Number of its variables.
        settings: Its configuration, empty if unknown.

    Returns:
        One name per variable, or None if class and settings do not tell.

    Example:
        >>> variable_names("Dense", 2, {}), variable_names("BatchNormalization", 3, {"scale": False})
        (('kernel', 'bias'), ('beta', 'moving_mean', 'moving_variance'))
    """
    names = _NORMS.get(kind)
    if names is not None:
        if count != len(names):
            names = tuple(name for name in names if settings.get(_SWITCHES.get(name, ""), True))
        if count == 2 and kind == "BatchNormalization":
            names = ("moving_mean", "moving_variance")
        return names if len(names) == count else None
    names = _FIXED.get(kind)
    if kind.startswith("SeparableConv"):
        names = ("depthwise_kernel", "pointwise_kernel", "bias")
    elif "Conv" in kind:
        names = ("kernel", "bias")
    return names[:count] if names is not None and count <= len(names) else None


_OLD = re.compile(r"_(W|b|gamma|beta|running_mean|running_std)(_\d+)?(:0)?$")
_NEW = {"W": "kernel", "b": "bias", "running_mean": "moving_mean", "running_std": "moving_variance"}


def old_names(layer: str, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, str]:
    """Returns names of today for variables that Keras 1 named, such as `fc1_W_1:0`.

    Args:
        layer: Name of the layer.
        shapes: Shapes of its variables, by name.

    Returns:
        The names by the old ones; empty if they are not old, or if the kernel is stored in the order of Theano.

    Example:
        >>> old_names("fc1", {"fc1_W_1:0": (8, 4), "fc1_b_1:0": (4,)})
        {'fc1_W_1:0': 'kernel', 'fc1_b_1:0': 'bias'}
    """
    matches = {name: match for name in shapes if name.startswith(layer) and (match := _OLD.search(name))}
    leaves = {match[1]: shapes[name] for name, match in matches.items()}
    kernel, bias = leaves.get("W", ()), leaves.get("b", ())
    if len(matches) != len(shapes) or (kernel and (not bias or bias != kernel[-1:])):
        return {}
    return {name: _NEW.get(match[1], match[1]) for name, match in matches.items()}


def numbered_variables(paths: Iterable[str]) -> dict[str, list[tuple[int, str]]]:
    """Finds the variables that Keras 3 numbers below groups called `vars`.

    Args:
        paths: Paths of arrays, components separated by "/".

    Returns:
        Numbers and paths of the variables, by the path of the group that holds `vars`.
    """
    found: dict[str, list[tuple[int, str]]] = {}
    for path in paths:
        group, _, number = path.rpartition("/vars/")
        if not group and path.startswith("vars/"):
            number = path[len("vars/") :]
        if number.isdigit() and len(number) < _MAX_DEPTH:
            found.setdefault(group, []).append((int(number), path))
    return {group: sorted(variables) for group, variables in found.items()}


def module_of_group(group: str, names: Mapping[str, str]) -> str:
    """Returns the path of a layer, without the groups that only contain layers.

    Args:
        group: Path of the layer's group.
        names: Name of a layer by the path of its group, where the file has it.

    Example:
        >>> module_of_group("layers/sequential/layers/dense_1", {"layers/sequential": "subnet"})
        'subnet/dense_1'
    """
    components, shown = group.split("/"), []
    for index, component in enumerate(components):
        if component not in _CONTAINERS:
            shown.append(names.get("/".join(components[: index + 1]), component).replace("/", "_"))
    return "/".join(shown)
