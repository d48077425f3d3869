"""Reports of studies: tables, plots and one page."""

from sne.lab.studies.reporting.report import to_results as to_results
from sne.lab.studies.reporting.report import write_report as write_report
