"""The order, types and roles that recognition gives to the tensors of known architectures."""

import pytest
from layout_files import infos_of, lines_of, read_layouts

LAYOUTS = dict(read_layouts())


@pytest.mark.parametrize("name", LAYOUTS)
def test_layout(name):
    lines = LAYOUTS[name]
    assert lines_of(infos_of(lines)) == lines


def test_names_of_layouts_are_unique():
    assert len(LAYOUTS) == len(list(read_layouts()))
