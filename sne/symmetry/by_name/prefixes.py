"""Names without the prefix of a wrapper (`module.`, `_orig_mod.`, `model.`) that all of them share, and back."""

from collections.abc import Mapping
from dataclasses import replace

from sne.networks import Hint, TensorInfo
from sne.networks.stems import common_prefix
from sne.symmetry.symmetry import Group, Mixing, Symmetry


def without_prefix(
    infos: Mapping[str, TensorInfo], hints: Mapping[str, Hint]
) -> tuple[str, dict[str, TensorInfo], dict[str, Hint]]:
    """Tensors and hints under shorter names. Inverse, for what is found: `with_prefix`.

    Args:
        infos: tensors by name.
        hints: by module path or tensor name.

    Returns:
        The prefix, tensors and hints.
    """
    prefix = common_prefix(infos)
    cut = len(prefix)
    short = {name[cut:]: replace(info, name=name[cut:]) for name, info in infos.items()}
    return prefix, short, {path[cut:]: hint for path, hint in hints.items() if path.startswith(prefix)}


def with_prefix(symmetry: Symmetry, prefix: str) -> Symmetry:
    """The symmetry under the stored names.

    Args:
        symmetry: of tensors under shorter names.
        prefix: what was taken away.
    """
    if not prefix:
        return symmetry

    def stored(one: Group | Mixing) -> tuple:
        return tuple(replace(span, tensor=prefix + span.tensor) for span in one.spans)

    return Symmetry(
        tuple(replace(group, spans=stored(group)) for group in symmetry.groups),
        tuple(replace(mixing, spans=stored(mixing)) for mixing in symmetry.mixings),
        {prefix + name: shape for name, shape in symmetry.shapes.items()},
        {prefix + alias: prefix + name for alias, name in symmetry.aliases.items()},
        tuple(replace(fixed, tensor=prefix + fixed.tensor) for fixed in symmetry.fixed),
    )
