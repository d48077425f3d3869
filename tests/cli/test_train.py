import json
import shlex
from functools import partial

import pytest
from small_disk import small_disk
from tiny import write_tiny_zoo

import sne.encoders
import sne.predictors
from sne.encoders import TensorSetEncoder
from sne.training import preset_settings
from sne.zoo import Split, Zoo

pytestmark = pytest.mark.usefixtures("tiny_rooms")


def test_prints_validation_and_writes_the_folder(sne_command, zoo_path, tmp_path):
    result = sne_command(
        "train", zoo_path, "--target", "test_accuracy", "--target", "config.activation",
        "--out", tmp_path / "p", "--preset", "tiny", "--epochs", 2, "--folds", 2, "--batch-size", 16,
    )  # fmt: skip
    assert result.status == 0, result.err
    lines = result.out.splitlines()
    assert lines[0] == "validation, out of fold:"
    assert lines[1].split() == ["property", "kendall_tau", "tau_ceiling", "r2", "mae", "n", "accuracy"]
    assert lines[2].startswith("test_accuracy") and lines[3].startswith("config.activation")
    config = json.loads((tmp_path / "p" / "config.json").read_text())
    assert len(config["experts"]) == 2 and config["training"]["settings"]["batch_size"] == 16
    assert Split.load(tmp_path / "p" / "split.json") == Zoo.open(zoo_path).split
    assert not (tmp_path / "p" / ".training").exists()


def test_cuts_its_own_split_by_run(sne_command, tmp_path):
    path = write_tiny_zoo(tmp_path / "zoo", split=False)
    arguments = ("train", path, "--target", "test_loss", "--preset", "tiny", "--epochs", 1, "--seed", 4)
    assert sne_command(*arguments, "--out", tmp_path / "p").status == 0
    split = Split.load(tmp_path / "p" / "split.json")
    assert {*split.train, *split.val, *split.test} == set(Zoo.open(path).runs)
    result = sne_command("evaluate", tmp_path / "p", path, "--json")
    assert result.json()[-1]["split"] == "test" and result.json()[-1]["n"] == 2 * len(split.test)


def test_says_where_the_predictor_is_and_what_to_run_next(sne_command, zoo_path, tmp_path, checkpoints):
    out = tmp_path / "my predictor"
    result = sne_command("train", zoo_path, "--target", "test_loss", "--out", out, "--preset", "tiny", "--epochs", 1)
    lines = result.out.splitlines()
    assert f"predictor in {out}; next:" in lines
    commands = [shlex.split(line) for line in lines if line.startswith("  sne ")]
    assert [command[1] for command in commands] == ["evaluate", "predict", "encode"]
    for command in commands:
        given = [str(checkpoints) if part == "CHECKPOINT..." else part for part in command[1:]]
        given = [str(tmp_path / part) if part.endswith(".parquet") else part for part in given]
        assert sne_command(*given).status == 0


def test_out_is_checked_before_the_work(sne_command, zoo_path, tmp_path):
    (tmp_path / "file").write_text("no folder")
    for out in (tmp_path / "file", tmp_path / "file" / "p"):
        result = sne_command("train", tmp_path / "no_zoo", "--target", "test_loss", "--out", out)
        assert result.status == 2 and result.err.startswith(f"sne: cannot write {out}: ")


def test_a_full_disk_is_one_line(sne_command, zoo_path, tmp_path):
    arguments = ("train", zoo_path, "--target", "test_loss", "--preset", "tiny", "--epochs", 1)
    with small_disk(100):
        result = sne_command(*arguments, "--out", tmp_path / "p")
    assert result.status == 2 and result.err.count("\n") == 1 and str(tmp_path / "p") in result.err
    assert not list(tmp_path.rglob("*.partial"))
    assert sne_command(*arguments, "--out", tmp_path / "p", "--resume").status == 0


def test_help_names_the_defaults_of_the_presets(sne_command):
    text = " ".join(sne_command("train", "--help").out.split())
    default, paper = preset_settings("default"), preset_settings("paper")
    for name in ("experts", "epochs", "batch_size", "learning_rate", "folds", "patience"):
        option = text[text.index(f"--{name.replace('_', '-')} ") :]
        values = f"{_shown(getattr(default, name), ',')}; paper: {_shown(getattr(paper, name), ',')}]"
        assert option[option.index("[default: ") :].startswith(f"[default: {values}"), name
    for name in ("trees", "accumulation", "precision", "invariance", "invariance_kinds", "invariance_draws"):
        option = text[text.index(f"--{name.replace('_', '-')} ") :]
        shown = _shown(getattr(default, name), ", ")
        assert option[option.index("[default: ") :].startswith(f"[default: {shown}]"), name


def _shown(value, separator):
    if isinstance(value, tuple):
        return separator.join(value)
    return f"{value:g}" if isinstance(value, float) else value


def test_help_names_every_expert(sne_command):
    text = " ".join(sne_command("train", "--help").out.split())
    assert f"separated by commas: {', '.join(sne.predictors.EXPERTS)}." in text


def test_prints_the_weight_of_every_expert(sne_command, zoo_path, tmp_path, monkeypatch):
    small = partial(TensorSetEncoder, dim=16, heads=2, blocks=1, seeds=1, bins=2)
    monkeypatch.setitem(sne.encoders.PRESETS, "small", small)
    arguments = ("train", zoo_path, "--target", "test_loss", "--preset", "small", "--epochs", 1, "--folds", 2)
    options = ("--experts", "neural, forest,linear", "--trees", 5)
    result = sne_command(*arguments, *options, "--out", tmp_path / "p")
    assert result.status == 0, result.err
    lines = result.out.splitlines()
    title = lines.index("experts alone, with their weights in the prediction:")
    assert lines[title + 1].split() == ["property", "expert", "weight", "kendall_tau"]
    rows = [line.split() for line in lines[title + 2 : title + 5]]
    assert [row[1] for row in rows] == ["neural", "forest", "linear"]
    assert sum(float(row[2]) for row in rows) == pytest.approx(1, abs=1e-3)
    neural = float(rows[0][2])
    assert ("sne encode will give descriptions" in result.err) == (neural == 0)
    stored = json.loads((tmp_path / "p" / "metrics.json").read_text())["experts"]
    assert stored["neural"]["weights"]["test_loss"] == pytest.approx(neural, abs=1e-3)
    result = sne_command(*arguments, "--experts", "oracle", "--out", tmp_path / "q")
    assert result.status == 2 and "unknown expert 'oracle', expected some of neural, forest" in result.err


def test_json(sne_command, zoo_path, tmp_path):
    result = sne_command(
        "train",
        zoo_path,
        "--target",
        "test_loss",
        "--out",
        tmp_path / "p",
        "--preset",
        "tiny",
        "--epochs",
        1,
        "--json",
    )
    (line,) = result.json()
    assert line["validation"]["test_loss"]["n"] == 12


def test_a_finished_predictor_is_not_overwritten_unasked(sne_command, zoo_path, predictor_path):
    arguments = (
        "train", zoo_path, "--target", "test_accuracy", "--out", predictor_path, "--preset", "tiny",
        "--epochs", 5,
    )  # fmt: skip
    before = (predictor_path / "model.safetensors").read_bytes()
    result = sne_command(*arguments)
    assert result.status == 2 and result.err.count("\n") == 1 and "--overwrite" in result.err
    assert sne_command(*arguments, "--resume").status == 0
    assert (predictor_path / "model.safetensors").read_bytes() == before
    for changes in (("--epochs", 6), ("--target", "test_loss"), ("--seed", 1)):
        result = sne_command(*arguments, *changes, "--resume")
        assert result.status == 2 and "the finished predictor was trained with" in result.err
    assert sne_command(*arguments, "--seed", 1, "--overwrite").status == 0
    assert (predictor_path / "model.safetensors").read_bytes() != before


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"--target": "speed"}, "no column 'speed', expected one of"),
        ({"--preset": "huge"}, "unknown preset 'huge', expected one of"),
        ({"--epochs": 0}, "epochs is 0, expected 1 or more"),
        ({"--device": "tpu"}, "device 'tpu', expected auto, cpu or cuda"),
    ],
)
def test_mistakes_are_one_line(sne_command, zoo_path, tmp_path, changes, message):
    options = {"--target": "test_loss", "--out": tmp_path / "p", "--preset": "tiny", "--epochs": 1, **changes}
    result = sne_command("train", zoo_path, *[part for pair in options.items() for part in pair])
    assert result.status == 2 and result.out == ""
    assert message in result.err and result.err.startswith("sne: ") and result.err.count("\n") == 1


def test_no_zoo(sne_command, tmp_path):
    result = sne_command("train", tmp_path / "none", "--target", "a", "--out", tmp_path / "p")
    assert result.status == 2 and "is not a zoo" in result.err and result.err.count("\n") == 1


@pytest.fixture(scope="module")
def known_zoo_path(tmp_path_factory):
    return write_tiny_zoo(tmp_path_factory.mktemp("zoo") / "known", runs=16, known=lambda run: run % 4 > 0)


def test_invariance(sne_command, known_zoo_path, tmp_path):
    """`TinyEncoder` sees no order of neurons, but it sees their scale."""
    arguments = ("train", known_zoo_path, "--target", "test_loss", "--preset", "tiny", "--epochs", 2)
    options = ("--invariance", 0.2, "--invariance-kinds", "permutation, scaling", "--invariance-draws", 2)
    result = sne_command(*arguments, *options, "--out", tmp_path / "p")
    assert result.status == 0, result.err
    assert result.err.startswith("sne: copies by permutation and scaling were drawn of ")
    lines = result.out.splitlines()
    title = next(number for number, line in enumerate(lines) if line.startswith("invariance to"))
    assert lines[title].startswith("invariance to permutation and scaling, ") and lines[title].endswith(" networks:")
    assert lines[title + 1].split() == ["property", "invariance_error", "value_change"]
    assert lines[title + 2].split()[0] == "test_loss"
    training = json.loads((tmp_path / "p" / "config.json").read_text())["training"]
    assert training["settings"]["invariance"] == 0.2 and training["settings"]["invariance_draws"] == 2
    assert training["symmetry"]["copied"] and training["symmetry"]["unknown"]
    result = sne_command(*arguments, *options, "--out", tmp_path / "p", "--resume", "--json")
    assert result.json()[0]["invariance"]["properties"]["test_loss"]["invariance_error"] > 0
    result = sne_command(*arguments, "--out", tmp_path / "p", "--resume")
    assert result.status == 2 and "was trained with invariance 0.2, not 0.0" in result.err
    result = sne_command(*arguments, "--augment", "--out", tmp_path / "a")
    assert result.status == 0 and "drawn of 0 networks, not of " in result.err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--invariance", -1), "invariance is -1.0, expected 0 or more"),
        (("--invariance", 1, "--invariance-kinds", "melting"), "invariance_kinds: got 'melting', expected some of"),
        (("--invariance", 1), "make the zoo again with `sne zoo make`"),
        (("--augment",), "make the zoo again with `sne zoo make`"),
    ],
)
def test_mistakes_with_invariance_are_one_line(sne_command, zoo_path, tmp_path, options, message):
    arguments = ("train", zoo_path, "--target", "test_loss", "--preset", "tiny", "--out", tmp_path / "p")
    result = sne_command(*arguments, *options)
    assert result.status == 2 and message in result.err and result.err.count("\n") == 1
