"""What is said about the health of one network."""

from collections import Counter
from dataclasses import dataclass
from statistics import median
from typing import Any

from sne.errors import counted
from sne.health.finding import Finding, Severity, Verdict
from sne.health.tensors import TensorHealth


@dataclass(frozen=True)
class HealthReport:
    """The health of one network.

    Args:
        name: Name of the network.
        findings: What was found: errors, then warnings, then the rest, each in the order of layers.
        tensors: What was measured, one entry per part of a layer, in the order of layers.
        num_weights: Number of weights of the network.
    """

    name: str
    findings: tuple[Finding, ...]
    tensors: tuple[TensorHealth, ...]
    num_weights: int

    @property
    def verdict(self) -> Verdict:
        """What the findings say as a whole."""
        severities = {finding.severity for finding in self.findings}
        if Severity.ERROR in severities:
            return Verdict.BROKEN
        return Verdict.DOUBTFUL if Severity.WARNING in severities else Verdict.GOOD

    @property
    def is_adapter(self) -> bool:
        """Whether the network is an adapter (LoRA and others), which is judged alone, without its base."""
        return any(finding.code == "adapter" for finding in self.findings)

    @property
    def alpha(self) -> float | None:
        """Median exponent of the spectra (`sne.health.spectra`); None if no matrix is large enough."""
        found = [tensor.alpha for tensor in self.tensors if tensor.alpha is not None]
        return median(found) if found else None

    @property
    def summary(self) -> str:
        """Number of findings by severity, in words.

        Example:
            >>> HealthReport("a.pt", (), (), 12).summary
            'nothing found'
        """
        counts = Counter(finding.severity for finding in self.findings)
        named = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.INFO: "remark"}
        return ", ".join(counted(counts[one], noun) for one, noun in named.items() if counts[one]) or "nothing found"

    def to_json(self) -> dict[str, Any]:
        """Returns the report as plain values."""
        return {
            "file": self.name,
            "verdict": self.verdict.value,
            "is_adapter": self.is_adapter,
            "num_weights": self.num_weights,
            "alpha": self.alpha,
            "findings": [finding.to_json() for finding in self.findings],
            "tensors": [tensor.to_json() for tensor in self.tensors],
        }
