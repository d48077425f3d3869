"""Random numbers as a function of where they are needed: hashes of key and place, on any device."""

import torch
from jaxtyping import Int32, Int64, UInt8
from torch import Tensor

_ROUNDS = 32


def key_of(seed: int, device: torch.device | str) -> Int32[Tensor, "1"]:
    """A seed as the key of hashes."""
    low, high = (torch.tensor([_signed(part)], dtype=torch.int32) for part in (seed & 0xFFFFFFFF, seed >> 32))
    return mix(mix(low) ^ high).to(device)


def mask_keys(keys: Int32[Tensor, " networks"], step: int, salt: int) -> Int32[Tensor, " networks"]:
    """Of each network, the key of one dropout layer in one step."""
    return mix(mix(keys + step) ^ _signed(0x85EBCA6B * (salt + 1) & 0xFFFFFFFF))


def mix(words: Int32[Tensor, "*shape"]) -> Int32[Tensor, "*shape"]:
    """Hashes each word.

    Source: the finaliser of MurmurHash3 (Appleby, public domain).
    """
    words = words ^ ((words >> 16) & 0xFFFF)
    words = words * _signed(0x85EBCA6B)
    words = words ^ ((words >> 13) & 0x7FFFF)
    words = words * _signed(0xC2B2AE35)
    return words ^ ((words >> 16) & 0xFFFF)


def batch_rows(
    keys: Int32[Tensor, " networks"],
    counts: Int64[Tensor, " networks"],
    batch_size: int,
    step: int,
    num_steps: int = 1,
) -> Int64[Tensor, "networks steps batch"]:
    """The rows of the batches of some steps, for networks with different numbers of rows.

    Args:
        keys: of each network.
        counts: rows that each has, at least `batch_size`.
        batch_size: rows a step.
        step: the first step, numbered from 1.
        num_steps: how many steps.
    """
    device = counts.device
    steps = torch.arange(step - 1, step - 1 + num_steps, device=device)
    steps_an_epoch = (counts // batch_size)[:, None]
    epochs, places = steps // steps_an_epoch, steps % steps_an_epoch
    positions = places[..., None] * batch_size + torch.arange(batch_size, device=device)
    orders = mix(keys[:, None] ^ mix(epochs.to(torch.int32) + 1))
    return permute(orders, positions, counts[:, None])


def permute(
    keys: Int32[Tensor, "*sets"],
    positions: Int64[Tensor, "*sets places"],
    counts: Int64[Tensor, "*#sets"],
) -> Int64[Tensor, "*sets places"]:
    """Where a random permutation of 0 .. count - 1 sends some positions, without making the whole permutation.

    Source: the swap-or-not shuffle of Hoang, Morris and Rogaway, "An Enciphering Scheme Based on a Card Shuffle"
    (2012), arXiv 1208.1176. Differs: a short hash in place of a pseudorandom function.

    Args:
        keys: of each permutation.
        positions: below the count.
        counts: length of each permutation.
    """
    counts = counts[..., None]
    for turn in range(_ROUNDS):
        of_turn = mix(keys + _signed(0x9E3779B9 * (turn + 1) & 0xFFFFFFFF))[..., None]
        partners = ((of_turn.to(torch.int64) & 0xFFFFFFFF) % counts - positions) % counts
        larger = torch.maximum(positions, partners)
        swapped = (mix(larger.to(torch.int32) ^ mix(of_turn)) & 1).bool()
        positions = torch.where(swapped, partners, positions)
    return positions


def bytes_of(key: Int32[Tensor, "*networks"], count: int) -> UInt8[Tensor, "*networks bytes"]:
    """Uniform random bytes, `count` for each key."""
    places = torch.arange((count + 3) // 4, dtype=torch.int32, device=key.device)
    words = mix(places * _signed(0x9E3779B9) + key[..., None])
    return words.view(torch.uint8)[..., :count]


def _signed(word: int) -> int:
    """Thirty-two bits as a signed number, as torch wants them."""
    return word - (1 << 32) if word >= 1 << 31 else word
