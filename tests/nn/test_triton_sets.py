"""The kernel for GPUs, interpreted on the CPU, next to textbook modules with the same weights.

Triton's interpreter is chosen by an environment variable when a kernel is defined, hence the subprocesses.
"""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from oracles.textbook_sets import TextbookChunkEncoder
from scalar_set_cases import chunk_encoder, inputs

TESTS = Path(__file__).parents[1]
needs_triton = pytest.mark.skipif(find_spec("triton") is None, reason="Triton is not installed")

COMPARE = """
import sys
import torch
from oracles.textbook_sets import TextbookChunkEncoder
from scalar_set_cases import chunk_encoder, inputs
from sne.nn import fold_blocks
from sne.nn import triton_sets

tokens, dim, heads, scale, sets = int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]), 23
module, (x, added) = chunk_encoder(dim, heads), inputs(sets, tokens, dim)
with torch.no_grad():
    module.second.block.query.weight.mul_(scale)
    blocks = fold_blocks(module.first, module.second, module.pool)
    found = triton_sets.encode_sets(x, added, blocks)
    broken_x = x.clone()
    broken_x[3, 0], broken_x[20, -1] = float("nan"), float("inf")
    broken = triton_sets.encode_sets(broken_x, added, blocks)
    expected = TextbookChunkEncoder(module.double())(x.double(), added.double())
error = float((found - expected).abs().max() / expected.abs().max())
assert error < 1e-5, error
is_broken = torch.tensor([index in (3, 20) for index in range(sets)])
assert broken[is_broken].isnan().all()
assert torch.equal(broken[~is_broken], found[~is_broken])

encode, device = triton_sets.encode_sets, torch.device("cpu")
assert triton_sets.is_exact(device, tokens, dim, heads)
for wrong in (lambda *given: encode(*given) * 1.0001, lambda *given: encode(*given) / 0, lambda *given: 1 / 0):
    triton_sets.is_exact.cache_clear()
    triton_sets.encode_sets = wrong
    assert not triton_sets.is_exact(device, tokens, dim, heads)
"""

COMPILE = """
import sys
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from sne.nn import triton_sets

kernel, capability = triton_sets._average_sets, int(sys.argv[1])
sizes = {"ROWS": triton_sets.ROWS, "SETS": 16, "DIM": 64, "HEADS": 4, "NUMBERS": 16, "PRECISION": triton_sets.PRECISION}
signature = {n: "*fp32" if n.endswith("_at") else "constexpr" if n in sizes else "i32" for n in kernel.arg_names}
source = ASTSource(kernel, signature, {(kernel.arg_names.index(n),): value for n, value in sizes.items()})
compiled = triton.compile(source, target=GPUTarget("cuda", capability, 32))
assert "mma" in compiled.asm["ptx"]
assert compiled.metadata.shared <= 99 * 1024, compiled.metadata.shared
"""


def assert_runs(program: str, *arguments: object, **environment: str) -> None:
    path = os.pathsep.join((str(TESTS.parent), str(TESTS), *filter(None, [os.environ.get("PYTHONPATH")])))
    done = subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)],
        env=os.environ | {"PYTHONPATH": path} | environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr


@needs_triton
@pytest.mark.parametrize(
    ("tokens", "dim", "heads", "scale"), [(1, 64, 4, 1), (2, 32, 2, 1), (9, 64, 4, 1), (9, 16, 1, 40), (32, 32, 2, 1)]
)
def test_interpreted_kernel_equals_textbook(tokens, dim, heads, scale):
    assert_runs(COMPARE, tokens, dim, heads, scale, TRITON_INTERPRET="1")


@needs_triton
@pytest.mark.parametrize("capability", [80, 90])
def test_the_kernel_compiles_and_fits_the_shared_memory_of_a_gpu(capability, tmp_path):
    assert_runs(COMPILE, capability, TRITON_INTERPRET="0", TRITON_CACHE_DIR=str(tmp_path))


@pytest.mark.gpu
@needs_triton
@pytest.mark.parametrize("tokens", [1, 2, 9, 32])
def test_the_gpu_equals_textbook(tokens, monkeypatch):
    from sne.nn import triton_sets

    called, encode = [], triton_sets.encode_sets
    module, (x, added) = chunk_encoder(64, 4).cuda(), inputs(5000, tokens, 64)
    assert triton_sets.can_encode(x.cuda(), added.cuda(), heads=4)
    monkeypatch.setattr(triton_sets, "encode_sets", lambda *given: (called.append(1), encode(*given))[1])
    with torch.no_grad():
        found = module(x.cuda(), added.cuda()).cpu()
        expected = TextbookChunkEncoder(module.cpu().double())(x.double(), added.double())
    assert called
    assert float((found - expected).abs().max() / expected.abs().max()) < 1e-5
