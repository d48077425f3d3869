"""Padding and chunking as a loop over single weights, from section 1 of the method."""

from torch import Tensor


def chunks_of(weight: Tensor, chunk_size: int) -> list[list[float]]:
    """The weights of every chunk of a tensor arranged as [out, in, kernel]."""
    num_out, num_in, kernel = weight.shape
    rows: list[list[float]] = []
    if kernel > 1:
        for o in range(num_out):
            for i in range(num_in):
                rows.append([float(weight[o, i, k]) for k in range(kernel)])
    elif num_in > 1:
        for o in range(num_out):
            rows.append([float(weight[o, i, 0]) for i in range(num_in)])
    else:
        rows.append([float(weight[o, 0, 0]) for o in range(num_out)])
    return [row[begin : begin + chunk_size] for row in rows for begin in range(0, len(row), chunk_size)]
