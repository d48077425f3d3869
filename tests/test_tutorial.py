"""The tutorial is run from top to bottom."""

import re
from pathlib import Path

from page_runs import blocks_of, run_blocks

ROOT = Path(__file__).parents[1]
BLOCKS = blocks_of((ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8"))


def test_every_command_of_the_tutorial_works_as_shown(tmp_path):
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    printed = run_blocks(BLOCKS, tmp_path)
    names = {f"sne {name}" for name in ("inspect", "predict", "zoo", "train", "evaluate", "compare", "lineage")}
    assert names <= set(printed)
    tau, relation = printed[BLOCKS[-1][1]].splitlines()
    assert float(re.findall(r"-?[.\d]+", tau)[0]) > 0.6
    assert relation == "pruned second from first"
