"""`sne study`."""

import json
import sys
from dataclasses import replace

import pytest
from study_cases import tiny_study

import sne.lab.studies.runner
from sne.lab.studies import STUDIES
from sne.work import InThisProcess


@pytest.fixture
def tiny(monkeypatch):
    """A study of two quick methods, instead of the declared ones."""
    monkeypatch.setattr(sne.lab.studies, "STUDIES", {"tiny": tiny_study("mean", "statistics_boosting")})


def run(sne_command, tmp_path, *more):
    place = ("--out", tmp_path / "out", "--zoos", tmp_path.parent / "study-zoos", "--workers", 0)
    return sne_command("study", "tiny", "--scale", "ci", *place, *more)


@pytest.mark.parametrize("arguments", [(), ("--list",)])
def test_studies_are_listed_one_per_line(sne_command, arguments):
    shown = sne_command("study", *arguments)
    assert shown.status == 0 and "Methods: sne, " in shown.out and "sne study NAME --scale cpu" in shown.out
    for study in STUDIES.values():
        (line,) = [line for line in shown.out.splitlines() if line.split(" ")[0] == study.name]
        assert study.title in line and study.design("cpu").estimate in line
    rows = sne_command("study", *arguments, "--json", "--scale", "ci").json()
    assert [row["study"] for row in rows] == [*STUDIES, "lineage"]
    assert all(row["question"] and row["estimate"] for row in rows)
    assert all(row["methods"] for row in rows[:-1])


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
    assert "Failed trainings" in report and "no luck" in report and "statistics, boosting" in report


def test_methods_without_their_packages_are_left_out(sne_command, tmp_path, monkeypatch):
    monkeypatch.setattr(sne.lab.studies, "STUDIES", {"tiny": tiny_study("mean", "nfn_np", "nft")})
    for package in ("nfn", "einops"):
        monkeypatch.setitem(sys.modules, package, None)
    shown = run(sne_command, tmp_path, "--json", "--seeds", "0")
    assert shown.status == 0 and [row["method"] for row in shown.json()] == ["mean"]
    assert "sne: left out nfn_np, nft: nfn, einops not installed; install the extra 'nfn'" in shown.err
    assert "Not compared here: NFN-NP, NFT: nfn, einops not installed" in (tmp_path / "out" / "report.md").read_text()


def test_missing_extras_are_named_together_before_the_work(sne_command, tmp_path, monkeypatch, tiny):
    for package in ("nfn", "matplotlib", "ray"):
        monkeypatch.setitem(sys.modules, package, None)
    shown = run(sne_command, tmp_path, "--methods", "mean,nft", "--ray", "local")
    assert shown.status == 2 and len(shown.err.splitlines()) == 1 and not (tmp_path / "out").exists()
    for words in ("'.[studies]'", "'.[ray]'", "nft: nfn not installed", "'.[nfn]'"):
        assert words in shown.err


def test_a_folder_that_cannot_be_written_is_refused_before_the_work(sne_command, tmp_path, tiny):
    (tmp_path / "file").touch()
    shown = sne_command(
        "study", "tiny", "--scale", "ci", "--out", tmp_path / "file" / "out", "--zoos", tmp_path / "zoos"
    )
    assert shown.status == 2 and "cannot write" in shown.err and len(shown.err.splitlines()) == 1
    assert not (tmp_path / "zoos").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("cross-datasets",), "study 'cross-datasets' is not known, expected one of inr-frequency"),
        (("labels", "--scale", "big"), "scale 'big', expected one of ci, cpu, gpu"),
        (("labels", "--methods", "magic"), "method 'magic' is not known, expected names from: sne"),
        (("labels", "--seeds", "one"), "--seeds is 'one', expected whole numbers separated by commas"),
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


def assert_runs_whole(sne_command, tmp_path_factory, name):
    """Runs a declared study at the scale ci and checks what it leaves."""
    zoos = tmp_path_factory.getbasetemp() / f"study-zoos-{sne.lab.studies.STUDIES[name].design('ci').zoos[0].networks}"
    out = tmp_path_factory.mktemp(name)
    shown = sne_command("study", name, "--scale", "ci", "--out", out, "--zoos", zoos, "--workers", 0)
    assert shown.status == 0, shown.err
    assert (out / "report.html").is_file() and list(out.glob("*.png"))
    found = json.loads((out / "results.json").read_text())
    assert {outcome["status"] for outcome in found["outcomes"]} <= {"done", "cannot"}


@pytest.mark.parametrize("name", ["inr-frequency", "embedding-map", "residual"])
def test_declared_studies_run_with_small_zoos(sne_command, tmp_path_factory, monkeypatch, name):
    """A study of one architecture, a study of several zoos with a map, a study of architectures not trained on."""
    design = STUDIES[name].design("ci")
    zoos = tuple(replace(zoo, networks=8, steps=3, keep=(3,), eval_images=50) for zoo in design.zoos)
    small = replace(design, zoos=zoos, seeds=(0,), most_epochs=1)
    monkeypatch.setattr(sne.lab.studies, "STUDIES", {name: replace(STUDIES[name], designs={"ci": small})})
    monkeypatch.setattr(sne.lab.studies.runner, "ProcessPool", lambda workers: InThisProcess())
    assert_runs_whole(sne_command, tmp_path_factory, name)


@pytest.mark.slow
@pytest.mark.parametrize("name", STUDIES)
def test_every_study_at_the_smallest_scale(sne_command, tmp_path_factory, name):
    assert_runs_whole(sne_command, tmp_path_factory, name)
