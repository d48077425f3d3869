"""The tutorial and the how-to pages are run from top to bottom, in one folder."""

import re
from pathlib import Path

import pytest
from page_runs import blocks_of, run_blocks

DOCS = Path(__file__).parents[1] / "docs"
BLOCKS = blocks_of((DOCS / "tutorial.md").read_text(encoding="utf-8"))
HOW_TO = ("duplicates", *sorted(path.stem for path in (DOCS / "how-to").glob("*.md") if path.stem != "duplicates"))
"""Names of the pages. The index that `duplicates` makes is used by others."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A folder with the files of the tutorial."""
    made = tmp_path_factory.mktemp("tutorial")
    (made / "examples").symlink_to(DOCS.parent / "examples")
    run_blocks(BLOCKS[:1], made)
    return made


@pytest.mark.slow
def test_every_command_of_the_tutorial_works_as_shown(folder):
    printed = run_blocks(BLOCKS[1:], folder)
    names = {f"sne {name}" for name in ("inspect", "predict", "zoo", "train", "evaluate", "compare", "lineage")}
    assert names <= set(printed)
    tau, relation = printed[BLOCKS[-1][1]].splitlines()
    assert float(re.findall(r"-?[.\d]+", tau)[0]) > 0.6
    assert relation == "pruned second from first"


@pytest.mark.slow
@pytest.mark.parametrize("page", HOW_TO)
def test_every_command_of_the_how_to_pages_works_as_shown(folder, page):
    blocks = blocks_of((DOCS / "how-to" / f"{page}.md").read_text(encoding="utf-8"))
    printed = run_blocks(blocks, folder)
    assert len(printed) >= len(blocks)
    if page == "duplicates":
        assert printed["sne search"].count("same function") == 1
