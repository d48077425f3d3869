"""Findings on layers: dead neurons, half-empty heads, adapters without effect, statistics that were never collected."""

from collections.abc import Iterator, Sequence

from sne.errors import counted
from sne.health.finding import Finding, Severity, finding
from sne.health.tensors import TensorHealth
from sne.health.values import WEIGHTS, is_second_factor
from sne.networks import Layer, LayerType, Role
from sne.networks.adapters import adapted_path

HALF = 0.5
"""Share of neurons without weights from which a layer is half empty."""

FEWEST_WEIGHTS = 4
"""Least number of weights of a neuron whose absence says something."""

MOST_LINES = 5
"""Number of tensors or layers with findings of one kind that have a finding of their own each."""

MOST_NAMES = 3
"""Number of names that a message about many layers lists."""

LayerHealth = tuple[Layer, Sequence[TensorHealth]]
"""A layer, and what was measured of its parts."""


def layer_findings(layers: Sequence[LayerHealth]) -> Iterator[Finding]:
    """Yields the findings on layers.

    Args:
        layers: The layers of a network, in order.
    """
    yield from _adapter_findings(layers)
    dead: list[Finding] = []
    last = max((layer.level for layer, _ in layers), default=0)
    for layer, tensors in layers:
        for tensor in tensors:
            if tensor.role in WEIGHTS or tensor.role is Role.TABLE:
                dead += _head_findings(layer, tensor)
                dead += _neuron_findings(layer, tensor, is_head=layer.level == last)
            elif tensor.role is Role.SCALE and layer.type is not LayerType.OTHER:
                dead += _scale_findings(tensor)
        if statistics := _unset_statistics(tensors):
            yield finding("unset-statistics", Severity.WARNING, layer.name, statistics)
    for code in ("half-empty", "empty-heads", "dead-neurons"):
        yield from _together([found for found in dead if found.code == code])


def _adapter_findings(layers: Sequence[LayerHealth]) -> Iterator[Finding]:
    """Yields one finding on the adapters of a network whose factors B are zero."""
    factors = [
        tensor
        for layer, tensors in layers
        if adapted_path(layer.name) is not None
        for tensor in tensors
        if is_second_factor(tensor) and tensor.num_entries
    ]
    zero = [tensor.tensor for tensor in factors if tensor.is_zero]
    if zero:
        message = f"{len(zero)} of {counted(len(factors), 'factor')} B of the adapters are 0: {listed(zero)}"
        location = "network" if len(zero) > 1 else zero[0]
        yield finding("adapter-without-effect", Severity.WARNING, location, message)


def _neuron_findings(layer: Layer, tensor: TensorHealth, *, is_head: bool) -> Iterator[Finding]:
    """Yields findings on the neurons that a weight leaves without incoming or without outgoing weights."""
    if tensor.is_zero or tensor.num_finite < tensor.num_entries:
        return
    rows, columns, kernel = tensor.arranged
    is_table = tensor.role is Role.TABLE
    in_heads = _neurons_of_empty_heads(layer, tensor)  # these have a finding of their own
    reads = layer.type is LayerType.ATTENTION_OUT
    num_rows = tensor.num_empty_rows - (0 if reads else in_heads)
    num_columns = tensor.num_empty_columns - (in_heads if reads else 0)
    sides = [
        ("outputs of the head" if is_head else "neurons", num_rows, rows, columns, "incoming"),
        ("entries of the table" if is_table else "inputs", num_columns, columns, rows, "outgoing"),
    ]
    for what, empty, number, across, direction in sides:
        if (
            empty <= (is_table and direction == "outgoing") or number < 2 or across * kernel < FEWEST_WEIGHTS
        ):  # a table often has an entry for padding
            continue
        without = "are 0" if is_table and direction == "outgoing" else f"have no {direction} weights"
        message = f"{empty:,} of {number:,} {what} {without}"
        is_half = empty >= HALF * number
        code = "half-empty" if is_half else "dead-neurons"
        yield finding(code, Severity.WARNING if is_half else Severity.INFO, tensor.place, message)


def _head_findings(layer: Layer, tensor: TensorHealth) -> Iterator[Finding]:
    """Yields a finding on the heads of an attention that have no weights in a tensor, where the heads are known."""
    if not tensor.num_heads or not tensor.num_empty_heads or tensor.is_zero:
        return
    kind = layer.type.value.removeprefix("attention_").replace("out", "output")
    message = f"{tensor.num_empty_heads:,} of {tensor.num_heads:,} heads have no {kind} weights"
    is_half = tensor.num_empty_heads >= HALF * tensor.num_heads
    severity = Severity.WARNING if is_half else Severity.INFO
    yield finding("half-empty" if is_half else "empty-heads", severity, tensor.place, message)


def _neurons_of_empty_heads(layer: Layer, tensor: TensorHealth) -> int:
    """Returns the number of neurons in the empty heads of an attention."""
    if not tensor.num_heads:
        return 0
    width = tensor.arranged[1 if layer.type is LayerType.ATTENTION_OUT else 0]
    return tensor.num_empty_heads * (width // tensor.num_heads)


def _together(findings: Sequence[Finding]) -> list[Finding]:
    """Returns findings of one kind, as one finding if there are many of them."""
    if len(findings) <= MOST_LINES:
        return list(findings)
    first = findings[0]
    message = f"{len(findings)} tensors: {first.location}: {first.message}; {findings[1].location}: "
    message += f"{findings[1].message}; and {len(findings) - 2} more"
    return [finding(first.code, first.severity, "network", message)]


def _scale_findings(tensor: TensorHealth) -> Iterator[Finding]:
    """Yields a finding on a norm whose scale is 0 for some channels."""
    if not tensor.num_zeros:
        return
    is_half = tensor.num_zeros >= HALF * tensor.num_entries
    message = f"the scale of {tensor.num_zeros:,} of {tensor.num_entries:,} channels is 0"
    yield finding(
        "half-empty" if is_half else "dead-neurons",
        Severity.WARNING if is_half else Severity.INFO,
        tensor.place,
        message,
    )


def _unset_statistics(tensors: Sequence[TensorHealth]) -> str:
    """Says that the running statistics of a batch norm are those before the first batch, empty if they are not."""
    by_role = {tensor.role: tensor for tensor in tensors}
    mean, variance = by_role.get(Role.RUNNING_MEAN), by_role.get(Role.RUNNING_VAR)
    if mean is None or variance is None or not mean.is_zero:
        return ""
    is_one = variance.smallest == variance.largest == 1 and variance.num_finite == variance.num_entries
    return "running mean 0 and running variance 1 in every channel" if is_one else ""


def listed(names: Sequence[str]) -> str:
    """Names the first of several things and counts the others.

    Example:
        >>> listed(["a", "b", "c", "d", "e"])
        'a, b, c and 2 more'
    """
    more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
    return ", ".join(names[:MOST_NAMES]) + more
