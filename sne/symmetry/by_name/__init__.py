"""Symmetries of checkpoints without code: those that names and shapes alone make certain."""

from sne.symmetry.by_name.finding import symmetry_by_name as symmetry_by_name
