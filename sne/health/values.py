"""Findings that follow from the values of one tensor."""

from collections.abc import Iterator

from sne.errors import counted
from sne.health.finding import Finding, Severity, finding
from sne.health.tensors import TensorHealth
from sne.networks import Role

OVERFLOW = 1e10
"""Magnitude from which a value is an error, in any tensor but running statistics of a norm."""

WEIGHTS = (Role.WEIGHT, Role.RECURRENT_WEIGHT)


def value_findings(tensor: TensorHealth) -> Iterator[Finding]:
    """Yields the findings on the values of one tensor.

    Args:
        tensor: What was measured.
    """
    place = tensor.place
    num_bad = tensor.num_nan + tensor.num_infinite
    if num_bad:
        kinds = {"NaN": tensor.num_nan, "infinite": tensor.num_infinite}
        named = " and ".join(f"{count:,} {kind}" for kind, count in kinds.items() if count)
        message = f"{named} of {counted(tensor.num_entries, 'value')}"
        yield finding("nonfinite", Severity.ERROR, place, message)
    if not tensor.num_finite:
        return
    if tensor.role is Role.RUNNING_VAR and tensor.smallest < 0:
        message = f"running variance down to {tensor.smallest:.4g}"
        yield finding("negative-variance", Severity.ERROR, place, message)
    if tensor.magnitude >= OVERFLOW:
        yield finding("scale", Severity.ERROR, place, f"values up to {tensor.magnitude:.2g}, rms {tensor.rms:.2g}")
    if tensor.role in WEIGHTS and tensor.is_zero:
        yield finding("zero", Severity.ERROR, place, f"all {counted(tensor.num_entries, 'weight')} are 0")
    elif tensor.role in WEIGHTS and tensor.is_constant and tensor.num_entries > 2:
        message = f"all {counted(tensor.num_entries, 'weight')} are {tensor.largest:.4g}"
        yield finding("constant", Severity.ERROR, place, message)
