import numpy as np
import pytest

from sne.training import TrainingError
from sne.training.plan import cut_folds
from sne.zoo import Split

RUNS = [f"r{i // 2}" for i in range(40)]
FAMILIES = ["a" if i // 2 < 12 else "b" for i in range(40)]
SPLIT = Split(
    tuple(f"r{i}" for i in range(20) if i % 5 < 3),
    tuple(f"r{i}" for i in (3, 8, 13, 18)),
    ("r4", "r9", "r14", "r19"),
)


def test_one_fold_follows_the_split():
    (fold,) = cut_folds(RUNS, FAMILIES, SPLIT, folds=1, seed=0)
    assert set(np.array(RUNS)[fold.train]) == set(SPLIT.train)
    assert set(np.array(RUNS)[fold.held_out]) == set(SPLIT.val)


def test_folds_hold_out_twins_together():
    groups = [f"r{int(run[1:]) % 10}" if family == "a" else run for run, family in zip(RUNS, FAMILIES, strict=True)]
    folds = cut_folds(RUNS, FAMILIES, SPLIT, folds=3, seed=0, groups=groups)
    for fold in folds:
        assert not {groups[i] for i in fold.train} & {groups[i] for i in fold.held_out}
    assert len(np.concatenate([fold.held_out for fold in folds])) == 32
    assert all(len(fold.held_out) > 6 for fold in folds)
    alone = cut_folds(RUNS, FAMILIES, SPLIT, folds=3, seed=0, groups=RUNS)
    plain = cut_folds(RUNS, FAMILIES, SPLIT, folds=3, seed=0)
    assert all((a.held_out == b.held_out).all() for a, b in zip(alone, plain, strict=True))


def test_folds_hold_out_every_run_once_and_no_test_run():
    folds = cut_folds(RUNS, FAMILIES, SPLIT, folds=3, seed=0)
    held_out = np.concatenate([fold.held_out for fold in folds])
    assert sorted(held_out) == [i for i in range(40) if RUNS[i] not in SPLIT.test]
    for fold in folds:
        assert not {RUNS[i] for i in fold.train} & {RUNS[i] for i in fold.held_out}
        assert len(fold.train) + len(fold.held_out) == len(held_out)


def test_folds_are_even_in_every_family_and_follow_the_seed():
    folds = cut_folds(RUNS, FAMILIES, SPLIT, folds=4, seed=0)
    for family in "ab":
        counts = [len({RUNS[i] for i in fold.held_out if FAMILIES[i] == family}) for fold in folds]
        assert max(counts) - min(counts) <= 1
    again = cut_folds(RUNS, FAMILIES, SPLIT, folds=4, seed=0)
    other = cut_folds(RUNS, FAMILIES, SPLIT, folds=4, seed=1)
    assert all(np.array_equal(a.held_out, b.held_out) for a, b in zip(folds, again, strict=True))
    assert not all(np.array_equal(a.held_out, b.held_out) for a, b in zip(folds, other, strict=True))


def test_too_few_runs_are_told():
    with pytest.raises(TrainingError, match=r"17 folds need .*training split has 16; set folds to 16 or less"):
        cut_folds(RUNS, FAMILIES, SPLIT, folds=17, seed=0)
    with pytest.raises(TrainingError, match="training split has 2, twins counted once"):
        cut_folds(RUNS, FAMILIES, SPLIT, folds=3, seed=0, groups=FAMILIES)
    with pytest.raises(TrainingError, match="24 training and 0 validation rows"):
        cut_folds(RUNS, FAMILIES, Split(SPLIT.train, (), SPLIT.test), folds=1, seed=0)
