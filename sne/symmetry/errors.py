"""The error of this room."""


class SymmetryError(ValueError):
    """A symmetry that cannot be traced, read, drawn or applied: one line that says what came and what was expected."""
