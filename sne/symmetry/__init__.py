"""Which changes of a network's weights leave its function alone; drawing and applying them."""

from sne.errors import SymmetryError as SymmetryError
from sne.symmetry.by_name import symmetry_by_name as symmetry_by_name
from sne.symmetry.canonical_network import canonical_network as canonical_network
from sne.symmetry.flat import FlatMap as FlatMap
from sne.symmetry.flat import change_flat as change_flat
from sne.symmetry.flat import flat_map as flat_map
from sne.symmetry.flat import join_flat_maps as join_flat_maps
from sne.symmetry.groups import Fixed as Fixed
from sne.symmetry.groups import Group as Group
from sne.symmetry.groups import Mixing as Mixing
from sne.symmetry.groups import Span as Span
from sne.symmetry.of_network import symmetry_of as symmetry_of
from sne.symmetry.symmetry import Symmetry as Symmetry
from sne.symmetry.tracing import trace as trace
from sne.symmetry.transformation import Transformation as Transformation
