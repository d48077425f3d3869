"""What can be found in a network: the kinds of findings, their severity, and why they matter."""

from dataclasses import asdict, dataclass
from enum import StrEnum


class Severity(StrEnum):
    """How much a finding matters."""

    INFO = "info"
    """Worth knowing; does not change the verdict."""
    WARNING = "warning"
    """The network may not do what its user expects."""
    ERROR = "error"
    """The network cannot work as it is stored."""


class Verdict(StrEnum):
    """What the findings say about a network as a whole."""

    GOOD = "good"
    """Neither errors nor warnings."""
    DOUBTFUL = "doubtful"
    """Warnings, but no errors."""
    BROKEN = "broken"
    """At least one error."""


REASONS = {
    "nonfinite": "Every output that depends on a NaN or infinite weight is NaN or infinite, too.",
    "unreadable": "The values of this tensor cannot be read, so the network cannot be loaded whole.",
    "scale": "Values of this size overflow in half precision, and the sums that they enter lose all other terms; "
    "usually a training that diverged, a wrong conversion, or bytes that were read as the wrong type.",
    "large": "Values that far exceed those of the other layers point to a training that diverges.",
    "negative-variance": "A variance is never negative: the normalisation takes the root of it and returns NaN.",
    "zero": "A weight that is zero everywhere passes nothing on: the layer returns its bias for every input.",
    "constant": "A weight whose entries are all equal gives every neuron the same output, whatever was learned.",
}
"""Why a finding matters, by its code. One sentence that holds wherever the finding is made."""


@dataclass(frozen=True)
class Finding:
    """One thing that was found in a network.

    Args:
        code: Kind of the finding, a key of `REASONS`; the same in all versions.
        severity: How much it matters.
        location: Where it is: a tensor or a layer by its stored name, or "network".
        message: What was found, with the numbers.
        why: Why it matters.
    """

    code: str
    severity: Severity
    location: str
    message: str
    why: str

    def to_json(self) -> dict[str, str]:
        """Returns the fields as plain strings."""
        return {name: str(value) for name, value in asdict(self).items()}


def finding(code: str, severity: Severity, location: str, message: str) -> Finding:
    """Returns a finding with the reason why findings of its kind matter.

    Example:
        >>> finding("zero", Severity.ERROR, "fc.weight", "all 12 entries are 0").why[:40]
        'A weight that is zero everywhere passes '
    """
    return Finding(code, severity, location, message, REASONS[code])
