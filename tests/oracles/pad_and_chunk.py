"""Padding and chunking as a loop over single weights, from section 1 of the method."""

from torch import Tensor


def chunks_of(weight: Tensor, chunk_size: int) -> list[tuple[list[float], int, int]]:
    """(weights, neuron, start inside the neuron) of every chunk of a tensor arranged as [out, in, kernel]."""
    num_out, num_in, kernel = weight.shape
    rows: list[tuple[list[float], int, int, bool]] = []
    if kernel > 1:
        for o in range(num_out):
            for i in range(num_in):
                rows.append(([float(weight[o, i, k]) for k in range(kernel)], o, i * kernel, True))
    elif num_in > 1:
        for o in range(num_out):
            rows.append(([float(weight[o, i, 0]) for i in range(num_in)], o, 0, True))
    else:
        rows.append(([float(weight[o, 0, 0]) for o in range(num_out)], 0, 0, False))
    out = []
    for row, neuron, start, is_one_neuron in rows:
        for begin in range(0, len(row), chunk_size):
            piece = row[begin : begin + chunk_size]
            out.append((piece, neuron, start + begin) if is_one_neuron else (piece, begin, 0))
    return out
