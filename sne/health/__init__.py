"""Health of one network, by its weights alone: what is broken or doubtful, where, and why it matters.

Reading order: `finding.py` has what is found, `report.py` what is said of one network, `check.py` the way from a file
to a report, `tensors.py` what is measured of each tensor, `values.py` the findings that follow from one tensor.
"""

from sne.health.check import check as check
from sne.health.finding import Finding as Finding
from sne.health.finding import Severity as Severity
from sne.health.finding import Verdict as Verdict
from sne.health.report import HealthReport as HealthReport
from sne.health.tensors import TensorHealth as TensorHealth
