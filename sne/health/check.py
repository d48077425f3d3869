"""The entry: a network is read to the end, and everything that is broken or doubtful is reported."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, final

from torch import Tensor

from sne.checkpoints import CheckpointSource, read_network
from sne.checkpoints.adapters import describe_adapter, is_adapter, name_adapter
from sne.checkpoints.configuration import heads_of
from sne.checkpoints.read import Readable
from sne.errors import CheckpointError
from sne.health.duplicates import duplicate_findings
from sne.health.finding import Finding, Severity, finding
from sne.health.layers import LayerHealth, layer_findings
from sne.health.report import HealthReport
from sne.health.spectra import with_spectrum
from sne.health.tensors import TensorHealth, measure
from sne.health.untrained import untrained_findings
from sne.health.values import value_findings, whole_findings
from sne.networks import Heads, Network
from sne.networks.part import TensorInfo, TensorSource

_ORDER = list(reversed(Severity))


def check(source: Readable | Network, *, select: str | None = None) -> HealthReport:
    """Reads a network to the end and reports what is broken or doubtful in it.

    Tensors are read one at a time, and large ones piece by piece. Nothing is executed and no data are needed.

    Args:
        source: A network, or what `sne.read_network` reads: a path, a state dict, a module.
        select: Name of the network to check where the source holds several, as in `sne.read_network`.

    Returns:
        The findings, the verdict and what was measured of each tensor.

    Raises:
        CheckpointError: If the source holds no network that can be read. A tensor whose values cannot be read is a
            finding, not an error.

    Example:
        >>> import torch
        >>> state = {"fc.weight": torch.tensor([[1.0, float("nan")], [0.5, 2.0]]), "fc.bias": torch.zeros(2)}
        >>> report = check(state)
        >>> report.verdict.value, [(found.code, found.location, found.message) for found in report.findings]
        ('broken', [('nonfinite', 'fc.weight', '1 NaN of 4 values')])
    """
    network = source if isinstance(source, Network) else read_network(source, select=select)
    stored = network.source
    network = replace(network, source=_Unchecked(network.source))
    findings = _adapter_findings(network)
    layers: list[LayerHealth] = []
    unreadable: set[str] = set()
    spectra = with_spectrum(network.layers)
    heads = _heads_of_all(stored.config if isinstance(stored, CheckpointSource) else {})
    for layer in network.layers:
        tensors: list[TensorHealth] = []
        for part in layer.parts:
            if part.tensor in unreadable:
                continue
            try:
                tensors.append(measure(network, layer, part, has_spectrum=part in spectra, heads=heads))
            except CheckpointError as error:
                unreadable.add(part.tensor)
                findings.append(finding("unreadable", Severity.ERROR, part.tensor, error.reason))
        layers.append((layer, tensors))
    tensors = [tensor for _, found in layers for tensor in found]
    for tensor in tensors:
        findings += value_findings(tensor)
    findings += layer_findings(layers)
    findings += untrained_findings(layers)
    findings += duplicate_findings(network, layers)
    findings += whole_findings(tensors)
    findings.sort(key=lambda found: _ORDER.index(found.severity))
    return HealthReport(network.name, tuple(_without_consequences(findings)), tuple(tensors), network.num_weights)


def _heads_of_all(config: Mapping[str, Any]) -> Heads | None:
    """Returns the number of heads of each attention, or None for several models in one file, whose numbers differ."""
    models = [part for key, part in config.items() if key.endswith("_config") and isinstance(part, Mapping)]
    models = [part for part in models if "model_type" in part or "hidden_size" in part]
    return heads_of(config) if len(models) < 2 else None


def _adapter_findings(network: Network) -> list[Finding]:
    """Says that a file is an adapter, or that an adapter is stored beside the weights that it changes."""
    infos = network.source.infos
    if (kind := describe_adapter(infos)) is None:
        return []
    if is_adapter(infos):
        return [finding("adapter", Severity.INFO, "network", name_adapter(infos))]
    return [finding("unmerged-adapter", Severity.INFO, "network", kind)]


def _without_consequences(findings: Sequence[Finding]) -> list[Finding]:
    """Leaves out what follows from other findings: a network that was never trained has no statistics either."""
    codes = {found.code for found in findings}
    consequences = {"untrained-network": {"unset-statistics", "adapter-without-effect"}}
    left_out = {code for cause, codes_of in consequences.items() if cause in codes for code in codes_of}
    return [found for found in findings if found.code not in left_out]


@final
class _Unchecked:
    """The tensors of a source, also if they hold NaN or infinity.

    Args:
        source: The source.
    """

    def __init__(self, source: TensorSource) -> None:
        self._source = source
        self.name = source.name
        self.infos: dict[str, TensorInfo] = dict(source.infos)

    def load(self, name: str) -> Tensor:
        source = self._source
        return source.load_any(name) if isinstance(source, CheckpointSource) else source.load(name)

    def load_range(self, name: str, start: int, stop: int) -> Tensor | None:
        source = self._source
        return source.load_any_range(name, start, stop) if isinstance(source, CheckpointSource) else None
