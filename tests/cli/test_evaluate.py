import json
import shutil

import pytest
from tiny import write_tiny_zoo

import sne.baselines

pytestmark = pytest.mark.usefixtures("tiny_rooms")
BASELINES = tuple(sne.baselines.BASELINES)
FIGURES = ["kendall_tau", "tau_ceiling", "r2", "mae", "coverage", "mean_width", "n"]


def test_figures_of_one_network_need_another(sne_command, predictor_path, tmp_path):
    other = write_tiny_zoo(tmp_path / "other", runs=2, seed=7, start=40, split=False)  # run 41 has no test_accuracy
    result = sne_command("evaluate", predictor_path, other, "--no-baselines")
    assert result.out.splitlines()[-1].startswith("kendall_tau=") and "need 2 or more" not in result.err
    sne_command("zoo", "export", "folder", other, tmp_path / "files")
    (table,) = (tmp_path / "files").glob("*.csv")
    table.write_text("path,test_accuracy\nnetworks/000/000000.safetensors,0.5\n")
    done = sne_command("zoo", "import", "folder", tmp_path / "files", tmp_path / "one")
    assert done.status == 0, done.err
    result = sne_command("evaluate", predictor_path, tmp_path / "one", "--no-baselines")
    assert result.status == 0 and "nan" not in result.out
    assert result.out.splitlines()[-1] == "kendall_tau=- n=1"
    line = "sne: test_accuracy: 1 of 1 network has a measured value; figures need 2 or more\n"
    assert line in result.err


def test_test_split_of_the_training_zoo_by_default(sne_command, predictor_path, zoo_path):
    result = sne_command("evaluate", predictor_path, zoo_path)
    assert result.status == 0, result.err
    lines = result.out.splitlines()
    assert lines[0] == "test_accuracy, split test:"
    assert lines[1].split() == ["method", *FIGURES]
    assert [line.split()[0] for line in lines[2:4]] == ["sne", "mean"]
    assert lines[-1].startswith("kendall_tau=") and lines[-1].endswith(" baseline_tau=0.0000 n=12")
    assert result.err == "sne: test_accuracy: baseline hopeless cannot be applied: not on this zoo\n"


def test_json_ends_with_the_summary(sne_command, predictor_path, zoo_path):
    result = sne_command("evaluate", predictor_path, zoo_path, "--json", "--table", "--by", "family")
    *rows, summary = result.json()
    assert [r["id"] for r in rows[:12] if "id" in r] == [r["id"] for r in rows[:12]]
    assert {(r["group"], r["method"]) for r in rows[12:]} == {
        (group, method) for group in ("narrow", "wide") for method in ("sne", "mean")
    }
    assert sum(r["n"] for r in rows[12:] if r["method"] == "sne") == summary["n"] == 12
    assert list(summary["properties"]["test_accuracy"]["sne"]) == FIGURES
    assert (summary["split"], summary["seen"]) == ("test", 0)


def test_networks_trained_on_are_never_evaluated_in_silence(sne_command, predictor_path, zoo_path):
    result = sne_command("evaluate", predictor_path, zoo_path, "--split", "all", "--json", "--no-baselines")
    assert result.json()[-1]["seen"] == 48 and result.json()[-1]["n"] == 60
    assert "48 of 60 networks were used in training or validation" in result.err


def test_another_zoo_is_evaluated_whole_against_baselines_of_the_training_zoo(sne_command, predictor_path, tmp_path):
    other = write_tiny_zoo(tmp_path / "other", runs=6, seed=7, start=40, split=False)
    result = sne_command("evaluate", predictor_path, other, "--json")
    summary = result.json()[-1]
    assert (summary["split"], summary["n"], summary["seen"]) == ("all", 12, 0)
    assert set(summary["properties"]["test_accuracy"]) == {"sne", "mean"}
    result = sne_command("evaluate", predictor_path, other, "--split", "test")
    assert result.status == 2 and "has no split.json; --split all measures all of its networks" in result.err


def test_twins_of_networks_learned_from_are_told(sne_command, predictor_path, zoo_path, tmp_path):
    other = write_tiny_zoo(tmp_path / "other", dataset="letters", split=False)
    result = sne_command("evaluate", predictor_path, other, "--json")
    summary = result.json()[-1]
    assert (summary["split"], summary["n"], summary["seen"], summary["twins"]) == ("all", 60, 0, 48)
    assert "48 of 60 networks are twins of training networks" in result.err
    assert "the split test contains none of them" in result.err
    result = sne_command("evaluate", predictor_path, other, "--json", "--split", "test")
    assert (result.json()[-1]["n"], result.json()[-1]["twins"]) == (12, 0) and "twins" not in result.err
    own = sne_command("evaluate", predictor_path, zoo_path, "--json", "--split", "all").json()[-1]
    assert (own["seen"], own["twins"]) == (48, 0)


def test_a_moved_training_zoo_is_recognised_and_a_lost_one_told(sne_command, zoo_path, tmp_path):
    first, moved = tmp_path / "first", tmp_path / "moved"
    shutil.copytree(zoo_path, first)
    path = tmp_path / "p"
    options = ("--target", "test_loss", "--out", path, "--preset", "tiny", "--epochs", 1)
    assert sne_command("train", first, *options).status == 0
    first.rename(moved)
    assert sne_command("evaluate", path, moved, "--json").json()[-1]["split"] == "test"
    other = write_tiny_zoo(tmp_path / "other", runs=4, seed=7, split=False)
    result = sne_command("evaluate", path, other, "--json")
    assert set(result.json()[-1]["properties"]["test_loss"]) == {"sne"}
    assert f"no baselines: the training zoo {first} does not exist any more" in result.err


def test_table_and_groups_for_people(sne_command, predictor_path, zoo_path):
    result = sne_command("evaluate", predictor_path, zoo_path, "--table", "--by", "config.activation")
    lines = result.out.splitlines()
    assert lines[1].split() == ["id", "measured", "predicted", "low", "high"]
    measured = [float(line.split()[1]) for line in lines[2:14]]
    assert measured == sorted(measured, reverse=True)
    assert "test_accuracy, by config.activation:" in lines


def test_classes(sne_command, zoo_path, tmp_path):
    options = ("--target", "config.activation", "--out", tmp_path / "p", "--preset", "tiny", "--epochs", 2)
    assert sne_command("train", zoo_path, *options).status == 0
    result = sne_command("evaluate", tmp_path / "p", zoo_path)
    assert result.out.splitlines()[-1].startswith("accuracy=")
    assert result.out.splitlines()[1].split() == ["method", "accuracy", "n"]


def test_help_explains_every_row_and_column(sne_command):
    text = " ".join(sne_command("evaluate", "--help").out.split())
    for name in [*FIGURES, "accuracy", "invariance_error", "value_change", *BASELINES]:
        assert f" {name} " in text
    assert "\\b" not in text


def test_a_plot_of_classes_is_refused_before_the_work(sne_command, zoo_path, tmp_path, monkeypatch):
    options = ("--target", "config.activation", "--out", tmp_path / "p", "--preset", "tiny", "--epochs", 1)
    assert sne_command("train", zoo_path, *options).status == 0
    monkeypatch.setattr("sne.training.evaluate", None)
    result = sne_command("evaluate", tmp_path / "p", zoo_path, "--plot", tmp_path / "s.html")
    assert result.status == 2 and "every property of this predictor is a class" in result.err


def test_plot_is_one_self_contained_page(sne_command, predictor_path, zoo_path, tmp_path):
    page = tmp_path / "scatter.html"
    assert sne_command("evaluate", predictor_path, zoo_path, "--plot", page).status == 0
    text = page.read_text()
    assert "of 12 networks" in text and "narrow" in text and "wide" in text
    assert 'src="http' not in text and len(text) > 1_000_000


def test_plot_without_plotly_names_the_extra(sne_command, predictor_path, zoo_path, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "plotly.graph_objects", None)
    result = sne_command("evaluate", predictor_path, zoo_path, "--plot", tmp_path / "s.html")
    assert result.status == 2 and "install the extra 'plot'" in result.err and result.err.count("\n") == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--split", "tset"), "'tset'"),
        (("--by", "colour"), "no column 'colour'"),
        (("--plot", "s.png"), "--plot is s.png, expected a name that ends in .html"),
        (("--plot", "/dev/null/s.html"), "cannot write /dev/null/s.html: /dev/null is not a folder"),
    ],
)
def test_mistakes_are_told(sne_command, predictor_path, zoo_path, options, message):
    result = sne_command("evaluate", predictor_path, zoo_path, *options)
    assert result.status == 2 and message in result.err and "Traceback" not in result.err


def test_a_zoo_without_the_property(sne_command, predictor_path, zoo_path):
    config = json.loads((predictor_path / "config.json").read_text())
    config["properties"][0]["name"] = "speed"
    (predictor_path / "config.json").write_text(json.dumps(config))
    result = sne_command("evaluate", predictor_path, zoo_path)
    assert result.status == 2 and "no column 'speed'" in result.err


def test_invariance_error_of_every_method(sne_command, tmp_path):
    zoo = write_tiny_zoo(tmp_path / "zoo", runs=20, known=lambda run: run != 3)
    arguments = ("--target", "test_loss", "--out", tmp_path / "p", "--preset", "tiny", "--epochs", 2)
    assert sne_command("train", zoo, *arguments).status == 0
    result = sne_command("evaluate", tmp_path / "p", zoo, "--split", "all", "--invariance-kinds", "scaling")
    lines = result.out.splitlines()
    assert lines[1].split() == ["method", *FIGURES, "invariance_error", "value_change"]
    sne, mean = lines[2].split(), lines[3].split()
    assert float(sne[-2]) > 0 and float(sne[-1]) > 0 and mean[-2:] == ["-", "0.0000"]
    assert lines[4] == "invariance to scaling, 38 networks"
    result = sne_command("evaluate", tmp_path / "p", zoo, "--json", "--by", "family", "--invariance-draws", 3)
    *rows, summary = result.json()
    assert summary["invariance"] == {"kinds": ["permutation"], "draws": 3, "n": summary["n"]}
    figures = summary["properties"]["test_loss"]
    assert figures["sne"]["invariance_error"] < 1e-9 and figures["mean"]["invariance_error"] is None
    assert all("value_change" in row for row in rows)
    result = sne_command("evaluate", tmp_path / "p", zoo, "--json", "--invariance-draws", 0)
    assert result.json()[-1]["invariance"] is None
    assert list(result.json()[-1]["properties"]["test_loss"]["sne"]) == FIGURES
    result = sne_command("evaluate", tmp_path / "p", zoo, "--invariance-kinds", "rotation")
    assert result.status == 2 and "'rotation', expected some of permutation" in result.err
