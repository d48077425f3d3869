"""What is shipped: names, version, licence, and an import that changes nothing."""

import hashlib
import re
import tomllib
from pathlib import Path

from test_layering import LEVELS

import sne
from sne.lab.studies.requirements import PACKAGES

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

WATCH_IMPORT = """
import json, logging, os, random, sys
before = dict(os.environ), list(sys.path), random.getstate(), logging.root.level, list(logging.root.handlers)
import sne
after = dict(os.environ), list(sys.path), random.getstate(), logging.root.level, list(logging.root.handlers)
print(json.dumps([before == after, sorted({name.split(".")[0] for name in sys.modules})]))
"""


def test_versions_agree():
    citation = (ROOT / "CITATION.cff").read_text()
    newest = re.search(r"^## (\S+) - (\d{4}-\d\d-\d\d)$", (ROOT / "CHANGELOG.md").read_text(), flags=re.MULTILINE)
    assert newest is not None and newest[1] == sne.__version__
    assert f"version: {sne.__version__}\ndate-released: {newest[2]}\n" in citation
    assert PROJECT["dynamic"] == ["version"] and "version" not in PROJECT


def test_the_paper_is_cited():
    citation = (ROOT / "CITATION.cff").read_text()
    assert "Set-based Neural Network Encoding Without Weight Tying" in citation
    assert all(f"family-names: {name}\n" in citation for name in ("Andreis", "Bedionita", "Torr", "Hwang"))
    assert "2305.16625" in citation and "2305.16625" in (ROOT / "README.md").read_text()


def test_the_licence_is_the_whole_apache_licence():
    digest = hashlib.sha256((ROOT / "LICENSE").read_bytes()).hexdigest()
    assert digest == "cfc7749b96f63bd31c3c42b5c471bf756814053e847c10f3eb003417bc523d30"


def test_every_extra_that_errors_name_exists():
    named = set(PACKAGES)  # the extras of studies
    for path in (ROOT / "sne").rglob("*.py"):
        named |= set(re.findall(r"install_hint\(['\"](\w+)['\"]\)", path.read_text()))
    assert named == set(PROJECT["optional-dependencies"]) - {"dev", "docs"}


def test_the_architecture_names_every_package():
    text = (ROOT / "docs" / "architecture.md").read_text()
    rows = re.findall(r"^\| (\d) \| `(\w+)(?:/|\.py)` \|", text, flags=re.MULTILINE)
    packages = {path.stem for path in (ROOT / "sne").iterdir() if not path.name.startswith("_")}
    assert {name for _, name in rows} == packages
    assert all(LEVELS[name] == int(level) for level, name in rows)
