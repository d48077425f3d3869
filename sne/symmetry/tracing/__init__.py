"""Finds the symmetry of a module from the operations that it runs."""
