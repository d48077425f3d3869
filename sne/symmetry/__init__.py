"""Weight changes that leave a network's function unchanged: traced, recognised by name, sampled and applied."""

from sne.errors import SymmetryError as SymmetryError
from sne.symmetry.by_name import symmetry_by_name as symmetry_by_name
from sne.symmetry.canonical import canonical_transformation as canonical_transformation
from sne.symmetry.of_network import KnowsSymmetry as KnowsSymmetry
from sne.symmetry.of_network import canonicalize as canonicalize
from sne.symmetry.of_network import symmetry_of as symmetry_of
from sne.symmetry.sampling import sample as sample
from sne.symmetry.serialising import symmetry_from_json as symmetry_from_json
from sne.symmetry.serialising import symmetry_to_json as symmetry_to_json
from sne.symmetry.symmetry import KINDS as KINDS
from sne.symmetry.symmetry import Fixed as Fixed
from sne.symmetry.symmetry import Group as Group
from sne.symmetry.symmetry import Mixing as Mixing
from sne.symmetry.symmetry import Span as Span
from sne.symmetry.symmetry import Symmetry as Symmetry
from sne.symmetry.tracing.trace import trace as trace
from sne.symmetry.transformation import Transformation as Transformation
from sne.symmetry.transformation import apply as apply
from sne.symmetry.transformation import apply_flat as apply_flat
from sne.symmetry.transformation import compose as compose
from sne.symmetry.transformation import invert as invert
