"""What `import sne` gives, and what it leaves alone."""

import json
import subprocess
import sys

import pytest

import sne


def fresh(code: str) -> dict:
    """Runs code in a new interpreter without the tests' import hook; it prints one JSON object."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


@pytest.mark.parametrize("name", sne.__all__)
def test_every_public_name_resolves(name):
    assert getattr(sne, name) is not None
    assert name in dir(sne)


def test_type_checkers_see_the_same_names():
    import ast
    from pathlib import Path

    tree = ast.parse(Path(sne.__file__).read_text())
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    seen = {
        (alias.name, node.module) for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names
    }
    packages = {(name, "sne") for name in sne._PACKAGES}
    assert seen == packages | {(name, f"sne.{package}") for name, package in sne._PACKAGE_OF.items()}


def test_unknown_names_are_told():
    with pytest.raises(AttributeError, match="module 'sne' has no attribute 'nothing'"):
        _ = sne.nothing


def test_importing_loads_nothing_else():
    loaded = fresh("import sys; before = set(sys.modules); import sne, json;"
                   "print(json.dumps(sorted(set(sys.modules) - before)))")  # fmt: skip
    heavy = {"torch", "numpy", "safetensors", "pyarrow", "sklearn", "scipy", "typer", "rich"}
    assert "sne" in loaded and not heavy & set(loaded)
    assert not [name for name in loaded if name.startswith("sne.")]


def test_importing_changes_nothing():
    found = fresh("""
import json, logging, os, random, sys, warnings
import numpy, torch
def state():
    return {
        "environment": dict(os.environ),
        "folder": os.getcwd(),
        "path": list(sys.path),
        "seeds": [repr(random.getstate()), repr(numpy.random.get_state()), torch.get_rng_state().tolist()],
        "loggers": sorted(n for n in logging.root.manager.loggerDict if n.startswith("sne")),
        "handlers": [repr(h) for h in logging.root.handlers] + [logging.root.level],
        "warnings": repr(warnings.filters),
        "torch": [torch.get_num_threads(), str(torch.get_default_dtype()), torch.is_grad_enabled(),
                  torch.are_deterministic_algorithms_enabled()],
    }
import sklearn.ensemble, sklearn.neural_network, pyarrow.parquet, safetensors.torch, scipy.stats
before = state()
import sne
for name in sne.__all__:
    getattr(sne, name)
import sne.baselines
after = state()
print(json.dumps({key: before[key] == after[key] for key in before}))
""")
    assert found and all(found.values()), [key for key, same in found.items() if not same]
