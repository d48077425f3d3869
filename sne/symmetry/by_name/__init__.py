"""Symmetries of checkpoints that come without code: what names and shapes alone make certain."""

from sne.symmetry.by_name.finding import symmetry_by_name as symmetry_by_name
