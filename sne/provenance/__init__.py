"""Where a network comes from: fingerprints, alignment, comparison."""

from sne.provenance.comparison import Comparison as Comparison
from sne.provenance.comparison import compare as compare
from sne.provenance.relation import Relation as Relation
