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
    "half-empty": "Half of the layer does nothing: it was pruned without being made smaller, or a part of it was never "
    "filled.",
    "empty-heads": "A head without query or key weights attends to all positions alike, and one without value or "
    "output weights passes nothing on: it was pruned without being removed, or was never filled.",
    "dead-neurons": "Neurons without weights take memory and time, and change no output.",
    "unset-statistics": "The normalisation returns its inputs unchanged in evaluation, other than in training: the "
    "statistics were never collected, or were reset.",
    "adapter-without-effect": "The product B A of an adapter whose factor B is 0 is 0: the network is its base, "
    "unchanged. Adapters start like this, so this one was saved before it was trained, or gets no gradient.",
    "adapter": "The file holds changes of the weights of a base network, and no network of its own. What is found "
    "holds for these changes alone, not for the network that base and adapter make together.",
    "unmerged-adapter": "The weights are judged as they are stored, and the adapter as further layers. With the "
    "adapter merged into them, they have other values.",
    "duplicate": "Two layers that learn apart are never equal: one was copied over the other, or layers were repeated "
    "to make the network deeper.",
    "untrained-layer": "The layer maps its inputs at random: a new head that was not trained, a layer that was "
    "missing from the checkpoint that was loaded, or one that gets no gradient.",
    "untrained-network": "The network was saved before it was trained, so that its outputs are random.",
    "light-tails": "By the rule of WeightWatcher, the spectra of well trained layers have heavy tails, with exponents "
    "between 2 and 6; larger ones are those of layers that learned little. The rule was found on large networks.",
    "sparse": "Most of the weights are 0: the network was pruned, and may be stored and run as a sparse one.",
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

    Example:
        >>> found = finding("zero", Severity.ERROR, "fc.weight", "all 12 entries are 0")
        >>> found.to_json()["severity"], found.location
        ('error', 'fc.weight')
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
