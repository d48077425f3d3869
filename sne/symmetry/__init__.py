"""Weight changes that leave a network's function unchanged: traced, recognised by name, sampled and applied.

Names are imported when they are first used, because reading a network needs none of them.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
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

_MODULE_OF = {
    "Fixed": "sne.symmetry.symmetry",
    "Group": "sne.symmetry.symmetry",
    "KINDS": "sne.symmetry.symmetry",
    "KnowsSymmetry": "sne.symmetry.of_network",
    "Mixing": "sne.symmetry.symmetry",
    "Span": "sne.symmetry.symmetry",
    "Symmetry": "sne.symmetry.symmetry",
    "SymmetryError": "sne.errors",
    "Transformation": "sne.symmetry.transformation",
    "apply": "sne.symmetry.transformation",
    "apply_flat": "sne.symmetry.transformation",
    "canonical_transformation": "sne.symmetry.canonical",
    "canonicalize": "sne.symmetry.of_network",
    "compose": "sne.symmetry.transformation",
    "invert": "sne.symmetry.transformation",
    "sample": "sne.symmetry.sampling",
    "symmetry_by_name": "sne.symmetry.by_name",
    "symmetry_from_json": "sne.symmetry.serialising",
    "symmetry_of": "sne.symmetry.of_network",
    "symmetry_to_json": "sne.symmetry.serialising",
    "trace": "sne.symmetry.tracing.trace",
}
__all__ = [*sorted(_MODULE_OF)]


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'sne.symmetry' has no attribute {name!r}")
    return getattr(import_module(_MODULE_OF[name]), name)


def __dir__() -> list[str]:
    return __all__
