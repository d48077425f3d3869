"""Equations and axes, by themselves."""

from fractions import Fraction
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sne.symmetry.tracing.axes import ONE, axis_size, concatenate, join, leaves, resolve, skeleton
from sne.symmetry.tracing.constraints import Constraints
from sne.symmetry.tracing.scales import LinearSystem

UNKNOWNS = 5
equations = st.lists(st.lists(st.integers(-2, 2), min_size=UNKNOWNS, max_size=UNKNOWNS), max_size=6)


def solved(rows, modulus=None):
    system = LinearSystem(modulus)
    for row in rows:
        system.require_zero(system.combine(*(({i: Fraction(1)}, value) for i, value in enumerate(row))))
    return [[found.get(i, 0) for i in range(UNKNOWNS)] for found in system.solutions(range(UNKNOWNS))]


@settings(deadline=None)
@given(equations)
def test_solutions_over_the_rationals(rows):
    found = np.array(solved(rows)).reshape(-1, UNKNOWNS)
    matrix = np.array(rows).reshape(-1, UNKNOWNS)
    assert not (matrix @ found.T).any()
    rank = np.linalg.matrix_rank(matrix) if len(matrix) else 0
    assert len(found) == UNKNOWNS - rank == (np.linalg.matrix_rank(found) if len(found) else 0)
    assert all(np.gcd.reduce(row) == 1 for row in found)


@settings(deadline=None)
@given(equations)
def test_solutions_modulo_two(rows):
    found = solved(rows, modulus=2)
    spanned = {
        tuple(np.array(c) @ np.array(found).reshape(-1, UNKNOWNS) % 2) for c in product((0, 1), repeat=len(found))
    }
    every = {x for x in product((0, 1), repeat=UNKNOWNS) if all(np.dot(row, x) % 2 == 0 for row in rows)}
    assert spanned == every


def test_split_undoes_join():
    structure = Constraints()
    structure.enter("here")
    outer, inner = structure.new_axis(3), structure.new_axis(4)
    assert structure.split(join(outer, inner), 4) == (outer, inner)
    whole = structure.new_axis(12)
    structure.unify(whole, join(outer, inner))
    assert skeleton(resolve(whole)) == skeleton(join(outer, inner))
    assert join(ONE, inner) == inner == join(inner, ONE)


def test_concatenations_are_cut_where_they_meet():
    structure = Constraints()
    structure.enter("here")
    one, two, three, four = (structure.new_axis(size) for size in (4, 3, 5, 2))
    structure.unify(concatenate([one, two]), concatenate([four, three]))
    assert [segment[0].atom.size for segment in resolve(concatenate([one, two]))] == [2, 2, 3]
    assert skeleton(resolve(concatenate([one, two]))) == skeleton(resolve(concatenate([four, three])))
    assert all(leaf.atom.fixed is None for leaf in leaves(resolve(one)))


def test_halves_in_heads():
    structure = Constraints()
    structure.enter("here")
    heads, halves = structure.new_axis(2), concatenate([structure.new_axis(3), structure.new_axis(5)])
    flat, again = join(heads, halves), structure.new_axis(16)
    structure.unify(again, flat)
    assert axis_size(again) == 16
    outer, inner = structure.split(again, 8)
    assert skeleton(resolve(inner)) == skeleton(resolve(halves)) and skeleton(outer) == skeleton(heads)


@pytest.mark.parametrize(("one", "other"), [((2, 3), (3, 2)), ((4, 3), (3, 4))])
def test_products_that_do_not_match_are_fixed(one, other):
    structure = Constraints()
    structure.enter("here")
    pairs = [join(structure.new_axis(outer), structure.new_axis(inner)) for outer, inner in (one, other)]
    structure.unify(*pairs)
    reasons = {leaf.atom.fixed for axis in pairs for leaf in leaves(resolve(axis))}
    assert reasons == {"not understood: axes that were cut in different ways meet in here"}


def test_what_is_fixed_stays_fixed():
    structure = Constraints()
    structure.enter("here")
    free, fixed = structure.new_axis(6), structure.new_axis(6, "input")
    structure.unify(free, fixed)
    first, rest = structure.cut(free, 2)
    outer, inner = structure.split(rest, 2)
    assert {leaf.atom.fixed for axis in (first, outer, inner) for leaf in leaves(resolve(axis))} == {"input"}
