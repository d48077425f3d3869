"""Finding the symmetry of a module from what it does."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from sne.symmetry.exporting import export
from sne.symmetry.interpreting import interpret
from sne.symmetry.reading_off import read_off
from sne.symmetry.symmetry import Symmetry


def trace(
    module: nn.Module,
    example_inputs: Sequence[Any] | Mapping[str, Any],
    outputs: Sequence[str | int] | None = None,
) -> Symmetry:
    """Finds which changes of a module's weights leave its outputs alone.

    The module is exported in eval mode, and the axes of every tensor are followed through the graph: those that meet in
    a sum, a product or a norm are one. Axes of inputs and outputs, and all that an operation without a rule touches,
    stay fixed; `Symmetry.fixed` says why. Scales, signs and mixing matrices are solved for as unknowns.

    Args:
        module: left as it was.
        example_inputs: a tuple of positional arguments, or a dict of named ones.
        outputs: names or places of the outputs that must stay as they are, such as ("logits",); None for all of them:
            returned hidden states, keys and values too.

    Raises:
        SymmetryError: the module cannot be run or exported.
    """
    exported = export(module, example_inputs, outputs)
    workings, parameters = interpret(exported)
    return read_off(exported, workings, parameters)
