"""The study of lineages: trees of descent, what `sne` finds out about them, and what other methods do."""

from sne.lab.lineage.design import DESIGNS as DESIGNS
from sne.lab.lineage.report import TITLE as TITLE
from sne.lab.lineage.run import run_lineage as run_lineage
