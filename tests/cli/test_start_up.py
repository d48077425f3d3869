"""What a command imports, which is most of its time for a few small files."""

import json
import os
import subprocess
import sys

import pytest

SLOW = {
    "scipy", "sklearn", "sympy", "pandas", "pyarrow", "rich", "ray", "onnx",
    "torch._dynamo", "torch.onnx", "torch.distributed.tensor", "torch.fx.experimental.symbolic_shapes",
    "sne.symmetry.by_name", "sne.symmetry.tracing", "sne.zoo.store.zoo", "sne.zoo.importing", "sne.training",
}  # fmt: skip
"""Packages that take long to import, and that predicting needs none of."""

LIST_MODULES = """
import json, sys
from sne.cli.main import main
try:
    main(sys.argv[1:])
except SystemExit as end:
    print(json.dumps([end.code, sorted(sys.modules)]), file=sys.stderr)
"""


def modules_of(*arguments) -> list[str]:
    """Runs `sne` in a process without the tests' import hook; gives the modules that it has imported."""
    done = subprocess.run(
        [sys.executable, "-c", LIST_MODULES, *map(str, arguments)],
        capture_output=True, text=True, check=True, env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    status, modules = json.loads(done.stderr.splitlines()[-1])
    assert not status and done.stdout
    return modules


@pytest.fixture
def default_predictor(zoo_path, tmp_path, sne_command):
    """A predictor with the default encoder and all kinds of experts."""
    path = tmp_path / "default"
    experts = "neural,forest,boosting,linear,kernel"
    options = ("--epochs", 1, "--folds", 1, "--experts", experts, "--trees", 5)
    result = sne_command("train", zoo_path, "--target", "test_accuracy", "--out", path, *options)
    assert result.status == 0, result.err
    return path


def test_predicting_imports_no_more_than_it_needs(default_predictor, checkpoints):
    modules = modules_of("predict", checkpoints, "--predictor", default_predictor)
    assert "torch" in modules and "sne.checkpoints.read" in modules
    assert not SLOW & set(modules)


def test_help_imports_no_numerical_library():
    modules = modules_of("--help")
    assert not {"torch", "numpy", "safetensors", "multiprocessing.connection", *SLOW} & set(modules)
