"""What a study reports: tables, pictures, one page."""

from sne.lab.studies.reporting.plots import check_can_draw as check_can_draw
from sne.lab.studies.reporting.report import to_results as to_results
from sne.lab.studies.reporting.report import write_report as write_report
