"""The grammar of names: every row has an example that it decides, and a layout among the tests that needs it."""

import pytest
from layout_files import infos_of, read_layouts

from sne.networks.adapters import module_path
from sne.networks.grammar import GRAMMAR, OTHERWISE, PLACES, Form, Row, has_role, row_of
from sne.networks.spelling import snake_case, split_number

HOLDERS = {Form.BLOCK_NORM: Form.BLOCK, Form.ATTENTION_NORM: Form.ATTENTION, Form.MLP_NORM: Form.MLP}
WITHOUT_NUMBER = (Form.MODULE, Form.TIE)


def examples(row: Row) -> list[str]:
    """The names that a row gives as examples: "wte, GPT-2; shared, T5" has wte and shared."""
    return [piece.partition(",")[0].strip() for piece in row.example.split(";") if not piece.startswith(" and ")]


@pytest.mark.parametrize("row", GRAMMAR, ids=lambda row: f"{row.form}: {row.pattern}")
def test_examples_are_decided_by_their_row(row):
    for name in examples(row):
        if row.form is Form.ROLE:
            assert has_role(name, row.says)
        else:
            seen = split_number(name)[0] if row.form in WITHOUT_NUMBER else snake_case(name)
            siblings = frozenset({row.beside} if row.beside else ())
            assert row_of(row.form, seen, siblings) is row, name


def test_every_place_is_a_place_of_its_form():
    for row in GRAMMAR:
        if row.form is not Form.ROLE:
            assert row.says in PLACES[HOLDERS.get(row.form, row.form)], row
        assert not row.plain or row.plain in PLACES[Form.MODULE], row
    for form, says in OTHERWISE.items():
        assert says in PLACES[HOLDERS.get(form, form)]


def test_every_row_has_a_layout_that_has_such_a_name():
    paths = {path for _, lines in read_layouts() for name in infos_of(lines) for path in (name, module_path(name))}
    names = {component for path in paths for component in path.split(".")}
    seen = {form: {split_number(n)[0] if form in WITHOUT_NUMBER else snake_case(n) for n in names} for form in Form}
    found = {
        row_of(form, name, siblings)
        for form in Form
        for name in seen[form]
        for siblings in (frozenset(), frozenset({"own mlp norm", "cross-attention"}))
    }
    roles = [row for row in GRAMMAR if row.form is Form.ROLE]
    found |= {row for row in roles for name in names if row.matches(snake_case(name))}
    assert [row for row in GRAMMAR if row not in found] == []
