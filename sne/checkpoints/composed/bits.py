"""Small numbers that are packed into bytes and words: whole numbers of 1 to 8 bits, and floats of 4 bits."""

import torch
from torch import Tensor

FLOAT4 = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, -0.0, -0.5, -1.0, -1.5, -2.0, -3.0, -4.0, -6.0)
"""Values of the 16 floats with 2 bits of exponent and 1 bit of mantissa (E2M1), by their bits.

Source: Rouhani et al., arXiv 2310.10537, section 5.2, and OCP Microscaling Formats 1.0, table 4.
Differs: nothing.
"""

_EXPONENT_BIAS = 127


def packed_size(count: int, bits: int, word: int = 32) -> int:
    """Returns how many words hold a number of values that are packed without gaps.

    Args:
        count: Number of values.
        bits: Bits per value.
        word: Bits per word.

    Example:
        >>> packed_size(96, 3), packed_size(97, 4)
        (9, 13)
    """
    return -(-count * bits // word)


def unpack_bits(packed: Tensor, bits: int, count: int) -> Tensor:
    """Unpacks whole numbers along the last axis. They are packed without gaps, from the lowest bit of the first word.

    Args:
        packed: Whole numbers of any width, whose bits are read in little-endian order.
        bits: Bits per value, 1 to 8.
        count: Number of values per row, at most as many as the row holds.

    Returns:
        Values from 0 to 2^bits - 1 as uint8, with `count` entries along the last axis.

    Example:
        >>> unpack_bits(torch.tensor([[0x76543210, 0x00000008]], dtype=torch.int32), 4, 9).tolist()
        [[0, 1, 2, 3, 4, 5, 6, 7, 8]]
    """
    size = packed.shape[-1] * packed.element_size()
    rows = packed.flatten().view(torch.uint8).reshape(*packed.shape[:-1], size)
    if bits == 8:
        return rows[..., :count]
    pad = -rows.shape[-1] % bits
    if pad:
        rows = torch.nn.functional.pad(rows, (0, pad))
    groups = rows.unflatten(-1, (-1, bits))  # every `bits` bytes hold 8 values
    values = torch.empty((*groups.shape[:-1], 8), dtype=torch.uint8)
    for i in range(8):
        byte, shift = divmod(i * bits, 8)
        value = groups[..., byte] >> shift
        if shift + bits > 8:
            value = value | (groups[..., byte + 1] << (8 - shift))
        values[..., i] = value & (2**bits - 1)
    return values.flatten(-2)[..., :count]


def unpack_float4(packed: Tensor) -> Tensor:
    """Unpacks floats of 4 bits, two per byte, the lower half first.

    Args:
        packed: Bytes.

    Returns:
        Float32 values with twice as many entries along the last axis.

    Example:
        >>> unpack_float4(torch.tensor([0x21, 0xF7], dtype=torch.uint8)).tolist()
        [0.5, 1.0, 6.0, -6.0]
    """
    return look_up(unpack_bits(packed, 4, 2 * packed.shape[-1] * packed.element_size()), FLOAT4)


def look_up(indices: Tensor, table: tuple[float, ...] | Tensor) -> Tensor:
    """Replaces indices by the values of a table, in float32.

    Args:
        indices: Whole numbers as uint8, each an index of the table.
        table: Values by index.
    """
    return torch.as_tensor(table).to(torch.float32).flatten()[indices.to(torch.int32)]


def powers_of_two(exponents: Tensor) -> Tensor:
    """Returns the scales that are stored as exponents of two (E8M0): 2^(byte - 127).

    Args:
        exponents: Bytes, or values of a dtype of exponents. The byte 255 means NaN.

    Example:
        >>> powers_of_two(torch.tensor([126, 127, 130], dtype=torch.uint8)).tolist()
        [0.5, 1.0, 8.0]
    """
    if exponents.dtype != torch.uint8:
        return exponents.to(torch.float32)
    scales = torch.exp2(exponents.to(torch.float64) - _EXPONENT_BIAS).to(torch.float32)
    return scales.masked_fill(exponents == 255, torch.nan)


def spread_groups(scales: Tensor, size: int) -> Tensor:
    """Repeats one value per group along the last axis.

    Args:
        scales: One value per group along the last axis.
        size: Number of entries that the groups divide evenly.

    Example:
        >>> spread_groups(torch.tensor([1.0, 2.0]), 4).tolist()
        [1.0, 1.0, 2.0, 2.0]
    """
    return scales.repeat_interleave(size // scales.shape[-1], dim=-1)
