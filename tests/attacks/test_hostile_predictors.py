"""Predictor and zoo folders that claim sizes, types or depths which would take memory, time or a traceback."""

import json
import resource
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from tiny import write_tiny_zoo

from sne.encoders import SetEncoder
from sne.errors import PredictorError, ZooError
from sne.predictors import Predictor, Property
from sne.predictors.experts import EncoderWithHeads, NeuralExpert, PropertyHeads
from sne.zoo import Layout, Zoo

HUGE = 10**400


@pytest.fixture
def folder(tmp_path):
    """A saved predictor with one small neural expert."""
    properties = (Property.infer("accuracy", [0.1, 0.9]),)
    encoder = SetEncoder(dim=8, heads=2, inducing_points=2)
    expert = NeuralExpert(EncoderWithHeads(encoder, PropertyHeads(8, properties)))
    Predictor(encoder, properties, [expert], np.ones((1, 1))).save(tmp_path / "p")
    return tmp_path / "p"


def edit(folder, change):
    config = json.loads((folder / "config.json").read_text())
    change(config)
    (folder / "config.json").write_text(json.dumps(config))


def of_encoder(**settings):
    return lambda config: config["encoder"]["settings"].update(settings)


def of_heads(**settings):
    return lambda config: config["experts"][0]["settings"].update(settings)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (of_encoder(chunk_size=10**9), "chunk_size is 1000000000, expected 1 to 65536"),
        (of_encoder(chunk_size="32"), "setting chunk_size is of type str, expected int"),
        (of_encoder(full_up_to={"a": 1}), "setting full_up_to is of type dict, expected int"),
        (of_encoder(dim=True), "setting dim is of type bool, expected int"),
        (of_encoder(dim=HUGE), "setting dim is a number of 1329 bits, expected at most 31"),
        (of_encoder(dim=2**30), "asks for"),
        (of_encoder(inducing_points=2**30), "asks for"),
        (of_heads(hidden="8"), "setting hidden is of type str, expected int"),
        (of_heads(hidden=2**30), "more than 97 tensors"),
        (lambda config: config["properties"][0].update(mean=HUGE), "damaged, OverflowError"),
        (lambda config: config["properties"][0].update(name="a\nb", kind=3), "kind 3, expected one of"),
    ],
)
def test_settings_that_claim_too_much(change, message, folder):
    edit(folder, change)
    with pytest.raises(PredictorError, match=message) as caught:
        Predictor.load(folder)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 800


@pytest.mark.parametrize("name", ["config.json", "metrics.json", "split.json"])
@pytest.mark.parametrize("text", ["[" * 10**5, '{"train": ' + "[" * 10**5, "1" * 10**5, '{"train": NaN', "\udcff"])
def test_json_of_predictors(name, text, folder):
    (folder / name).write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises((PredictorError, ZooError), match=name):
        Predictor.load(folder)


CHILD = """
import resource, sys
limit = int(sys.argv[2])
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
import torch
from sne.predictors import Predictor
from tiny import TinyEncoder

class EndlessEncoder(TinyEncoder):
    def __init__(self, *, dim=8, dropout=0.0, depth=0):
        super().__init__(dim=dim, dropout=dropout)
        self.more = torch.nn.ModuleList(torch.nn.Linear(1, 1) for _ in range(depth))

try:
    Predictor.load(sys.argv[1], encoders={"TinyEncoder": EndlessEncoder})
except Exception as error:
    # Not ru_maxrss, which starts with the size of the process that started this one.
    peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1]
    print(type(error).__name__, error, peak)
"""


def test_a_billion_layers_take_little_memory(folder):
    """The address space of the process is limited, since building the layers would end the machine."""
    edit(folder, lambda config: config.update(encoder={"name": "TinyEncoder", "settings": {"dim": 8, "depth": 10**9}}))
    command = [sys.executable, "-c", CHILD, str(folder), str(4 << 30)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={"PYTHONPATH": ":".join(sys.path)})
    assert done.stdout.startswith("PredictorError"), done.stderr
    assert "ask for more than" in done.stdout
    assert int(done.stdout.split()[-1]) < 1_500_000  # KiB; importing torch takes the most


def slot(shape, offset=0, name="a.weight"):
    return {"name": name, "shape": shape, "dtype": "float32", "offset": offset}


@pytest.mark.parametrize(
    ("slots", "message"),
    [
        ([slot([2] * 1000)], "has 1000 axes, at most 64"),
        ([slot([HUGE, HUGE])], "a shape that no tensor has"),
        ([slot([-1])], "a shape that no tensor has"),
        ([slot([2], HUGE)], "expected 0"),
        ([slot([2], name="." * 10**6)], "has a name of 1000000 characters"),
        ([slot([2]), slot([[3]], 2)], "expected a list of name, shape, dtype, offset"),
    ],
)
def test_layouts_that_claim_too_much(slots, message):
    with pytest.raises(ZooError, match=message):
        Layout.from_json(json.loads(json.dumps(slots)))


@pytest.fixture
def zoo(tmp_path):
    return write_tiny_zoo(tmp_path / "zoo", runs=4)


@pytest.mark.parametrize("text", ["[" * 10**5, '{"train": [[]], "val": [], "test": []}', '{"train": 5}', "null"])
def test_splits_that_are_none(text, zoo):
    (zoo / "split.json").write_text(text)
    with pytest.raises(ZooError, match="expected lists of runs under train, val and test"):
        Zoo.open(zoo)


def rewrite_index(zoo, table, **options):
    for name in ("networks.parquet", "networks.copy.parquet"):
        pq.write_table(table, zoo / name, **options)


def repeated(text, count):
    """A column whose one text is stored once."""
    return pa.DictionaryArray.from_arrays(pa.array(np.zeros(count, dtype=np.int32)), pa.array([text]))


def test_an_index_of_more_rows_than_bytes(zoo):
    count = 5_000_000
    rewrite_index(zoo, pa.table({"id": repeated("a", count), "step": pa.array(np.zeros(count, dtype=np.int64))}))
    assert (zoo / "networks.parquet").stat().st_size < 100_000
    with pytest.raises(ZooError, match="it claims 5000000 rows, 2 columns"):
        Zoo.open(zoo)


def test_an_index_whose_texts_explode(zoo):
    """60,000 rows that share a text of 6 kB: 350 kB on disk, 360 MB in memory."""
    count = 60_000
    ids = pa.array([f"{number:x}" for number in range(count)])
    rewrite_index(zoo, pa.table({"id": ids, "family": repeated("ab" * 3_000, count)}), store_schema=False)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ZooError, match="its content takes too much memory for the size of the file"):
        Zoo.open(zoo)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak < 300_000


def test_rows_that_claim_places_outside_their_shard(zoo):
    table = pq.read_table(zoo / "networks.parquet")
    for value in (2**62, -1):
        offsets = pa.array([value] * len(table), pa.int64())
        changed = table.set_column(table.column_names.index("offset"), "offset", offsets)
        rewrite_index(zoo, changed)
        with pytest.raises(ZooError, match="asked for"):
            Zoo.open(zoo).stored(0)


def test_a_shard_of_another_folder(zoo):
    table = pq.read_table(zoo / "networks.parquet")
    shards = pa.array(["../zoo/weights-00000.safetensors"] * len(table))
    rewrite_index(zoo, table.set_column(table.column_names.index("shard"), "shard", shards))
    with pytest.raises(ZooError, match="is not a plain file name"):
        Zoo.open(zoo).stored(0)
    assert torch.isfinite(Zoo.open(write_tiny_zoo(zoo.parent / "whole", runs=1)).stored(0)).all()
