"""`sne study`."""

import json

import pytest
from study_cases import tiny_study

import sne.lab.studies
from sne.lab.studies import STUDIES


@pytest.fixture
def tiny(monkeypatch):
    """A study of two quick methods, in place of the others."""
    monkeypatch.setattr(sne.lab.studies, "STUDIES", {"tiny": tiny_study("mean", "statistics_boosting")})


def run(sne_command, tmp_path, *more):
    place = ("--out", tmp_path / "out", "--zoos", tmp_path.parent / "study-zoos", "--workers", 0)
    return sne_command("study", "tiny", "--scale", "ci", *place, *more)


def test_list_names_every_study(sne_command):
    shown = sne_command("study", "--list")
    assert shown.status == 0 and "Methods: sne, " in shown.out
    assert all(name in shown.out for name in STUDIES)
    rows = sne_command("study", "--list", "--json", "--scale", "ci").json()
    assert [row["study"] for row in rows] == list(STUDIES)
    assert all(row["question"] and row["methods"] and row["estimate"] for row in rows)


def test_runs_and_writes_a_report(sne_command, tmp_path, tiny):
    first = run(sne_command, tmp_path, "--json")
    assert first.status == 0, first.err
    assert [row["method"] for row in first.json()] == ["mean", "statistics_boosting"]
    assert {"report.md", "report.html", "results.json"} <= {path.name for path in (tmp_path / "out").iterdir()}
    assert "zoo tiny: 8/8" in first.err and "tuning: 2/2" in first.err and "seeds: 4/4" in first.err
    again = run(sne_command, tmp_path)
    assert again.status == 0 and "statistics_boosting" in again.out and "seeds: 4/4" in again.err
    one = run(sne_command, tmp_path, "--methods", "mean", "--seeds", "3", "--json")
    assert [row["method"] for row in one.json()] == ["mean"]


def test_a_failing_job_fails_the_command_at_its_end(sne_command, tmp_path, tiny, monkeypatch):
    from sne.lab.studies import learners

    def broken(**options):
        raise RuntimeError("no luck")

    monkeypatch.setitem(learners.ALL_BASELINES, "mean", broken)
    shown = run(sne_command, tmp_path, "--seeds", "0")
    assert shown.status == 1 and "job accuracy--mean--c0--s0 failed: RuntimeError: no luck" in shown.err
    report = (tmp_path / "out" / "report.md").read_text()
    assert "What failed" in report and "no luck" in report and "statistics, boosting" in report


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--scale", "ci"), "no study was named, expected one of inr-frequency"),
        (("cross-datasets",), "study 'cross-datasets' is not known, expected one of inr-frequency"),
        (("labels", "--scale", "big"), "scale 'big', expected one of ci, cpu, gpu"),
        (("labels", "--methods", "magic"), "method 'magic' is not known here; expected some of sne"),
        (("labels", "--seeds", "one"), "--seeds 'one': expected whole numbers separated by commas"),
        (("cross-dataset", "--images", "nowhere"), "mnist.npz: no such file"),
    ],
)
def test_mistakes_are_one_line(sne_command, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    shown = sne_command("study", *arguments)
    assert shown.status == 2 and message in shown.err and len(shown.err.splitlines()) == 1


def test_help_ends_with_an_example(sne_command):
    shown = sne_command("study", "--help")
    assert "sne study cross-dataset --scale ci --out cross-dataset" in shown.out


QUICK = ("inr-frequency", "embedding-map", "residual")
"""One of fixed architecture, one of several zoos with a map, one of architectures never seen."""


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in STUDIES]
)
def test_every_study_at_the_smallest_scale(sne_command, tmp_path_factory, name):
    zoos = tmp_path_factory.getbasetemp() / "study-zoos"
    out = tmp_path_factory.mktemp(name)
    shown = sne_command("study", name, "--scale", "ci", "--out", out, "--zoos", zoos, "--workers", 0)
    assert shown.status == 0, shown.err
    assert (out / "report.html").is_file() and list(out.glob("*.png"))
    found = json.loads((out / "results.json").read_text())
    assert {outcome["status"] for outcome in found["outcomes"]} <= {"done", "cannot"}
