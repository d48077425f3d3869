"""Slow packers of small whole numbers, one number at a time, written from the documented layouts."""

import torch
from torch import Tensor


def pack_dense(values: Tensor, bits: int, word: int = 32) -> Tensor:
    """Packs rows into words without gaps: number i of a row takes the bits from i * bits on.

    Args:
        values: Whole numbers, [rows, columns].
        bits: Bits per number.
        word: Bits per word, 8 or 32.
    """
    rows = []
    for row in values.tolist():
        whole = sum(value << (bits * i) for i, value in enumerate(row))
        count = -(-len(row) * bits // word)
        rows.append([(whole >> (word * i)) & (2**word - 1) for i in range(count)])
    return signed(torch.tensor(rows), word)


def pack_gaps(values: Tensor, bits: int) -> Tensor:
    """Packs rows into words of 32 bits, as many whole numbers per word as fit."""
    per_word = 32 // bits
    rows = []
    for row in values.tolist():
        words = [row[i : i + per_word] for i in range(0, len(row), per_word)]
        rows.append([sum(value << (bits * i) for i, value in enumerate(word)) for word in words])
    return signed(torch.tensor(rows), 32)


def pack_awq(values: Tensor) -> Tensor:
    """Packs 8 numbers of 4 bits per word in the order of AutoAWQ: 0, 2, 4, 6, 1, 3, 5, 7."""
    order = (0, 2, 4, 6, 1, 3, 5, 7)
    rows = []
    for row in values.tolist():
        words = [row[i : i + 8] for i in range(0, len(row), 8)]
        rows.append([sum(word[order[i]] << (4 * i) for i in range(8)) for word in words])
    return signed(torch.tensor(rows), 32)


def pack_far(values: Tensor, bits: int, *, first_is_high: bool, word: int = 8) -> Tensor:
    """Packs rows that are far apart into one word: with 4 bits, row i and row i + rows / 2.

    Args:
        values: Whole numbers, [rows, columns].
        bits: Bits per number.
        first_is_high: Whether the first of the rows takes the highest bits (HQQ) rather than the lowest (quanto).
        word: Bits per word; 8, or 32 for 3 bits of HQQ.
    """
    per_word = word // bits
    step = -(-values.shape[0] // per_word)
    packed = torch.zeros(step, values.shape[1], dtype=torch.int64)
    for row in range(values.shape[0]):
        part, place = divmod(row, step)
        packed[place] |= values[row].long() << (bits * (per_word - 1 - part if first_is_high else part))
    return signed(packed, word) if word == 32 else packed.to(torch.uint8)


def signed(words: Tensor, word: int) -> Tensor:
    """Words from 0 to 2^word - 1 as the dtype that files have: uint8, or int32 with negative numbers."""
    if word == 8:
        return words.to(torch.uint8)
    return torch.where(words >= 2**31, words - 2**32, words).to(torch.int32)
