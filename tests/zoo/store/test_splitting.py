import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sne.zoo import Split, ZooError, split_by_run


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.integers(0, 30).map(str), min_size=3, max_size=80),
    st.floats(0, 0.45),
    st.floats(0, 0.45),
    st.integers(0, 99),
)
def test_no_run_straddles_and_no_row_is_lost(runs, val, test, seed):
    split = split_by_run(runs, val=val, test=test, seed=seed)
    rows = [split.rows(runs, piece) for piece in ("train", "val", "test")]
    assert sorted(np.concatenate(rows).tolist()) == list(range(len(runs)))
    for i in range(3):
        for j in range(i):
            assert not {runs[r] for r in rows[i]} & {runs[r] for r in rows[j]}


def test_fractions_and_seed():
    runs = [f"r{i // 3}" for i in range(300)]
    split = split_by_run(runs, val=0.1, test=0.2, seed=1)
    assert [len(p) for p in (split.train, split.val, split.test)] == [70, 10, 20]
    assert split == split_by_run(runs[::-1], val=0.1, test=0.2, seed=1)
    assert split != split_by_run(runs, val=0.1, test=0.2, seed=2)
    assert len(split.rows(runs, "test")) == 60 and len(split.rows(runs, "all")) == 300


def test_each_family_is_cut_by_itself():
    runs = [f"a{i}" for i in range(50)] + [f"b{i}" for i in range(10)]
    families = ["a"] * 50 + ["b"] * 10
    split = split_by_run(runs, val=0.1, test=0.2, families=families)
    assert sum(run.startswith("b") for run in split.test) == 2
    assert sum(run.startswith("b") for run in split.val) == 1


def test_file(tmp_path):
    split = Split(("a", "b"), (), ("c",))
    split.save(tmp_path / "split.json")
    assert Split.load(tmp_path / "split.json") == split
    assert json.loads((tmp_path / "split.json").read_text()) == {
        "train": ["a", "b"],
        "val": [],
        "test": ["c"],
    }


def test_mistakes():
    with pytest.raises(ZooError, match="'a' is named more than once"):
        Split(("a",), ("a",), ())
    with pytest.raises(ZooError, match="sum below 1"):
        split_by_run(["a", "b"], val=0.5, test=0.5)
    with pytest.raises(ZooError, match="two families"):
        split_by_run(["a", "a"], families=["x", "y"])
    with pytest.raises(ZooError, match="1 families for 2 rows"):
        split_by_run(["a", "a"], families=["x"])
    with pytest.raises(ZooError, match="'dev'"):
        Split(("a",), (), ()).rows(["a"], "dev")
    with pytest.raises(ZooError, match="1 groups for 2 rows"):
        split_by_run(["a", "b"], groups=["x"])
    with pytest.raises(ZooError, match="run has checkpoints of two groups"):
        split_by_run(["a", "a"], groups=["x", "y"])
    with pytest.raises(ZooError, match="group has checkpoints of two families"):
        split_by_run(["a", "b"], groups=["x", "x"], families=["f", "g"])
