"""Which rows a member trains on and which it is judged by; whole runs and groups of twins, never parts of one."""

import random
from dataclasses import dataclass

import numpy as np

from sne.errors import TrainingError
from sne.zoo import Split


@dataclass(frozen=True)
class Fold:
    """Row numbers of the zoo: those that train a member, those that choose its epoch."""

    train: np.ndarray
    held_out: np.ndarray


def cut_folds(
    runs: list[str],
    families: list[str],
    split: Split,
    *,
    members: int,
    seed: int,
    groups: list[str] | None = None,
) -> list[Fold]:
    """Gives each member its rows.

    One member trains on the split's training runs and is judged by its validation runs. Several share all of
    these: the runs are dealt into as many folds, family by family, twins together, and each member is judged by its
    own.

    Args:
        runs: the run of each row of the zoo.
        families: the family of each row.
        split: the zoo's split; its test runs are not touched.
        members: number of members.
        seed: of the dealing.
        groups: the group of each row, `zoo.groups`; None: each run is its own.

    Returns:
        One fold a member.

    Raises:
        TrainingError: too few runs or groups.
    """
    train, held_out = split.rows(runs, "train"), split.rows(runs, "val")
    if members == 1:
        if not len(train) or not len(held_out):
            raise TrainingError(
                f"the split has {len(train)} training and {len(held_out)} validation rows, both are needed"
            )
        return [Fold(train, held_out)]
    rows = np.sort(np.concatenate([train, held_out]))
    groups = groups or runs
    family_of = {groups[row]: families[row] for row in rows}
    if len(family_of) < members:
        of_twins = "" if groups == runs else ", twins counted once"
        raise TrainingError(f"{members} members need as many runs, the training split has {len(family_of)}{of_twins}")
    dealer = random.Random(seed)
    fold_of: dict[str, int] = {}
    for family in sorted(set(family_of.values())):
        of_family = sorted(group for group, its_family in family_of.items() if its_family == family)
        dealer.shuffle(of_family)
        for group in of_family:  # the deal goes on where the last family stopped, so that folds stay even
            fold_of[group] = len(fold_of) % members
    folds = np.array([fold_of[groups[row]] for row in rows])
    return [Fold(rows[folds != k], rows[folds == k]) for k in range(members)]
