"""Health of one network, by its weights alone: what is broken or doubtful, where, and why it matters.

Reading order: `finding.py` has what is found, `report.py` what is said of one network, `check.py` the way from a file
to a report, `tensors.py` what is measured of each tensor while it passes by, with `spectra.py` and `initialisers.py`,
whose tests are in `randomness.py`. Findings come from one tensor (`values.py`), from layers (`layers.py`,
`untrained.py`), or from several places of a network (`duplicates.py`). `head.py` looks at the last layer alone, and
`junit.py` writes reports for continuous integration.
"""

from sne.health.check import check as check
from sne.health.finding import Finding as Finding
from sne.health.finding import Severity as Severity
from sne.health.finding import Verdict as Verdict
from sne.health.head import describe_head as describe_head
from sne.health.report import HealthReport as HealthReport
from sne.health.tensors import TensorHealth as TensorHealth
from sne.health.untrained import LOOKS_UNTRAINED as LOOKS_UNTRAINED
