"""Names and shapes that make recognition slow, or that try to control the terminal or a page."""

import json
import logging
import time

import pytest
import torch
from checkpoint_files import write_safetensors
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

import sne.cli.main
from sne.checkpoints import CheckpointError, read_network
from sne.cli.tables import format_table, printable, say, warn
from sne.networks import TensorInfo, recognise
from sne.networks.claims import find_excess
from sne.training import TrainingSettings, fit
from sne.zoo import Zoo, ZooWriter

ODD_NAMES = {
    "many dots": ("." * 10**6, "has a name of 1000000 characters"),
    "deep": ("a." * 300 + "weight", "lies in 301 modules, at most 64"),
    "long": ("a" * 1001, "has a name of 1001 characters"),
}


def one_tensor(path, name, shape=(2, 3)):
    header = {name: {"dtype": "F32", "shape": list(shape), "data_offsets": [0, 24]}}
    return write_safetensors(path, header, bytes(24))


@pytest.mark.parametrize("case", ODD_NAMES)
def test_absurd_names_are_refused(case, tmp_path):
    name, message = ODD_NAMES[case]
    with pytest.raises(CheckpointError, match=message) as caught:
        read_network(one_tensor(tmp_path / "a.safetensors", name))
    assert len(str(caught.value)) < 500
    with pytest.raises(CheckpointError, match=message):
        read_network({name: torch.ones(2, 3)})


@pytest.mark.parametrize(
    "name", ["9" * 900, "a." * 60 + "weight", "a" * 900, "x." + "7" * 900 + ".weight", "²", "a.².b"]
)
def test_odd_names_are_read(name, tmp_path):
    file = one_tensor(tmp_path / "a.safetensors", name)
    network = read_network(file)
    assert network.num_weights == 6
    assert read_network(file).layers == network.layers


def test_digits_in_names_of_recurrent_layers():
    """Python refuses to convert more than 4,300 digits; a name of so many is refused, one of fewer is no number."""
    leaf = "rnn.weight_ih_l" + "9" * 900
    layers, _ = recognise({leaf: TensorInfo(leaf, (4, 3), "float32")})
    assert [part.tensor for layer in layers for part in layer.parts] == [leaf]


PIECES = st.sampled_from(
    ["a", "0", "12", "weight", "qkv", "attn", "q_proj", "²", "٣", "", "norm1", "conv", "bias", "9" * 60]
)
SHAPES = st.lists(st.sampled_from([0, 1, 2, 3, 6, 2**40]), max_size=5)


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(st.lists(PIECES, min_size=1, max_size=5).map(".".join), SHAPES, min_size=1, max_size=8))
def test_any_names_and_shapes_are_recognised(drawn):
    """Recognition raises nothing, and every tensor is read or noted."""
    infos = {name: TensorInfo(name, tuple(shape), "float32") for name, shape in drawn.items()}
    layers, notes = recognise(infos)
    used = {part.tensor for layer in layers for part in layer.parts} | {note.tensor for note in notes}
    assert used == infos.keys()


SHAPE_CASES = {
    "a thousand axes": ([1] * 1000, 1, "has 1000 axes, at most 64"),
    "65 axes": ([1] * 65, 1, "has 65 axes, at most 64"),
    "entries without end": ([2**40, 2**40, 0], 0, "a shape that no tensor has"),
}


@pytest.mark.parametrize("case", SHAPE_CASES)
def test_absurd_shapes_are_refused(case, tmp_path):
    shape, count, message = SHAPE_CASES[case]
    entry = {"dtype": "F32", "shape": shape, "data_offsets": [0, 4 * count]}
    with pytest.raises(CheckpointError, match=message):
        read_network(write_safetensors(tmp_path / "a.safetensors", {"a.weight": entry}, bytes(4 * count)))


def test_64_axes_are_read(tmp_path):
    entry = {"dtype": "F32", "shape": [2] + [1] * 63, "data_offsets": [0, 8]}
    network = read_network(write_safetensors(tmp_path / "a.safetensors", {"a.weight": entry}, bytes(8)))
    assert [network.read(part).numel() for _, part in network.parts()] == [2]


@pytest.mark.parametrize("shape", [(1,) * 1000, (-1,), (2**62, 2**62), (10**5000,)])
def test_claims_of_other_readers(shape):
    assert find_excess([("a", (2, 3)), ("b", shape)]).startswith("tensor 'b'")


def test_tensors_that_claim_many_modules_each():
    """Each component of a name may be a module of its own, which takes a kilobyte."""
    claims = [(f"x{number}." + "a." * 60 + "weight", (1,)) for number in range(1000)]
    assert find_excess(claims[:100]) is None
    assert "lie in 62 modules each, at most 24 on average" in find_excess(claims)


def test_a_million_tensors_are_refused_in_bounded_time_and_memory(tmp_path):
    entry = b'"%d":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}'
    header = b"{" + b",".join(entry % number for number in range(10**6)) + b"}"
    file = write_safetensors(tmp_path / "a.safetensors", header, b"")
    start = time.process_time()
    with pytest.raises(CheckpointError, match=r"more than 500000 tensors|more values than any checkpoint needs"):
        read_network(file)
    assert time.process_time() - start < 20  # a bound, not a measurement: a few seconds are usual


@pytest.mark.parametrize("text", [b"[" + b"[]," * 3_000_000 + b"1]", b"[" + b"1," * 9_000_000 + b"1]"])
def test_json_of_millions_of_values(text, tmp_path):
    with pytest.raises(CheckpointError, match="more values than any checkpoint needs"):
        read_network(write_safetensors(tmp_path / "a.safetensors", b'{"a":' + text + b"}", b""))


HOSTILE = "\x1b[31m\x1b]0;title\x07[bold]\u202egpj\u0085\ud800\r<script>"


def test_printable_text():
    shown = printable(HOSTILE)
    assert shown.isprintable() and "[bold]" in shown and "<script>" in shown
    assert printable("Größe 漢字 😀") == "Größe 漢字 😀"


def test_every_way_to_print_escapes_control_characters(capsys):
    print(format_table([{HOSTILE: HOSTILE}]))
    say(f"one\n{HOSTILE}")
    warn(HOSTILE)
    sne.cli.main._log_to_stderr(logging.WARNING)
    # Captured records are sent between the processes of the tests, which cannot encode half a surrogate pair.
    logging.getLogger("sne").warning("file %s", HOSTILE.replace("\ud800", ""))
    shown = capsys.readouterr()
    for line in [*shown.out.splitlines(), *shown.err.splitlines()]:
        assert line.isprintable()
    assert "one\n" in shown.out


@pytest.mark.parametrize(
    "command", [("inspect",), ("predict", "--predictor"), ("encode", "--out", "x.npy", "--predictor")]
)
def test_commands_escape_names_from_files(command, tmp_path, capsys):
    """Names of tensors, keys and files stand in tables, notes and errors."""
    bad = "\x1b[31m\u202e"
    save_file({f"{bad}.weight": torch.full((2, 2), torch.nan)}, tmp_path / f"{bad}.safetensors")
    (tmp_path / "p").mkdir()
    config = {"format": 1, "encoder": {"name": bad, "settings": {}}, "properties": [{"name": bad, "kind": bad}]}
    (tmp_path / "p" / "config.json").write_text(json.dumps({**config, "experts": [1]}))
    (tmp_path / "p" / "metrics.json").write_text("{}")
    save_file({"0.a": torch.ones(1)}, tmp_path / "p" / "model.safetensors")
    last = [str(tmp_path / "p")] if command[-1] == "--predictor" else []
    with pytest.raises(SystemExit):
        sne.cli.main.main([command[0], str(tmp_path / f"{bad}.safetensors"), *command[1:], *last])
    shown = capsys.readouterr()
    assert shown.out + shown.err
    assert all(line.isprintable() for line in (shown.out + shown.err).splitlines())


MARKUP = "<script>alert(1)</script><img src=x onerror=alert(2)>\x1b[31m"


def test_page_and_tables_of_an_evaluation_escape_names(tmp_path, capsys):
    """Names of properties, families and networks come from the files of a zoo or a predictor."""
    generator = torch.Generator().manual_seed(0)
    with ZooWriter(tmp_path / "zoo") as writer:
        for number in range(12):
            state = {
                "0.weight": torch.randn(3, 2, generator=generator),
                "2.weight": torch.randn(2, 3, generator=generator),
            }
            names = {"id": f"{MARKUP}{number}", "run": f"{MARKUP}{number}", "family": MARKUP, "dataset": MARKUP}
            writer.add(**names, step=1, state=state, properties={MARKUP: number / 12}, hyperparameters={MARKUP: MARKUP})
    settings = TrainingSettings(experts=("forest",), trees=2)
    fit(Zoo.open(tmp_path / "zoo"), [MARKUP], settings=settings, out=tmp_path / "p", progress=False)
    page = tmp_path / "page.html"
    for command in (
        [
            "evaluate",
            str(tmp_path / "p"),
            str(tmp_path / "zoo"),
            "--split",
            "all",
            "--table",
            "--by",
            "family",
            "--plot",
            str(page),
        ],
        ["zoo", "info", str(tmp_path / "zoo")],
        ["zoo", "verify", str(tmp_path / "zoo")],
    ):
        with pytest.raises(SystemExit) as ended:
            sne.cli.main.main(command)
        shown = capsys.readouterr()
        assert ended.value.code == 0, shown.err
        assert all(line.isprintable() for line in (shown.out + shown.err).splitlines())
    text = page.read_text()
    assert "<script>alert" not in text and "<img src=x" not in text
    assert "&lt;script" in text or "\\u0026lt;script" in text
