"""Findings that follow from the values of one tensor."""

from collections.abc import Iterator, Sequence
from statistics import median

from sne.errors import counted
from sne.health.finding import Finding, Severity, finding
from sne.health.tensors import DRAWN, TensorHealth
from sne.networks import Role
from sne.networks.adapters import is_factor
from sne.networks.grammar import Form, has_role, place
from sne.networks.spelling import snake_case

OVERFLOW = 1e10
"""Magnitude from which a value is an error; for running variances, its square."""

LARGE = 100.0
"""Root mean square from which the entries of a weight are large."""

FEWEST_ALPHAS = 3
"""Least number of matrices whose exponents are judged together."""

LIGHT = 6.0
"""Exponent of spectra above which layers are badly trained, by the rule of WeightWatcher."""

SPARSE = 0.5
"""Share of zeros from which a network is sparse."""

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
        if tensor.num_infinite and tensor.dtype == "float64":
            message += " in single precision"
        yield finding("nonfinite", Severity.ERROR, place, message)
    if not tensor.num_finite:
        return
    if tensor.role is Role.RUNNING_VAR and tensor.smallest < 0:
        message = f"running variance down to {tensor.smallest:.4g}"
        yield finding("negative-variance", Severity.ERROR, place, message)
    limit = OVERFLOW**2 if tensor.role is Role.RUNNING_VAR else OVERFLOW
    if tensor.magnitude >= limit:
        yield finding("scale", Severity.ERROR, place, f"values up to {tensor.magnitude:.2g}, rms {tensor.rms:.2g}")
    elif tensor.role in DRAWN and tensor.rms >= LARGE:
        yield finding("large", Severity.WARNING, place, f"rms {tensor.rms:.4g}, values up to {tensor.magnitude:.4g}")
    if is_second_factor(tensor):
        return
    if tensor.is_zero and tensor.role in (*DRAWN, Role.SCALE):
        severity = Severity.ERROR if tensor.role in WEIGHTS else Severity.WARNING
        yield finding("zero", severity, place, f"all {counted(tensor.num_entries, 'value')} are 0")
    elif tensor.role in WEIGHTS and tensor.is_constant and tensor.num_entries > 2:
        message = f"all {counted(tensor.num_entries, 'weight')} are {tensor.largest:.4g}"
        yield finding("constant", Severity.ERROR, place, message)


def is_second_factor(tensor: TensorHealth) -> bool:
    """Whether a tensor is a factor of an adapter that is 0 before the adapter is trained."""
    words = [snake_case(word) for word in tensor.tensor.split(".")]
    is_second = any(place(Form.ADAPTER, word) == "second" for word in words if has_role(word, "adapter"))
    return is_second or any(map(is_factor, words))


def whole_findings(tensors: Sequence[TensorHealth]) -> Iterator[Finding]:
    """Yields remarks on the values of all weights together: the share of zeros, and the tails of the spectra.

    Args:
        tensors: What was measured of each tensor.
    """
    weights = [tensor for tensor in tensors if tensor.role in DRAWN]
    count = sum(tensor.num_entries for tensor in weights)
    zeros = sum(tensor.num_zeros for tensor in weights if not tensor.is_zero)
    if count and zeros >= SPARSE * count:
        yield finding("sparse", Severity.INFO, "network", f"{zeros / count:.0%} of {count:,} weights are 0")
    alphas = sorted(tensor.alpha for tensor in tensors if tensor.alpha is not None)
    if len(alphas) >= FEWEST_ALPHAS and median(alphas) > LIGHT:
        number = sum(alpha > LIGHT for alpha in alphas)
        message = f"{number} of {len(alphas)} matrices have a power-law exponent (alpha) above {LIGHT:.0f}; "
        message += f"median {median(alphas):.1f}"
        yield finding("light-tails", Severity.INFO, "network", message)
