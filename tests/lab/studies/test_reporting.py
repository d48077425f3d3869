import json
import sys
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from study_cases import TASK, outcomes, tiny_study

from sne.lab.studies import HeldOut, Study, StudyError, check_extras, write_report
from sne.lab.studies.reporting import tables
from sne.lab.studies.reporting.document import Cell, Heading, Items, Paragraph, Table, to_markdown, to_page
from sne.lab.studies.reporting.maps import neighbours_agree
from sne.lab.studies.runner import Finished
from sne.work import Failure

PNG = b"\x89PNG\r\n\x1a\n"


def finished(found, **changes):
    study: Study = replace(tiny_study("sne", "mean"), **changes)
    tried = [result for outcome in found.all for result in outcome.results]
    return Finished(study, "ci", study.designs["ci"], found, tried, {"a-job": Failure("broke")}, 3.0)


class Links(HTMLParser):
    """Collects the links that a page would load, and the tags that are not closed."""

    def __init__(self):
        super().__init__()
        self.links, self.open = [], []

    def handle_starttag(self, tag, attrs):
        self.links += [value for name, value in attrs if name in ("src", "href") and not value.startswith("data:")]
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_writes_report_results_pictures_and_one_page(tmp_path):
    found = outcomes(("sne", 0.1), ("deep_sets", 0.4), ("mean", 3.0), ("hyperparameters", 0.2), ("nft", -1.0))
    write_report(finished(found), tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {
        "report.md", "report.html", "results.json", "bars.png", "scatter.png",
    }  # fmt: skip
    assert (tmp_path / "bars.png").read_bytes().startswith(PNG)
    text = (tmp_path / "report.md").read_text()
    assert "sne default" in text and "| cannot |" in text and "NFT, accuracy to own: too small" in text
    assert "is ahead of DeepSets" in text and "![" in text
    page = (tmp_path / "report.html").read_text()
    reader = Links()
    reader.feed(page)
    assert reader.links == [] and reader.open == [] and page.count("data:image/png;base64,") == 2
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["failures"] == {"a-job": "broke"} and results["versions"] == {"sne": "0"}
    statuses = {row["method"]: row["status"] for row in results["outcomes"]}
    assert statuses["nft"] == "cannot" and statuses["sne"] == "done"
    assert results["comparisons"][0]["best_baseline"] == "deep_sets"


def test_curves_over_tasks(tmp_path):
    tasks = [replace(TASK, name=f"{share}", x=float(share), metric="mse") for share in (10, 100)]
    found = [outcomes(("sne", 0.5 / task.x), ("deep_sets", 0.5), task=task) for task in tasks]
    joined = replace(found[0], all=[*found[0].all, *found[1].all])
    write_report(finished(joined, curve="share, %", has_bars=False, has_scatter=False), tmp_path)
    assert sorted(path.name for path in tmp_path.glob("*.png")) == ["curve.png"]


def test_maps_of_embeddings(tmp_path):
    found = outcomes(("sne", 0.1), ("deep_sets", 0.4), task=replace(TASK, has_map=True))
    share, chance = neighbours_agree(found.all[0])
    assert 0 <= share <= 1 and chance == pytest.approx(18 / 38)
    write_report(finished(found, has_bars=False, has_scatter=False), tmp_path)
    assert (tmp_path / "map.png").read_bytes().startswith(PNG)
    assert "nearest neighbours with the same data set" in (tmp_path / "report.md").read_text()


def test_pairs_are_drawn_as_a_matrix(tmp_path):
    parts = (HeldOut("a", ("tiny",), "own"), HeldOut("b", ("tiny",), "other"))
    rows = []
    for name in ("a", "b"):
        for part in parts:
            rows += [
                replace(o, task=replace(TASK, name=name, held_out=parts), held_out=part, results=[
                    {**r, "held_out": {p.name: r["held_out"]["own"] for p in parts}} for r in o.results
                ])
                for o in outcomes(("sne", 0.3), ("sne_one", 0.1), ("mean", 2.0), ("deep_sets", 0.3)).all
            ]  # fmt: skip
    write_report(finished(replace(outcomes(("sne", 0.3), ("sne_one", 0.1)), all=rows), has_scatter=False), tmp_path)
    assert (tmp_path / "matrix.png").is_file()
    report = (tmp_path / "report.md").read_text()
    assert "own: Kendall tau" in report
    assert (
        "training set and held-out set: sne default, and the best baseline, DeepSets." in report
    )  # not the better sne_one


def test_same_results_give_the_same_files(tmp_path):
    for name in ("one", "two"):
        write_report(finished(outcomes(("sne", 0.1), ("mean", 1.0))), tmp_path / name)
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes(), path.name


def test_text_is_escaped(tmp_path):
    blocks = [
        Heading("a < b", 1),
        Paragraph("<script>"),
        Items(["&"]),
        Table(["x", "|"], [[Cell("a|b"), Cell("1", True)]]),
    ]
    page, text = to_page("t", blocks, tmp_path), to_markdown(blocks)
    assert "<script>" not in page and "&lt;script&gt;" in page and "<b>1</b>" in page
    assert "| a\\|b | **1** |" in text and "| x | \\| |" in text


def test_figures_are_short_and_nothing_has_no_sign():
    from sne.lab.studies.reporting.tables import figure, with_interval

    assert figure("kendall_tau", -0.0001) == "0.000" and figure("mse", 0.01234) == "0.0123"
    assert with_interval("accuracy", 0.5, (0.25, 0.75)) == "0.500 [0.250, 0.750]"
    assert figure("kendall_tau", None) == with_interval("mse", None, (0.0, 1.0)) == "-"


def test_says_what_is_left_out_what_failed_and_what_was_changed(tmp_path):
    found = finished(outcomes(("sne", 0.1), ("mean", 3.0)))
    design = replace(found.design, left_out={"nft": "too slow", "dwsnet": "too slow"}, seeds=(5,))
    broken = {**found.tried[0], "status": "failed", "reason": "the loss is no longer finite"}
    write_report(replace(found, design=design, tried=[*found.tried, broken]), tmp_path)
    text = (tmp_path / "report.md").read_text()
    assert "- Not compared here: NFT, DWSNet: too slow." in text
    assert "sne default, accuracy, configuration 0, seed 0: the loss is no longer finite" in text
    assert "Command: sne study tiny --scale ci --seeds 5. Versions: sne 0." in text
    assert "Command: sne study tiny --scale ci. " in markdown(finished(outcomes(("sne", 0.1), ("mean", 3.0))), tmp_path)
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["methods"][0]["settings"]["rank_weight"] == 0.5


def markdown(found, folder):
    write_report(found, folder)
    return (folder / "report.md").read_text()


def test_costs_stand_in_every_table():
    found = outcomes(("sne", 0.1), ("mean", 3.0))
    for table in (tables.summary(found), tables.of_task(found, TASK), tables.details(found, TASK)):
        assert list(table.columns[-3:]) == ["parameters", "ms per network", "training, s"]
        assert all(len(row) == len(table.columns) for row in table.rows) and len(table.rows) == 2


def test_a_lack_of_matplotlib_is_told_before_anything_is_trained(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(StudyError, match=r"plots of reports: matplotlib not installed; .*pip install '\.\[studies\]'"):
        check_extras(has_plots=True)
