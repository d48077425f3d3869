"""Networks as the X of scikit-learn: transformer, estimators, pipelines and searches."""

import os
import pickle
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import save_file
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_val_predict, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from tiny import mlp_state
from torch import nn

import sne
from sne.errors import CheckpointError, PredictorError
from sne.sklearn import NetworkEncoder, PropertyClassifier, PropertyRegressor, rows


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Twelve runs of two checkpoints; the label grows with the spread of the weights."""
    folder = tmp_path_factory.mktemp("runs")
    generator = torch.Generator().manual_seed(0)
    table = []
    for run in range(12):
        for step in (1, 2):
            gain = 0.1 + 0.1 * run * step
            path = folder / f"run{run:02d}-{step}.safetensors"
            save_file(mlp_state(generator, width=6, gain=gain), path)
            table.append({"path": str(path), "run": run, "gain": gain, "size": "large" if gain > 1 else "small"})
    return pd.DataFrame(table)


def described():
    return NetworkEncoder(vectors="description")


def test_rows_are_those_of_encode(files):
    paths = files["path"].tolist()[:5]
    found = NetworkEncoder().fit_transform([*paths, paths[0]])
    assert found.dtype == np.float32 and len(found) == 6
    np.testing.assert_allclose(found[:5], sne.encode(paths), rtol=1e-3, atol=1e-4)
    np.testing.assert_array_equal(found[0], found[5])


@pytest.mark.parametrize(
    "as_x",
    [
        list,
        lambda series: series,
        lambda series: series.to_frame(),
        lambda series: series.to_numpy(dtype=object),
        lambda series: series.to_numpy(dtype=str)[:, None],
        lambda series: np.array([os.fsencode(path) for path in series]),
        lambda series: [[path] for path in series],
        lambda series: [sne.read_network(path) for path in series],
    ],
    ids=["list", "series", "table", "objects", "column", "bytes", "lists", "networks"],
)
def test_forms_of_x(files, as_x):
    paths = files["path"][:4]
    expected = described().transform(paths.tolist())
    np.testing.assert_array_equal(described().fit_transform(as_x(paths)), expected)


def test_modules_and_state_dicts():
    modules = [nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2)) for _ in range(3)]
    found = described().fit_transform(modules)
    np.testing.assert_array_equal(found, described().fit_transform([module.state_dict() for module in modules]))
    assert len(np.unique(found, axis=0)) == 3


def test_named_columns_and_kept_index(files):
    some = files.set_index("run")["path"][3:7]
    table = described().set_output(transform="pandas").fit_transform(some)
    assert list(table.columns) == list(sne.Predictor.from_pretrained().encoder.summary_names)
    assert table.index.tolist() == some.index.tolist()
    embedded = NetworkEncoder().set_output(transform="pandas").fit_transform(some)
    assert embedded.columns[0] == "embedding0" and embedded.shape[1] == sne.Predictor.from_pretrained().dim


def test_beside_other_columns(files):
    both = ColumnTransformer([("network", NetworkEncoder(), "path"), ("run", StandardScaler(), ["run"])])
    assert both.fit_transform(files).shape == (24, sne.Predictor.from_pretrained().dim + 1)
    assert both.get_feature_names_out()[-1] == "run__run"


def test_pipeline_in_a_search(files):
    pipeline = make_pipeline(NetworkEncoder(), StandardScaler(), Ridge())
    grid = {"ridge__alpha": [0.1, 10.0], "networkencoder__vectors": ["embedding", "description"]}
    search = GridSearchCV(pipeline, grid, cv=GroupKFold(3), error_score="raise")
    search.fit(files["path"], files["gain"], groups=files["run"])
    assert len(search.cv_results_["params"]) == 4 and search.best_score_ > 0.5
    assert search.predict(files["path"][:2]).shape == (2,)


def test_experts_in_a_search(files):
    search = GridSearchCV(PropertyRegressor(trees=5), {"expert": ["kernel", "forest", "adapted", "linear"]},
                          cv=GroupKFold(3), error_score="raise")  # fmt: skip
    search.fit(files["path"].tolist(), files["gain"], groups=files["run"])
    assert search.best_score_ > 0.5
    numbers = make_pipeline(described(), PropertyRegressor(search.best_params_["expert"], trees=5))
    scores = cross_val_score(numbers, files["path"].tolist(), files["gain"], groups=files["run"], cv=GroupKFold(3))
    assert scores.mean() == pytest.approx(search.best_score_, abs=1e-6)


def test_classes(files):
    model = PropertyClassifier().fit(files["path"], files["size"])
    assert model.classes_.tolist() == ["large", "small"] and model.score(files["path"], files["size"]) > 0.9
    chances = model.predict_proba(files["path"])
    np.testing.assert_allclose(chances.sum(axis=1), 1)
    held_out = cross_val_predict(PropertyClassifier(), files["path"], files["size"], groups=files["run"],
                                 cv=GroupKFold(4))  # fmt: skip
    assert (held_out == files["size"]).mean() > 0.7
    numbers = PropertyClassifier("forest", trees=5).fit(files["path"], files["run"])
    assert numbers.predict(files["path"]).dtype == files["run"].dtype


@pytest.mark.parametrize("expert", ["kernel", "forest", "adapted"])
def test_pickled_and_cloned(files, expert):
    model = PropertyRegressor(expert, trees=5).fit(files["path"], files["gain"])
    expected = model.predict(files["path"])
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(model)).predict(files["path"]), expected)
    again = clone(model)
    assert not hasattr(again, "expert_")
    np.testing.assert_array_equal(again.fit(files["path"], files["gain"]).predict(files["path"]), expected)


def test_a_start_is_chosen_by_the_name_of_the_labels(files):
    named = files["gain"].clip(0, 1).rename("generalization_gap")
    model = PropertyRegressor("adapted").fit(files["path"], named)
    assert model.property_.name == "generalization_gap"
    given = PropertyRegressor("adapted", property_name="generalization_gap").fit(files["path"], named.to_numpy())
    np.testing.assert_array_equal(model.predict(files["path"]), given.predict(files["path"]))
    other = PropertyRegressor("adapted").fit(files["path"], named.to_numpy())
    assert (other.predict(files["path"]) != model.predict(files["path"])).any()


def test_files_are_read_once_and_again_when_they_change(tmp_path, monkeypatch):
    read = []
    monkeypatch.setattr(
        rows, "read_sources", lambda sources: read.extend(sources) or sne.predictors.read_sources(sources)
    )
    path = tmp_path / "a.safetensors"
    save_file(mlp_state(torch.Generator().manual_seed(0), width=5, gain=1.0), path)
    before = described().transform([str(path)])
    np.testing.assert_array_equal(described().fit_transform([str(path)]), before)
    assert read == [str(path)]
    save_file(mlp_state(torch.Generator().manual_seed(1), width=7, gain=2.0), path)
    assert (described().transform([str(path)]) != before).any() and len(read) == 2


def test_least_used_rows_are_dropped(monkeypatch):
    monkeypatch.setattr(rows, "MOST_BYTES", 100)
    memory = rows._RowMemory()
    for number in range(4):
        memory.put((str(number),), np.zeros(10, dtype=np.float32))
        memory.get(("0",))
    assert memory.get(("0",)) is not None and memory.get(("3",)) is not None
    assert memory.get(("1",)) is None and memory.get(("2",)) is None


def test_mistakes_are_told(files, tmp_path):
    paths = files["path"].tolist()
    with pytest.raises(PredictorError, match="X is one str, expected a list"):
        NetworkEncoder().fit(paths[0])
    with pytest.raises(PredictorError, match="X is a list without networks"):
        NetworkEncoder().fit([[1.0, 2.0]])
    with pytest.raises(PredictorError, match="in row 1 a float"):
        NetworkEncoder().fit([paths[0], float("nan")])
    with pytest.raises(PredictorError, match=r"row 1 of X: .* stands for 24 checkpoints"):
        NetworkEncoder().transform([paths[0], str(Path(paths[0]).parent)])
    with pytest.raises(CheckpointError, match=r"gone\.pt: no such file"):
        NetworkEncoder().transform([paths[0], str(tmp_path / "gone.pt")])
    with pytest.raises(PredictorError, match="vectors is 'logits'"):
        NetworkEncoder(vectors="embedding").set_params(vectors="logits")._reader()
    with pytest.raises(PredictorError, match="no packaged predictor of that name"):
        NetworkEncoder("defualt").fit(paths)
    with pytest.raises(PredictorError, match="expert is 'neural', expected one of kernel"):
        PropertyRegressor("neural").fit(paths, range(24))
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        PropertyRegressor().fit(paths[:3], [1.0, 2.0])


def test_a_folder_is_a_network(tmp_path):
    (tmp_path / "hub").mkdir()
    save_file(mlp_state(torch.Generator().manual_seed(0), width=5, gain=1.0), tmp_path / "hub" / "model.safetensors")
    assert described().transform([str(tmp_path / "hub")]).shape[0] == 1


def test_a_file_replaced_with_its_time_kept_is_read_again(tmp_path):
    path = tmp_path / "a.safetensors"
    generator = torch.Generator().manual_seed(1)
    found = []
    for _ in range(2):
        save_file({name: torch.randn(shape, generator=generator) for name, shape in (("0.weight", (8, 8)),)}, path)
        os.utime(path, (1000, 1000))
        found.append(NetworkEncoder().fit_transform([path]))
    assert not np.allclose(*found)


@pytest.mark.parametrize("expert", ["kernel", "forest"])
def test_intervals_hold_the_labels_of_networks_that_were_held_out(expert):
    generator = np.random.default_rng(0)
    rows = generator.normal(size=(400, 5))
    labels = rows[:, 0] + generator.normal(size=400) * 0.5
    model = PropertyRegressor(expert, trees=20, interval_folds=4).fit(rows[:200], labels[:200])
    widths = []
    for coverage in (0.5, 0.9):
        low, high = model.predict_interval(rows[200:], coverage=coverage).T
        assert abs(((low <= labels[200:]) & (labels[200:] <= high)).mean() - coverage) < 0.12
        widths.append((high - low).mean())
    assert widths[0] < widths[1]
    again = PropertyRegressor(expert, trees=20, interval_folds=4).fit(rows[:200], labels[:200])
    np.testing.assert_array_equal(again.predict_interval(rows[:9]), model.predict_interval(rows[:9]))
    plain = PropertyRegressor(expert, trees=20).fit(rows[:200], labels[:200])
    np.testing.assert_array_equal(plain.predict(rows), model.predict(rows))


def test_intervals_keep_runs_together_and_fractions_between_0_and_1():
    generator = np.random.default_rng(1)
    runs = np.arange(60).repeat(4)  # four equal rows per run: without groups, held-out rows have a copy in the training
    rows, labels = generator.normal(size=(60, 5))[runs], generator.random(60)[runs]
    width = {}
    for name, groups in (("runs", runs), ("rows", None)):
        model = PropertyRegressor(interval_folds=3).fit(rows, labels, groups=groups)
        low, high = model.predict_interval(generator.normal(size=(50, 5))).T
        assert (low >= 0).all() and (high <= 1).all()
        width[name] = (high - low).mean()
    assert width["rows"] < 0.8 * width["runs"]


def test_intervals_that_cannot_be_given_are_refused():
    rows = np.random.default_rng(2).normal(size=(8, 3))
    with pytest.raises(PredictorError, match="set interval_folds, such as 5, before fit"):
        PropertyRegressor().fit(rows, rows[:, 0]).predict_interval(rows)
    model = PropertyRegressor(interval_folds=4).fit(rows, rows[:, 0])
    with pytest.raises(PredictorError, match="8 training runs, too few for intervals that hold 90%"):
        model.predict_interval(rows)
    assert model.predict_interval(rows, coverage=0.5).shape == (8, 2)
    with pytest.raises(PredictorError, match=r"coverage is 90\.0, expected a number between 0 and 1"):
        model.predict_interval(rows, coverage=90.0)
    with pytest.raises(PredictorError, match=r"too few for intervals that hold 99\.9% of the labels"):
        model.predict_interval(rows, coverage=0.999)
    for num_folds, groups, num_runs in ((9, None, 8), (2, ["one"] * 8, 1)):
        model = PropertyRegressor(interval_folds=num_folds)
        with pytest.raises(PredictorError, match=f"interval_folds is {num_folds}, .* runs, which is {num_runs}$"):
            model.fit(rows, rows[:, 0], groups=groups)
        assert not hasattr(model, "expert_")  # refused before any work
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        PropertyRegressor(interval_folds=2).fit(rows, rows[:, 0], groups=["one", "two"])
