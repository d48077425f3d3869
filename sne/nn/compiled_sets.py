"""Compiles the kernel that encodes sets of scalars on the CPU, where the environment has `SNE_COMPILE=1`."""

import ctypes
import logging
import os
import shutil
import subprocess
from collections.abc import Sequence
from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor

from sne.nn.exactness import LARGEST_ERROR, error_of
from sne.nn.folding import FoldedBlocks
from sne.nn.scalar_sets import SetKernel, encode_scalar_sets

SOURCE = Path(__file__).with_name("scalar_sets_backward.cpp")

PROCESSORS = {"AVX512": "x86-64-v4", "AVX2": "x86-64-v3"}
"""The compiler's name of the instructions that torch has found."""

FLAGS = ["-std=c++17", "-O3", "-ffp-contract=fast", "-fno-math-errno", "-fno-trapping-math", "-shared", "-fPIC"]

LANES = 16
"""Largest number of sets per vector; must divide the width of a head."""

LARGEST_SET = 32
"""Size of the largest set for which the kernel has memory."""


def compiled_kernel(x: Tensor, added: Tensor, *, heads: int) -> SetKernel | None:
    """Returns a compiled kernel for `encode_scalar_sets` if one is wanted, fits these tensors, and is exact.

    The first call for a width takes about three seconds. Nothing is kept on disk.

    Args:
        x: The sets, [sets, tokens].
        added: Vector added to all tokens of each set before they are pooled, [sets, dim].
        heads: Number of attention heads.

    Returns:
        The kernel, or None.
    """
    are_single = x.dtype == added.dtype == torch.float32
    fits = 0 < x.shape[1] <= LARGEST_SET and added.shape[1] % (LANES * heads) == 0
    return _kernel(added.shape[1], heads) if os.environ.get("SNE_COMPILE") == "1" and are_single and fits else None


@cache
def _kernel(dim: int, heads: int) -> SetKernel | None:
    log = logging.getLogger(__name__)
    try:
        kernel = _compile(dim, heads)
    except (OSError, subprocess.SubprocessError) as problem:
        log.warning("the compiled kernel is not used at dim %d: %s", dim, " ".join(str(problem).split()))
        return None
    encode, device = partial(encode_scalar_sets, kernel=kernel), torch.device("cpu")
    for tokens in (1, 2, 9, LARGEST_SET):
        error = error_of(encode, device, tokens=tokens, dim=dim, heads=heads, has_gradients=True)
        if not error < LARGEST_ERROR:
            log.warning("the compiled kernel is not used at dim %d: its relative error is %.1e", dim, error)
            return None
    return kernel


def _compile(dim: int, heads: int) -> SetKernel:
    """Returns the kernel for one width; the library lives as long as the process."""
    names = (os.environ.get("CXX"), "g++", "clang++", "c++")
    compiler = next((path for name in names if name and (path := shutil.which(name))), None)
    processor = PROCESSORS.get(torch.backends.cpu.get_cpu_capability())
    if compiler is None or processor is None:
        raise OSError("no C++ compiler was found" if compiler is None else "the processor has no AVX2")
    with TemporaryDirectory() as folder:
        library = f"{folder}/sets.so"
        run = [compiler, *FLAGS, f"-march={processor}", f"-DDIM={dim}", f"-DHEADS={heads}", str(SOURCE), "-o", library]
        subprocess.run(run, check=True, capture_output=True, timeout=120)
        loaded = ctypes.CDLL(library)
    for function, pointers in ((loaded.encode, 4), (loaded.backward, 6)):
        function.argtypes, function.restype = [ctypes.c_int64, ctypes.c_int, *[ctypes.c_void_p] * pointers], None

    def forward(x: Tensor, added: Tensor, blocks: FoldedBlocks, out: Tensor) -> None:
        loaded.encode(*x.shape, x.data_ptr(), added.data_ptr(), _pointers(blocks), out.data_ptr())

    def backward(
        x: Tensor, added: Tensor, blocks: FoldedBlocks, grad: Tensor, grad_added: Tensor, totals: list[Tensor]
    ) -> None:
        given = x.data_ptr(), added.data_ptr(), _pointers(blocks), grad.data_ptr()
        loaded.backward(*x.shape, *given, grad_added.data_ptr(), _pointers(totals))

    return SetKernel(forward, backward)


def _pointers(tensors: Sequence[Tensor]) -> ctypes.Array[ctypes.c_void_p]:
    if any(value.dtype != torch.float32 for value in tensors):
        raise TypeError("the compiled kernel takes parameters in float32 only")
    return (ctypes.c_void_p * len(tensors))(*(value.data_ptr() for value in tensors))
