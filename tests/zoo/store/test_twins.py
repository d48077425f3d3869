import pyarrow as pa
import pytest
from tiny import write_tiny_zoo

from sne.zoo import Zoo, has_twin, merge, split_by_run
from sne.zoo.store.splitting import group_runs


def _table(*rows, **columns):
    named = dict(zip(("run", "family", "dataset"), zip(*rows, strict=True), strict=True))
    return pa.table({name: list(values) for name, values in {**named, **columns}.items()})


ROWS = (("a/0", "cnn", "mnist"), ("a/0", "cnn", "mnist"), ("a/1", "cnn", "mnist"), ("b/0", "cnn", "svhn"))


def _rates(*rates):
    return {"config.learning_rate": list(rates)}


RATES = _rates(0.1, 0.1, 0.2, 0.1)


def test_the_same_run_on_other_images_is_a_twin():
    assert group_runs(_table(*ROWS, **RATES)) == ["a/0", "a/0", "a/1", "a/0"]


def test_hyper_parameters_that_neither_noted_are_alike():
    assert group_runs(_table(*ROWS, **RATES, **{"config.dropout": [None] * 4})) == ["a/0", "a/0", "a/1", "a/0"]


@pytest.mark.parametrize(
    ("row", "columns"),
    [
        pytest.param(("b/2", "cnn", "svhn"), RATES, id="other number"),
        pytest.param(("b/0", "mlp", "svhn"), RATES, id="other family"),
        pytest.param(("b/0", "cnn", "mnist"), RATES, id="same data set"),
        pytest.param(("b/0", "cnn", None), RATES, id="data set unknown"),
        pytest.param(("b0", "cnn", "svhn"), RATES, id="not merged with prefixes"),
        pytest.param(("b/0", "cnn", "svhn"), _rates(0.1, 0.1, 0.2, 0.3), id="other rate"),
        pytest.param(("b/0", "cnn", "svhn"), {"config.learning_rate": [None] * 4}, id="nothing noted"),
        pytest.param(("b/0", "cnn", "svhn"), {}, id="no hyper-parameters"),
    ],
)
def test_others_are_groups_of_their_own(row, columns):
    table = _table(*ROWS[:3], row, **columns)
    assert group_runs(table) == ["a/0", "a/0", "a/1", row[0]]


def test_twins_among_networks_that_were_learned_from():
    learned = _table(*ROWS[1:3], **{"config.learning_rate": [0.1, 0.2], "config.dropout": [None] * 2})
    judged = _table(("0", "cnn", "svhn"), ("1", "cnn", "mnist"), ("2", "cnn", "svhn"), **_rates(0.1, 0.2, 0.1))
    assert has_twin(judged, learned).tolist() == [True, False, False]
    assert not has_twin(learned, learned).any()
    assert not has_twin(_table(("0", "cnn", None), **_rates(0.1)), learned).any()
    assert not has_twin(_table(("0", "cnn", "svhn")), _table(("0", "cnn", "mnist"))).any()


def test_merged_zoos_are_split_by_twins(tmp_path):
    for dataset in ("mnist", "svhn"):
        write_tiny_zoo(tmp_path / dataset, dataset=dataset, split=False)
    zoo = merge(tmp_path / "both", [tmp_path / "mnist", tmp_path / "svhn"], prefix=True)
    assert Zoo.open(tmp_path / "mnist").groups == Zoo.open(tmp_path / "mnist").runs
    assert len(set(zoo.groups)) == len(set(zoo.runs)) / 2
    split = split_by_run(zoo.runs, val=0.2, test=0.3, families=zoo.families, groups=zoo.groups)
    pieces = [{run.split("/")[1] for run in piece} for piece in (split.train, split.val, split.test)]
    assert sum(map(len, pieces)) == len(set.union(*pieces)) == len(set(zoo.groups))
    assert all(f"{other}/{run}" in split.test for run in pieces[2] for other in ("mnist", "svhn"))
