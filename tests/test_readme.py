"""The README is run from top to bottom: what it tells a newcomer to type has to work."""

import re
from pathlib import Path

import pytest
from page_runs import blocks_of, run_blocks, shows

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = blocks_of(README)


@pytest.fixture(scope="module")
def printed(tmp_path_factory) -> dict[str, str]:
    """Runs every block in order, in one folder; gives what each command printed."""
    folder = tmp_path_factory.mktemp("newcomer")
    outputs = run_blocks(BLOCKS, folder)
    assert (folder / "embeddings.parquet").is_file()
    return outputs


def test_output_is_compared_by_its_shape():
    printed = "tau     mae\n0.8788  -2e-12\n\nlast line, 12 networks\n"
    assert shows("tau mae\n0.5 7\n\nlast line, 3 networks\n", printed)
    assert shows("tau  mae\n...\nlast line, 3 networks\n", printed) and shows("tau mae\n...\n", printed)
    assert not shows("tau r2\n...\n", printed) and not shows("tau mae\n0.5 7\n", printed)
    assert shows("tau\n0.5\n...\n", printed) and not shows("mae\n7\n...\n", printed)


def test_every_command_is_shown(printed):
    shown = {name for name in printed if name.startswith("sne ")}
    assert shown == {f"sne {name}" for name in ("zoo", "train", "evaluate", "inspect", "predict", "encode")}


def test_evaluate_ends_with_the_promised_line(printed):
    last = printed["sne evaluate"].splitlines()[-1]
    assert re.fullmatch(r"kendall_tau=-?\d\.\d{4} baseline_tau=-?\d\.\d{4} n=\d+", last)


def test_predict_and_inspect_name_the_file(printed):
    assert "model.pt" in printed["sne predict"] and "test_accuracy" in printed["sne predict"]
    assert "2 layers" in printed["sne inspect"]


def test_the_python_examples_print(printed):
    (block,) = [block for language, block in BLOCKS if language == "python" and "sne.Predictor" in block]
    lines = printed[block].splitlines()
    assert [line.split()[1] for line in lines[:2]] == ["linear", "linear"]
    named = [line.split()[0] for line in lines[2:16]]
    assert named[:7] == named[7:] and (named[0], named[6]) == ("test_accuracy", "config.learning_rate")


def test_the_results_have_their_place():
    assert README.index("<!-- results -->") < README.index("<!-- /results -->")
