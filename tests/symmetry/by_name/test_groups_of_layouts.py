"""Groups that names alone make certain, for every layout that recognition is tested with."""

import json
from pathlib import Path

import pytest
from layout_files import infos_of, read_layouts

from sne.symmetry import symmetry_by_name

LAYOUTS = dict(read_layouts())
STORED = json.loads(Path(__file__).with_name("groups_of_layouts.json").read_text())


def groups(name: str) -> dict[str, str]:
    """Size and number of spans of each group, once as a plain stack and once with skips possible."""
    infos = infos_of(LAYOUTS[name])
    found = {}
    for words, options in (("", {}), (" in sequence", {"assume_sequential": True})):
        symmetry = symmetry_by_name(infos, **options)
        text = ", ".join(f"{group.name} {group.size} x {len(group.spans)}" for group in symmetry.groups)
        if text:
            found[f"{name}{words}"] = text
    return found


@pytest.mark.parametrize("name", LAYOUTS)
def test_groups(name):
    assert groups(name) == {key: STORED[key] for key in (name, f"{name} in sequence") if key in STORED}


def test_every_stored_layout_is_tested():
    assert {key.removesuffix(" in sequence") for key in STORED} <= LAYOUTS.keys()
