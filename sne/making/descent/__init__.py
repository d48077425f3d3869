"""Zoos of descendants: trained networks, and what people make of them."""

from sne.making.descent.make import make_trees as make_trees
from sne.making.descent.tree import ROOTS as ROOTS
